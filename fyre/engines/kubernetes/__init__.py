"""The Kubernetes engine: runs as Jobs. Only this package loads the client library."""

from fyre.engines.kubernetes.engine import KubernetesEngine as KubernetesEngine

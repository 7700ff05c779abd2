"""Runs as Kubernetes Jobs. The client library is loaded only here."""

from fyre.engines.kubernetes.engine import KubernetesEngine as KubernetesEngine

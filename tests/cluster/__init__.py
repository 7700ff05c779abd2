"""Run a real Kubernetes on this machine, without Docker or a registry.

``python -m tests.cluster``, as root on Debian. etcd, kube-apiserver, controller-manager, scheduler
and kubelet are upstream's own, built from their Go modules into one binary (``node/``); containerd,
runc, the CNI plugins and debootstrap are Debian's. Nothing is kept but a cache.
"""

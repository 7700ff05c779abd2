"""Where commands run: this machine or Kubernetes, behind one protocol."""

"""Engines run the commands: on this machine or on Kubernetes, behind one protocol."""

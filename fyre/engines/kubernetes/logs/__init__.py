"""The logs of runs on a cluster: read, redacted, resumed, archived."""

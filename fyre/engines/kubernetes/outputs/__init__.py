"""How outputs leave a pod: what stands in it, what it sends, and what follows for the run."""

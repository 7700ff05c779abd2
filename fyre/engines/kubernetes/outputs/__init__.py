"""Outputs on their way out of a pod: the agent, what it sends, and what follows for the run."""

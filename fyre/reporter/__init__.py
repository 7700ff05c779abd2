"""Write commit statuses, check runs and replies, within GitHub's limits."""

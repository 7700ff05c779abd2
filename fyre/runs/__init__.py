"""Runs, their records and statuses, the admin's policy, and the plan for a commit. Pure."""

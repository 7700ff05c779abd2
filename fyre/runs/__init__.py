"""Runs, their records and statuses, the admin's policy, and the plan for a commit.

Pure, but for what it loads: the admin's file in ``policy_file.load_policy``, and the schemas that
come with this package.
"""

"""A person's clone: working tree, snapshot, lab branch, remote."""

"""The whole of Fyre on one machine: a small forge over bare git repositories."""

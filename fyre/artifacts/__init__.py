"""What a run leaves behind: its output files and metrics, stored under their hashes."""

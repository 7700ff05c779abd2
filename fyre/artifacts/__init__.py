"""The results of runs: output files and metrics, stored under their hashes."""

"""Compositions of Fyre's parts: `fyre up`, `fyre serve`, a replica, a workflow job, a local run."""

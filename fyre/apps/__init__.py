"""The ways Fyre is put together: `fyre up`, `fyre serve`, a replica, a workflow job, a local run."""

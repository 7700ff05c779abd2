"""Commands in comments: `/fyre run`, `rerun`, `cancel`, `status`, `approve`."""

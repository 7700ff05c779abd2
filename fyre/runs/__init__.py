"""What a run is, and whether it may start: records, policy, plan. Pure."""

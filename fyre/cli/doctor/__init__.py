"""What `fyre doctor` looks at, and how each finding is fixed."""

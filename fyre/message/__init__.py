"""What a commit message requests. Pure."""

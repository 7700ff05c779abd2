"""Parse and write the requests in commit messages. Pure."""

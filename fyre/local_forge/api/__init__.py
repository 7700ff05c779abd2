"""The REST API of the local forge, in GitHub's own form."""

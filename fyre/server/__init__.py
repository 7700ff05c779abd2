"""What answers over HTTP: webhooks, pages of runs, git for pods, health and metrics."""

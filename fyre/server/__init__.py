"""Serve HTTP: webhooks, pages of runs, git for pods, health and metrics."""

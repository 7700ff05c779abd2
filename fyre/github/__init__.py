"""GitHub: REST client, App, webhooks, rate limits, permissions."""

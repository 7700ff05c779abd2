"""The local forge's webhooks: what is to be delivered, and its delivery."""

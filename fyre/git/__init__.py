"""Git on this machine: run it, read its objects, keep mirrors, serve them."""

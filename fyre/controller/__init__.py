"""Take events, plan, execute, try again, and sweep what was missed."""

"""The small GitHub that `fyre up` serves, over bare repositories on this machine."""

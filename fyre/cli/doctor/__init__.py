"""The checks of `fyre doctor`; each finding says how to fix it."""

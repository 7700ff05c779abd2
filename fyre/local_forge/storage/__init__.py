"""The local forge's repositories: objects, refs, notes, and git over HTTP."""

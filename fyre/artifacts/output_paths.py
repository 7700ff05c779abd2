"""The paths of outputs: which ones can be kept. Standard library only, since pods load it."""

from __future__ import annotations


def is_hostile_path(path: str) -> bool:
    """Return True for a path that leads out of a directory, into ``.git``, or nowhere."""
    parts = path.split("/")
    return "\0" in path or any(part in ("", ".", "..") or part.lower() == ".git" for part in parts)

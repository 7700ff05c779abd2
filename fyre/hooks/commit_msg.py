"""commit-msg: hold back a message whose runs would not run, and mint the Fyre-Id of those that people wrote by hand."""

from __future__ import annotations


def main(argv: list[str]) -> int:
    """Look at the message in the file ``words[0]``: 0 lets git commit, 1 does not."""
    with open(argv[0], "rb") as file:  # noqa: PTH123 - pathlib costs more than all the rest of the hook
        if b"fyre" not in file.read().lower():
            return 0  # nothing of ours, nothing loaded
    from fyre.hooks import review

    return review.check_message_file(argv[0])

"""commit-msg: reject a message with runs that can't run, and add a missing Fyre-Id."""

from __future__ import annotations


def main(argv: list[str]) -> int:
    """Check the message in the file ``argv[0]``; return 0 to let git commit, 1 to stop it."""
    # pathlib would cost more time than all the rest of the hook
    with open(argv[0], "rb") as file:  # noqa: PTH123
        text = file.read().lower()
        if b"fyre" not in text and b"fire-" not in text:
            return 0  # no word of Fyre: nothing else is loaded
    from fyre.hooks import message_check

    return message_check.check_message_file(argv[0])

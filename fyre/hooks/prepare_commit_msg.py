"""prepare-commit-msg: remove the Fyre-Id of a message that is used again for other code.

Such a commit is a new request. Only `--amend`, `-C` and `-c` are treated so: cherry-pick, rebase
and their `--continue` keep the id, and the receiver then posts `fyre/moved`. The commit-msg hook
adds the new id, after the editor.
"""

from __future__ import annotations

import os


def main(argv: list[str]) -> int:
    """Edit the message file ``argv[0]``; always return 0.

    ``argv[1]`` is the source of the message, ``argv[2]`` the commit that it is taken from.
    """
    source = (argv[1:2] or [os.environ.get("PRE_COMMIT_COMMIT_MSG_SOURCE", "")])[0]
    commit = (argv[2:3] or [os.environ.get("PRE_COMMIT_COMMIT_OBJECT_NAME", "")])[0]
    if source != "commit" or commit in ("", "CHERRY_PICK_HEAD"):
        return 0
    # pathlib would cost more time than all the rest of the hook
    with open(argv[0], "rb") as file:  # noqa: PTH123
        if b"fyre-id" not in file.read().lower():
            return 0
    from fyre import hooks

    # GIT_INDEX_FILE holds what is about to be committed, also with -a or pathspecs.
    if hooks.git_output("write-tree") != hooks.git_output("rev-parse", f"{commit}^{{tree}}"):
        _drop_fyre_id(argv[0])
    return 0


def _drop_fyre_id(path: str) -> None:
    from fyre.hooks.message_file import MessageDraft
    from fyre.message import compose, trailers

    draft = MessageDraft(path)
    id_trailers = [
        trailer for trailer in trailers.parse(draft.kept_text) if trailer.key.lower() == "fyre-id"
    ]
    removed = {draft.find_line(trailer) for trailer in id_trailers}
    draft.write_lines(
        [line for index, line in enumerate(compose.split_lines(draft.text)) if index not in removed]
    )

"""prepare-commit-msg: a message that is used again for other code asks anew, so it loses its Fyre-Id.

Only `--amend`, `-C` and `-c` are asked about: cherry-pick, rebase and the conclusion of either keep the id, and the
receiver then says `fyre/moved` for it. The commit-msg hook mints the new one, after the editor.
"""

from __future__ import annotations

import os


def main(argv: list[str]) -> int:
    """Look at the file ``words[0]``, made from the source ``words[1]`` and the commit ``words[2]``; always 0."""
    source = (argv[1:2] or [os.environ.get("PRE_COMMIT_COMMIT_MSG_SOURCE", "")])[0]
    commit = (argv[2:3] or [os.environ.get("PRE_COMMIT_COMMIT_OBJECT_NAME", "")])[0]
    if source != "commit" or commit in ("", "CHERRY_PICK_HEAD"):
        return 0
    with open(argv[0], "rb") as file:  # noqa: PTH123 - pathlib costs more than all the rest of the hook
        if b"fyre-id" not in file.read().lower():
            return 0
    from fyre import hooks

    # git has put what is about to be committed into GIT_INDEX_FILE, whatever -a or pathspecs chose.
    if hooks.git_output("write-tree") != hooks.git_output("rev-parse", f"{commit}^{{tree}}"):
        _drop_fyre_id(argv[0])
    return 0


def _drop_fyre_id(path: str) -> None:
    from fyre.hooks.draft import MessageDraft
    from fyre.message import compose, trailers

    draft = MessageDraft(path)
    ids = [
        trailer for trailer in trailers.parse(draft.kept_text) if trailer.key.lower() == "fyre-id"
    ]
    gone = {draft.find_line(trailer) for trailer in ids}
    draft.write_lines(
        [row for n, row in enumerate(compose.split_lines(draft.text)) if n not in gone]
    )

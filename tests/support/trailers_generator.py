"""Generate commit messages that are easy to misread, to compare the parser with git."""

from __future__ import annotations

import os
import random
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

EMPTY_CONFIG = {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull, "LC_ALL": "C.UTF-8"}

_SCISSORS = "# ------------------------ >8 ------------------------"
_TRAILERS = [
    "Fyre-Run: make all",
    "fyre-run : b",
    "FYRE-RUN:c",
    "Fyre-Run:",
    "Fyre-Env: A=1",
    "Fyre-Env: A=1",
    "k:v",
    'Fyre-Run: echo "a  b" && $(x) `y` ##vso',
    "-: x",
    "K:\t v \t",
    "K\t : v",
    "K: v\r",
    "K: a\x0c",
    "9: n",
    "K: \u00a0v\u2003",
    "Fyre-Run: \u00e9\U0001f525",
    "K: a: b: c",
    "K: a\x85b\u2028c",
    "See-Also: https://example.org/x#y",
]
_GENERATED = [
    "Signed-off-by: A <a@example.org>",
    "(cherry picked from commit 0123456789)",
    "signed-off-by: x",
    "Signed-off-by:x",
    "(cherry picked from commit",
]
_NOT = [
    "prose here",
    "Key_x: y",
    "a b: c",
    ":x",
    "Ключ: x",
    "\x0bK: v",
    "\x0c",
    "---",
    "--- a/x",
    "> quoted: x",
    "Re[1]: x",
    "http//x",
    "\u00a0K: v",
    "K\r: v",
    "Kéy: v",
]
_FOLDS = ["  folded", "\tfold", " ", "\t", "\r", "\rfoo", " K: v", "   # no comment"]
_NOISE = [
    "# comment",
    "#K: v",
    "#",
    "Conflicts:",
    "\tpath",
    "Conflicts: none",
    _SCISSORS,
    f" {_SCISSORS}",
    f"{_SCISSORS} ",
    "diff --git a/x b/x",
    "+K: v",
    "@@ -1 +1 @@",
]
_LINES = _TRAILERS * 3 + _GENERATED * 2 + _NOT + _FOLDS + _NOISE + [""] * 14
_SHREDS = [
    "\n",
    "\n",
    "\n\n",
    "K",
    "K: v",
    "-",
    ":",
    " ",
    "\t",
    "\r",
    "#",
    "\0",
    "_",
    "\u00a0",
    "\x0b",
    *_GENERATED,
    *_NOISE,
]


def messages(count: int, seed: int) -> Iterator[str]:
    """Yield so many messages; the same seed gives the same ones."""
    rng = random.Random(seed)
    for _ in range(count):
        yield _message(rng)


def _message(rng: random.Random) -> str:
    if rng.random() < 0.15:  # no lines at all: random parts side by side
        return rng.choice(["S\n\n", "S\n\n", "", "\n"]) + "".join(
            rng.choices(_SHREDS, k=rng.randrange(1, 16))
        )
    lines = rng.choices(_LINES, k=rng.randrange(14))
    if rng.random() < 0.8:
        lines = ["A subject", "", *lines]
    if rng.random() < 0.5:
        block = rng.choices(_TRAILERS + _GENERATED + _FOLDS[:2], k=rng.randrange(1, 6))
        for _ in range(rng.choice([0, 0, 1, 1, 3, 6])):  # around the quarter
            block.insert(rng.randrange(len(block) + 1), rng.choice(_NOT + _NOISE))
        lines += ["", *block]
    begin = (
        rng.choice(["\n", " \t\n\n", "\r\n", "#\n", "Conflicts:\n"]) if rng.random() < 0.08 else ""
    )
    end = rng.choice(
        ["", "\n", "\n", "\n\n", "\n# comment\n", "\n \n", "\0K: v\n", "\n\nConflicts:\n\ta\n"]
    )
    newline = "\r\n" if rng.random() < 0.03 else "\n"
    return begin + newline.join(lines) + end


def for_log(text: str) -> str:
    """Return the message without blank lines at its beginning.

    ``git log`` skips them and ``interpret-trailers`` does not.
    """
    lines = text.split("\n")
    while lines and not lines[0].partition("\0")[0].strip(" \t\r"):
        del lines[0]
    return "\n".join(lines)


def for_interpret_trailers(text: str) -> str:
    """Return the message with a line feed at its end: only newer ``interpret-trailers`` add it."""
    return text.partition("\0")[0].removesuffix("\n") + "\n"


def by_git_log(where: Path, texts: Sequence[str]) -> list[list[tuple[str, str]]]:
    """Return the trailers of each message as a commit: one fast-import, one ``git log``."""
    env = {**os.environ, **EMPTY_CONFIG}
    subprocess.run(["git", "init", "-q", "--bare", str(where)], check=True, env=env)
    stream = bytearray()
    for text in texts:
        data = text.encode()
        stream += (
            b"commit refs/heads/main\ncommitter A <a@example.org> 1700000000 +0000\ndata %d\n"
            % len(data)
            + data
            + b"\n"
        )
    subprocess.run(
        ["git", "fast-import", "--quiet"], cwd=where, input=bytes(stream), check=True, env=env
    )
    form = "--format=%x01%(trailers:only,unfold,separator=%x02,key_value_separator=%x03)"
    done = subprocess.run(
        ["git", "log", "--reverse", form, "main"],
        cwd=where,
        check=True,
        env=env,
        capture_output=True,
    )
    entries = done.stdout.decode().split("\x01")[1:]
    return [_pairs(entry.removesuffix("\n")) for entry in entries]


def _pairs(entry: str) -> list[tuple[str, str]]:
    return (
        [(part.partition("\x03")[0], part.partition("\x03")[2]) for part in entry.split("\x02")]
        if entry
        else []
    )


def by_interpret_trailers(text: str) -> list[str]:
    """Return the lines of ``git interpret-trailers --parse --no-divider``, with no configuration."""
    command = ["git", "interpret-trailers", "--parse", "--no-divider"]
    env = {**os.environ, **EMPTY_CONFIG}
    done = subprocess.run(command, input=text.encode(), check=True, env=env, capture_output=True)
    return done.stdout.decode().split("\n")[:-1]

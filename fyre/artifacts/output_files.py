"""Find the files that a run keeps: those below ``$FYRE_OUTPUTS``, and the outputs it declared.

A link is followed to a regular file in the same tree, and to nothing else. What is neither a file
nor a directory is left out, with a line that says so.
"""

from __future__ import annotations

import glob
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fyre.artifacts.manifest import is_hostile_path
from fyre.message import output_notation
from fyre.message.output_notation import DeclaredOutput
from fyre.message.value_parsers import BadValueError

FILES_MAX = 1_000_000
"""Files of one run that are kept: beyond it a program is writing files without end."""

PROBLEMS_MAX = 20
"""Lines about files that could not be kept; the last one says how many more there are."""


@dataclass(frozen=True, slots=True)
class OutputFile:
    """One file that is to be kept."""

    path: str  # as the manifest has it
    source: Path
    mode: int  # permission bits
    is_linked: bool = False  # found through a symbolic link: it may be a file of the checkout


@dataclass(slots=True)
class OutputFiles:
    """All files of one run, what is missing, and what was left out."""

    files: dict[str, OutputFile] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def add_problem(self, path: str, reason: str) -> None:
        """Add a line about a file that is not kept."""
        self.problems.append(f"{_printable(path)} is not kept: {reason}")

    def shown_problems(self) -> tuple[str, ...]:
        """Return the first lines, and how many more there are."""
        more = len(self.problems) - PROBLEMS_MAX
        rest = (f"and {more:,} more files are not kept",) if more > 0 else ()
        return (*self.problems[:PROBLEMS_MAX], *rest)


def find_output_files(
    outputs_dir: Path, checkout: Path, declared: Sequence[str], *, is_complete: bool
) -> OutputFiles:
    """Return the files of a run.

    ``is_complete`` is False for a run that did not succeed: nothing is missing then.
    """
    found = OutputFiles()
    _add_tree(found, outputs_dir, "")
    for text in declared:
        try:
            output = output_notation.read_output(text)
        except BadValueError as error:  # of another version
            found.add_problem(text, error.args[0])
            continue
        has_match = [_add_match(found, checkout, path) for path in _matches(checkout, output)]
        if not any(has_match) and is_complete and not output.is_optional:
            found.missing.append(output.path + "/" * output.is_directory)
    return found


def _matches(checkout: Path, output: DeclaredOutput) -> Iterator[str]:
    """Yield the paths in the checkout that an output names."""
    if not output.is_pattern or os.path.lexists(checkout / output.path):
        yield output.path  # a name that is there is no pattern, whatever is in it
        return
    yield from sorted(
        path
        # Path.glob gives no hidden files for ``*``, or all of them.
        for path in glob.iglob(output.path, root_dir=checkout, recursive=True)  # noqa: PTH207
        if not is_hostile_path(path)
    )


def _add_match(found: OutputFiles, checkout: Path, path: str) -> bool:
    """Add what is at a path of the checkout; return False if nothing is."""
    source = checkout / path
    if not os.path.lexists(source):
        return False
    parent = os.path.realpath(source.parent)
    if not _is_below(parent, os.path.realpath(checkout)):
        found.add_problem(path, "a link leads out of the checkout")
    elif stat.S_ISDIR(source.lstat().st_mode):
        _add_tree(found, checkout, path)
    else:
        _add_file(found, checkout, path)
    return True


def _add_tree(found: OutputFiles, root: Path, path: str) -> None:
    """Add all that is below a directory of a tree."""
    todo = [path]
    while todo:
        directory = todo.pop()
        try:
            entries = sorted(os.scandir(root / directory), key=lambda entry: entry.name)
        except OSError as error:
            found.add_problem(directory, str(error.strerror))
            continue
        for entry in entries:
            below = f"{directory}/{entry.name}" if directory else entry.name
            if entry.name.lower() == ".git":
                found.add_problem(below, "git's own files are no outputs")
            elif entry.is_dir(follow_symlinks=False):
                todo.append(below)
            else:
                _add_file(found, root, below)


def _add_file(found: OutputFiles, root: Path, path: str) -> None:
    source = root / path
    try:
        target, is_linked = source, source.is_symlink()
        if is_linked:
            target = Path(os.path.realpath(source))
            if not _is_below(str(target), os.path.realpath(root)):
                return found.add_problem(path, "a link that leads to another place")
        info = target.lstat()
    except OSError as error:
        return found.add_problem(path, str(error.strerror))
    if not stat.S_ISREG(info.st_mode):
        return found.add_problem(path, "no regular file")
    if len(found.files) >= FILES_MAX and path not in found.files:
        return found.add_problem(path, f"a run keeps at most {FILES_MAX:,} files")
    if path in found.files:
        if found.files[path].source != target:
            found.add_problem(path, "there is one of that name in $FYRE_OUTPUTS")
        return None
    found.files[path] = OutputFile(path, target, stat.S_IMODE(info.st_mode) & 0o777, is_linked)
    return None


def _is_below(path: str, root: str) -> bool:
    return path == root or path.startswith(root.rstrip("/") + "/")


def _printable(path: str) -> str:
    text = path.encode(errors="replace").decode()
    return "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in text)[:200]

"""Find the files that a run keeps: those below ``$FYRE_OUTPUTS``, and the outputs it declared.

A link is followed to a regular file in the same tree, and to nothing else. What is neither a file
nor a directory is left out, with a line that says so.
"""

from __future__ import annotations

import contextlib
import glob
import os
import stat
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fyre.artifacts.output_paths import is_hostile_path
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


@dataclass(slots=True)
class OutputFiles:
    """All files of one run, and what was left out."""

    files: dict[str, OutputFile] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    refusal: str = ""  # why none of them is kept
    keep_going: Callable[[], None] = lambda: None  # called for each file; may raise to stop
    _folders: set[str] = field(default_factory=set)
    _declared: list[tuple[str, list[str]]] = field(default_factory=list)

    def add_file(self, file: OutputFile) -> None:
        """Add a file, or the problem with its path."""
        self.keep_going()
        parents = _parents(file.path)
        if is_hostile_path(file.path):
            self.add_problem(file.path, "git's own files are no outputs")
        elif file.path in self.files:
            if self.files[file.path].source != file.source:
                self.add_problem(file.path, "there is one of that name in $FYRE_OUTPUTS")
        elif file.path in self._folders or any(parent in self.files for parent in parents):
            self.add_problem(file.path, "a file and a folder have one name")
        elif len(self.files) >= FILES_MAX:
            self.add_problem(file.path, f"a run keeps at most {FILES_MAX:,} files")
        else:
            self.files[file.path] = file
            self._folders.update(parents)

    def declare(self, text: str, matches: list[str]) -> None:
        """Note that an output must be among what is kept: at, or below, one of the paths."""
        self._declared.append((text, matches))

    def missing(self, kept: Collection[str]) -> list[str]:
        """Return the declared outputs of which nothing is kept."""
        reached = {parent for path in kept for parent in (path, *_parents(path))}
        return [
            _printable(text)
            for text, matches in self._declared
            if not any(path in reached for path in matches)
        ]

    def add_problem(self, path: str, reason: str) -> None:
        """Add a line about a file that is not kept."""
        self.problems.append(f"{_printable(path)} is not kept: {reason}")

    def refuse_all(self, reason: str) -> None:
        """Keep none of the files."""
        self.files.clear()
        self.refusal = reason
        self.problems.insert(0, reason)

    def sizes(self) -> Iterator[int]:
        """Yield the bytes of each file, as far as they can be had."""
        for file in self.files.values():
            with contextlib.suppress(OSError):
                yield file.source.lstat().st_size

    def shown_problems(self) -> tuple[str, ...]:
        """Return the first lines, and how many more there are."""
        more = len(self.problems) - PROBLEMS_MAX
        rest = (f"and {more:,} more files are not kept",) if more > 0 else ()
        return (*self.problems[:PROBLEMS_MAX], *rest)


def find_output_files(
    outputs_dir: Path,
    checkout: Path,
    declared: Sequence[str],
    keep_going: Callable[[], None] = lambda: None,
) -> OutputFiles:
    """Return the files of a run. ``keep_going`` is called again and again, and may raise."""
    found = OutputFiles(keep_going=keep_going)
    if outputs_dir.is_symlink() or not outputs_dir.is_dir():
        found.add_problem("$FYRE_OUTPUTS", "it is not the folder any more that it was")
    else:
        _add_tree(found, outputs_dir, "")
    for text in declared:
        try:
            output = output_notation.read_output(text)
        except BadValueError as error:  # of another version
            found.add_problem(text, error.args[0])
            continue
        matches = list(_matches(checkout, output))
        for path in matches:
            _add_match(found, checkout, path)
        if not output.is_optional:
            found.declare(output.path + "/" * output.is_directory, matches)
    return found


def _matches(checkout: Path, output: DeclaredOutput) -> Iterator[str]:
    """Yield the paths in the checkout that an output names."""
    if not output.is_pattern or os.path.lexists(checkout / output.path):
        yield output.path  # a name that is there is no pattern, whatever is in it
        return
    # Path.glob gives no hidden files for ``*``, or all of them.
    found = glob.iglob(output.path, root_dir=checkout, recursive=True)  # noqa: PTH207
    yield from sorted({path.rstrip("/") for path in found if not is_hostile_path(path.rstrip("/"))})


def _add_match(found: OutputFiles, checkout: Path, path: str) -> None:
    """Add what is at a path of the checkout, if anything is."""
    source = checkout / path
    if not os.path.lexists(source):
        return
    parent = os.path.realpath(source.parent)
    if not _is_below(parent, os.path.realpath(checkout)):
        found.add_problem(path, "a link leads out of the checkout")
    elif stat.S_ISDIR(source.lstat().st_mode):
        _add_tree(found, checkout, path)
    else:
        _add_file(found, checkout, path)


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
                found.keep_going()
                todo.append(below)
            else:
                _add_file(found, root, below)


def _add_file(found: OutputFiles, root: Path, path: str) -> None:
    source = root / path
    try:
        target = source
        if source.is_symlink():
            target = Path(os.path.realpath(source))
            if not _is_below(str(target), os.path.realpath(root)):
                return found.add_problem(path, "a link that leads to another place")
        info = target.lstat()
    except OSError as error:
        return found.add_problem(path, str(error.strerror))
    if not stat.S_ISREG(info.st_mode):
        return found.add_problem(path, "no regular file")
    mode = stat.S_IMODE(info.st_mode) & 0o777
    return found.add_file(OutputFile(path, target, mode))


def _parents(path: str) -> list[str]:
    """Return the folders on the way to a path."""
    parts = path.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts))]


def _is_below(path: str, root: str) -> bool:
    return path == root or path.startswith(root.rstrip("/") + "/")


def _printable(path: str) -> str:
    text = path.encode(errors="replace").decode()
    return "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in text)[:200]

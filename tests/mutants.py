"""Mutation testing: change one line of ``fyre/`` at a time, and see whether the nearest tests fail.

    python tests/mutants.py fyre/github/rate_limit.py --most 20     # mutations of these files
    python tests/mutants.py --since origin/main          # of the lines that changed since then

Works in a temporary copy, one mutant after another, with the test files that import the mutated
module; prints JSON. A survivor is a line that could be wrong without a test that fails, or a change
that makes no difference.
"""

from __future__ import annotations

import argparse
import ast
import copy
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
TESTS = 3
"""Test files for one module, by default.

Those named after it first, then those that import the fewest other modules."""

_FLIPPED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
_SWAPPED: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add,
    ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult,
}  # fmt: skip
_OTHER = {"min": "max", "max": "min", "any": "all", "all": "any"}


class Mutant(NamedTuple):
    """One change: of the bytes from ``begin`` to ``end`` of a file."""

    file: str
    line: int
    begin: int
    end: int
    after: str

    def applied(self, source: bytes) -> bytes:
        """Return the source with the change."""
        return source[: self.begin] + self.after.encode() + source[self.end :]

    def shown(self, source: bytes) -> dict[str, str]:
        """Return where it is, and its lines before and after."""
        first = source.rfind(b"\n", 0, self.begin) + 1
        last = source.find(b"\n", self.end)
        last = len(source) if last < 0 else last
        after = source[first : self.begin] + self.after.encode() + source[self.end : last]
        words = [" ".join(text.decode().split()) for text in (source[first:last], after)]
        return {"at": f"{self.file}:{self.line}", "before": words[0], "after": words[1]}


class _Finder(ast.NodeVisitor):
    """Collects every mutation of one file.

    Annotations, f-strings, docstrings and logging stay as they are.
    """

    def __init__(self, file: str, source: bytes) -> None:
        self.file, self.found = file, list[Mutant]()
        self._starts = [0]
        for line in source.splitlines(keepends=True):
            self._starts.append(self._starts[-1] + len(line))

    def visit(self, node: ast.AST) -> None:
        """Visit a node, unless nothing in it is worth a mutation."""
        if isinstance(
            node, ast.JoinedStr | ast.arg | ast.Import | ast.ImportFrom
        ) or _is_type_checking(node):
            return
        if isinstance(node, ast.AnnAssign):
            if node.value is not None:
                self.visit(node.value)
            return
        if (
            isinstance(node, ast.Expr)
            and isinstance(node.value, ast.Call)
            and _root(node.value.func) == "log"
        ):
            return
        super().visit(node)

    def visit_Compare(self, node: ast.Compare) -> None:
        """Flip the first comparison."""
        self._changed(node, ops=[_FLIPPED[type(node.ops[0])](), *node.ops[1:]])

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        """Turn "and" into "or", and the other way round."""
        self._changed(node, op=ast.Or() if isinstance(node.op, ast.And) else ast.And())

    def visit_UnaryOp(self, node: ast.UnaryOp) -> None:
        """Drop a "not"."""
        if isinstance(node.op, ast.Not):
            self._replace(node, f"({ast.unparse(node.operand)})")
        self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        """Take another operator."""
        if type(node.op) in _SWAPPED:
            self._changed(node, op=_SWAPPED[type(node.op)]())
        else:
            self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        """Move a number by one, turn a truth value."""
        if isinstance(node.value, bool):
            self._replace(node, str(not node.value))
        elif isinstance(node.value, int | float):
            self._replace(node, repr(node.value + 1))
            self._replace(node, f"({node.value - 1!r})")

    def visit_Call(self, node: ast.Call) -> None:
        """Take the other one of a pair of functions."""
        if isinstance(node.func, ast.Name) and node.func.id in _OTHER:
            self._replace(node.func, _OTHER[node.func.id])
        self.generic_visit(node)

    def visit_If(self, node: ast.If) -> None:
        """Negate the condition."""
        self._replace(node.test, f"(not ({ast.unparse(node.test)}))")
        self.generic_visit(node)

    def visit_Expr(self, node: ast.Expr) -> None:
        """Leave a call out."""
        if isinstance(node.value, ast.Call):
            self._replace(node, "pass")
        self.generic_visit(node)

    def visit_Raise(self, node: ast.Raise) -> None:
        """Leave an error out."""
        self._replace(node, "pass")
        self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        """Leave early returns out: those that are not the function's last statement."""
        for one in ast.walk(node):
            if isinstance(one, ast.Return) and one is not node.body[-1]:
                self._replace(one, "pass")
        self.visit_ClassDef(node)

    visit_AsyncFunctionDef = visit_FunctionDef  # noqa: N815 - ast's own name

    def visit_ClassDef(self, node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        """Leave decorators and defaults alone."""
        for statement in node.body:
            self.visit(statement)

    def _changed(self, node: ast.expr, **fields: object) -> None:
        mutated = copy.copy(node)
        for name, value in fields.items():
            setattr(mutated, name, value)
        self._replace(node, f"({ast.unparse(mutated)})")
        self.generic_visit(node)

    def _replace(self, node: ast.expr | ast.stmt, after: str) -> None:
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        begin = self._starts[node.lineno - 1] + node.col_offset
        end = self._starts[node.end_lineno - 1] + node.end_col_offset
        self.found.append(Mutant(self.file, node.lineno, begin, end, after))


def mutants(file: str, source: bytes) -> list[Mutant]:
    """Return every mutation of a file's source that is still Python."""
    finder = _Finder(file, source)
    finder.visit(ast.parse(source))
    return sorted({one for one in finder.found if _compiles(one.applied(source))})


def nearest_tests(root: Path, file: str, most: int = TESTS) -> list[str]:
    """Return the test files that import a module, those named after it first.

    If there are none, return the tests of its folder.
    """
    module = file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    ranked = []
    for path in sorted((root / "tests").rglob("test_*.py")):
        if "cluster" in path.parts:
            continue
        imported = set(_imports(path))
        named = path.stem.removeprefix("test_") == module.rpartition(".")[2]
        if named or module in imported:
            ranked.append((not named, len(imported), str(path.relative_to(root))))
    if not ranked:  # none imports it: take the tests of the modules beside it
        folder = root / "tests" / Path(file).parent.relative_to("fyre")
        return [str(path.relative_to(root)) for path in sorted(folder.glob("test_*.py"))][:most]
    return [path for *_, path in sorted(ranked)[:most]]


def changed_lines(root: Path, since: str) -> dict[str, set[int]]:
    """Return the lines of ``fyre/`` that are new since a revision, by file."""
    command = ["git", "diff", "--unified=0", "--no-color", "--no-ext-diff", since, "--", "fyre"]
    lines, file = dict[str, set[int]](), ""
    for line in subprocess.run(
        command, cwd=root, check=True, capture_output=True, text=True
    ).stdout.splitlines():
        if line.startswith("+++ "):
            file = line.removeprefix("+++ b/")
        elif (hunk := re.match(r"@@ \S+ \+(\d+)(?:,(\d+))? @@", line)) and file.endswith(".py"):
            first, number = int(hunk[1]), int(hunk[2] or 1)
            lines.setdefault(file, set()).update(range(first, first + number))
    return lines


class Tree:
    """A copy of the project, in which tests run with one mutant at a time."""

    def __init__(self, root: Path, place: Path) -> None:
        """Copy what git knows, or would know after an add."""
        self.place = place
        self._baselines: dict[tuple[str, ...], float | None] = {}
        command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        listed = subprocess.run(
            command, cwd=root, check=True, capture_output=True, text=True
        ).stdout
        for name in filter(None, listed.split("\0")):
            if (root / name).is_file():
                (place / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(root / name, place / name, follow_symlinks=False)

    def judge(self, mutant: Mutant, tests: list[str]) -> str:
        """Return "caught", "survived", "timeout", or "untested".

        "untested": no test passes even without the mutant.
        """
        seconds = self._baseline(tuple(tests))
        if seconds is None:
            return "untested"
        path = self.place / mutant.file
        source = path.read_bytes()
        path.write_bytes(mutant.applied(source))
        try:
            code = self._run(tests, 30 + 3 * seconds)
        finally:
            path.write_bytes(source)
        return {None: "timeout", 0: "survived"}.get(code, "caught")

    def _baseline(self, tests: tuple[str, ...]) -> float | None:
        if tests not in self._baselines:
            began = time.monotonic()
            passed = bool(tests) and self._run(list(tests), 600) == 0
            self._baselines[tests] = time.monotonic() - began if passed else None
        return self._baselines[tests]

    def _run(self, tests: list[str], seconds: float) -> int | None:
        """Run test files; return pytest's exit code, None after so many seconds."""
        # No bytecode: Python tells two versions of a file apart by its size and second alone.
        env = {**os.environ, "PYTHONPATH": str(self.place), "PYTHONDONTWRITEBYTECODE": "1"}
        command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests]
        process = subprocess.Popen(
            command,
            cwd=self.place,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def main() -> None:
    """Judge some mutants, and print the verdicts."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("files", nargs="*", help="files under fyre/; all of their lines")
    parser.add_argument("--since", metavar="REVISION", help="only lines that are new since then")
    parser.add_argument("--most", type=int, default=50, help="mutants that are tried (default: 50)")
    parser.add_argument(
        "--tests", type=int, default=TESTS, help=f"test files for each module (default: {TESTS})"
    )
    parser.add_argument("--seed", type=int, default=0, help="which ones those are (default: 0)")
    parser.add_argument(
        "--seconds",
        type=float,
        default=600.0,
        help="after which no other one begins (default: 600)",
    )
    options = parser.parse_args()
    if not options.files and not options.since:
        parser.error("name files, or a revision with --since")
    files = [str(Path(name).resolve().relative_to(ROOT)) for name in options.files]
    lines = changed_lines(ROOT, options.since) if options.since else None
    names = files or sorted(lines or ())
    found = [one for name in names for one in mutants(name, (ROOT / name).read_bytes())
             if lines is None or one.line in lines.get(name, ())]  # fmt: skip
    chosen = random.Random(options.seed).sample(found, min(options.most, len(found)))
    print(
        json.dumps(
            _judged(chosen, options.tests, options.seconds)
            | {"possible": len(found), "seed": options.seed},
            indent=2,
        )
    )


def _judged(chosen: list[Mutant], tests: int, seconds: float) -> dict[str, object]:
    counts, survivors, began = (
        dict.fromkeys(("caught", "survived", "timeout", "untested"), 0),
        [],
        time.monotonic(),
    )
    with tempfile.TemporaryDirectory(prefix="fyre-mutants-") as place:
        tree = Tree(ROOT, Path(place))
        for mutant in chosen:
            if time.monotonic() - began > seconds:
                break
            verdict = tree.judge(mutant, nearest_tests(ROOT, mutant.file, tests))
            counts[verdict] += 1
            if verdict == "survived":
                survivors.append(mutant.shown((ROOT / mutant.file).read_bytes()))
    survivors.sort(key=lambda one: (one["at"].partition(":")[0], int(one["at"].rpartition(":")[2])))
    return {**counts, "seconds": round(time.monotonic() - began, 1), "survivors": survivors}


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{name.name}" for name in node.names)


def _compiles(source: bytes) -> bool:
    try:
        compile(source, "mutant", "exec")
    except SyntaxError:
        return False
    return True


def _is_type_checking(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.If)
        and isinstance(node.test, ast.Name)
        and node.test.id == "TYPE_CHECKING"
    )


def _root(node: ast.expr) -> str:
    while isinstance(node, ast.Attribute):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


if __name__ == "__main__":
    main()

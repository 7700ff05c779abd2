"""Measure the names of the code: ``python benchmarks/naming.py [--layout]``.

Prints JSON: the share of functions named by one word, of function names that are defined in more
than one file, of docstrings that begin with a question word; modules in the package root and in the
largest folder; rows of the import contract beside the packages it orders. With ``--layout`` it
prints the modules and rows alone, in a tenth of the time.
"""

from __future__ import annotations

import ast
import json
import sys
import tomllib
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
QUESTION_WORDS = {"what", "who", "whose", "whether", "where", "how", "why", "which", "when"}
Function = ast.FunctionDef | ast.AsyncFunctionDef


def main() -> None:
    """Print the figures."""
    report = _layout() if "--layout" in sys.argv else _names() | _layout()
    print(json.dumps(report, indent=2))


def _names() -> dict[str, object]:
    trees = {path: ast.parse(path.read_text()) for path in sorted((ROOT / "fyre").rglob("*.py"))}
    functions = [(path, node) for path, tree in trees.items() for node in _functions(tree)]
    files = defaultdict(set)
    for path, node in functions:
        files[node.name].add(path)
    one_word = [node.name for _, node in functions if "_" not in node.name.strip("_")]
    repeated = {name: len(paths) for name, paths in files.items() if len(paths) > 1}
    questions = [text for tree in trees.values() for text in _docstrings(tree) if _asks(text)]
    docstrings = [text for tree in trees.values() for text in _docstrings(tree)]
    return {
        "functions": len(functions),
        "one_word": _share(len(one_word), len(functions)),
        "names": len(files),
        "names_in_several_files": _share(len(repeated), len(files)),
        "docstrings": len(docstrings),
        "question_docstrings": _share(len(questions), len(docstrings)),
        "most_repeated": dict(sorted(repeated.items(), key=lambda item: -item[1])[:10]),
    }


def _layout() -> dict[str, int]:
    modules = (path for path in (ROOT / "fyre").rglob("*.py") if path.name != "__init__.py")
    folders = Counter(path.parent for path in modules)
    root = folders.pop(ROOT / "fyre")
    return {
        "root_modules": root,
        "most_modules_in_a_folder": max(folders.values()),
        **_contract(),
    }


def _functions(tree: ast.AST) -> Iterator[Function]:
    """Yield every function and method, nested ones included, without ``__dunder__`` methods."""
    for node in ast.walk(tree):
        if isinstance(node, Function) and not node.name.startswith("__"):
            yield node


def _docstrings(tree: ast.Module) -> Iterator[str]:
    documented = (ast.Module, ast.ClassDef, *Function.__args__)
    nodes = (node for node in ast.walk(tree) if isinstance(node, documented))
    yield from (text for node in nodes if (text := ast.get_docstring(node)))


def _asks(docstring: str) -> bool:
    first = docstring.split(maxsplit=1)[0].strip(",:;.").lower()
    return first in QUESTION_WORDS


def _share(part: int, whole: int) -> float:
    return round(part / whole, 3)


def _contract() -> dict[str, int]:
    """Count the rows of the longest import contract, and the packages of the root."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    contracts = project["tool"]["importlinter"]["contracts"]
    rows = max(len(contract.get("layers", ())) for contract in contracts)
    packages = [path for path in (ROOT / "fyre").iterdir() if (path / "__init__.py").exists()]
    return {"contract_rows": rows, "packages": len(packages)}


if __name__ == "__main__":
    main()

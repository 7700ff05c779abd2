"""The hooks' stubs: a few lines of ``sh`` in the directory that git itself looks into, which call this very Fyre."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from fyre import hooks
from fyre.errors import UserError
from fyre.git import git_command

MARK = "# Fyre's hook."
"""The line by which a stub of ours is known."""

BEFORE = ".before-fyre"
"""What is added to the name of a hook that was there before: the stub runs it first."""

# -I -S: nothing of the person's environment, and no site-packages to search; the hooks need the standard library only.
_STUB = """\
#!/bin/sh
{mark} `fyre init --hooks --remove` takes it away and puts back what was there before.
before="$0{before}"
{chain}
python={python}
if [ ! -x "$python" ]; then
  echo "fyre: {name} skipped: $python is gone; \\`fyre init --hooks\\` writes it anew" >&2
  exit 0
fi
{feed}"$python" -I -S -c 'import sys; sys.path.append(sys.argv.pop(1)); from fyre import hooks
sys.exit(hooks.run(sys.argv[1:]))' {home} {name} "$@"
"""
_CHAIN = '[ ! -x "$before" ] || "$before" "$@" || exit'
_CHAIN_WITH_STDIN = """\
refs=$(cat)
[ ! -x "$before" ] || printf '%s\\n' "$refs" | "$before" "$@" || exit"""


def text(name: str) -> str:
    """The stub of one hook. pre-push gets its refs on stdin, and so must the hook that was there before."""
    stdin = name == "pre-push"
    return _STUB.format(
        mark=MARK,
        before=BEFORE,
        chain=_CHAIN_WITH_STDIN if stdin else _CHAIN,
        feed="printf '%s\\n' \"$refs\" | " if stdin else "exec ",
        python=shlex.quote(sys.executable),
        home=shlex.quote(str(Path(hooks.__file__).parents[2])),
        name=name,
    )


def directory() -> Path:
    """Where git looks for hooks here, core.hooksPath and all. Raises ``UserError`` outside of a repository."""
    return Path(git_command.out("rev-parse", "--git-path", "hooks")).absolute()


def installed() -> bool:
    """Whether git runs hooks of ours here."""
    return not missing()


def missing() -> list[str]:
    """Which of our hooks git does not run here."""
    return [name for name in hooks.NAMES if not _ours(directory() / name)]


def passed_by() -> bool:
    """Whether there are hooks of ours where git would look without core.hooksPath."""
    usual = Path(git_command.out("rev-parse", "--git-common-dir")).absolute() / "hooks"
    return usual != directory() and any(_ours(usual / name) for name in hooks.NAMES)


def orphaned() -> str:
    """The Python that a hook of ours calls and that is gone; "" where all is well."""
    texts = [(directory() / name).read_text() for name in hooks.NAMES if _ours(directory() / name)]
    called = [shlex.split(line.partition("=")[2])[0] for text in texts for line in text.splitlines()
              if line.startswith("python=")]  # fmt: skip
    return next((python for python in called if not Path(python).exists()), "")


def install() -> list[Path]:
    """Write the stubs; a hook that is there is kept and runs first. Answers with what is new. Raises ``UserError``."""
    where = directory()
    changed = []
    try:
        where.mkdir(parents=True, exist_ok=True)
        for name in hooks.NAMES:
            path = where / name
            if _ours(path) and path.read_text() == text(name):
                continue
            _keep(path)
            path.write_text(text(name))
            path.chmod(0o755)
            changed.append(path)
    except OSError as error:
        raise _unwritable(where, error) from error
    return changed


def remove() -> list[Path]:
    """Take our stubs away and put back what was there before. Answers with what changed. Raises ``UserError``."""
    where = directory()
    changed = []
    try:
        for path in (where / name for name in hooks.NAMES):
            if _ours(path):
                path.unlink()
                before = path.with_name(path.name + BEFORE)
                if before.exists():
                    before.rename(path)
                changed.append(path)
    except OSError as error:
        raise _unwritable(where, error) from error
    return changed


def _ours(path: Path) -> bool:
    return path.is_file() and MARK.encode() in path.read_bytes()


def _keep(path: Path) -> None:
    """Move a hook that is not ours out of the way, to where the stub finds it."""
    if _ours(path) or not (path.exists() or path.is_symlink()):
        return
    before = path.with_name(path.name + BEFORE)
    if before.exists():
        raise UserError(
            f"there are two hooks of others: {path} and {before.name}",
            hint="keep one of them, and ask again",
        )
    path.rename(before)


def _unwritable(where: Path, error: OSError) -> UserError:
    return UserError(
        f"can't write hooks into {where}: {error.strerror}",
        hint="`git config --show-origin core.hooksPath` says why git looks there",
    )

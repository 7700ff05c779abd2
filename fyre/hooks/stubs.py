"""The hooks' stubs: a few lines of ``sh`` in the directory that git itself looks into, which call this very Fyre."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from fyre import hooks
from fyre.errors import UserError
from fyre.git import git_command

STUB_MARK = "# Fyre's hook."
"""The line by which a stub of ours is known."""

BACKUP_SUFFIX = ".before-fyre"
"""What is added to the name of a hook that was there before: the stub runs it first."""

# -I -S: nothing of the person's environment, and no site-packages to search; the hooks need the standard library only.
_STUB_TEMPLATE = """\
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
_RUN_PREVIOUS_HOOK = '[ ! -x "$before" ] || "$before" "$@" || exit'
_RUN_PREVIOUS_HOOK_WITH_STDIN = """\
refs=$(cat)
[ ! -x "$before" ] || printf '%s\\n' "$refs" | "$before" "$@" || exit"""


def stub_text(hook_name: str) -> str:
    """The stub of one hook. pre-push gets its refs on stdin, and so must the hook that was there before."""
    stdin = hook_name == "pre-push"
    return _STUB_TEMPLATE.format(
        mark=STUB_MARK,
        before=BACKUP_SUFFIX,
        chain=_RUN_PREVIOUS_HOOK_WITH_STDIN if stdin else _RUN_PREVIOUS_HOOK,
        feed="printf '%s\\n' \"$refs\" | " if stdin else "exec ",
        python=shlex.quote(sys.executable),
        home=shlex.quote(str(Path(hooks.__file__).parents[2])),
        name=hook_name,
    )


def hooks_directory() -> Path:
    """Where git looks for hooks here, core.hooksPath and all. Raises ``UserError`` outside of a repository."""
    return Path(git_command.git_output("rev-parse", "--git-path", "hooks")).absolute()


def are_hooks_installed() -> bool:
    """Whether git runs hooks of ours here."""
    return not missing_hooks()


def missing_hooks() -> list[str]:
    """Which of our hooks git does not run here."""
    return [name for name in hooks.HOOK_NAMES if not _is_fyre_stub(hooks_directory() / name)]


def are_hooks_bypassed() -> bool:
    """Whether there are hooks of ours where git would look without core.hooksPath."""
    usual = Path(git_command.git_output("rev-parse", "--git-common-dir")).absolute() / "hooks"
    return usual != hooks_directory() and any(
        _is_fyre_stub(usual / name) for name in hooks.HOOK_NAMES
    )


def missing_interpreter() -> str:
    """The Python that a hook of ours calls and that is gone; "" where all is well."""
    texts = [
        (hooks_directory() / name).read_text()
        for name in hooks.HOOK_NAMES
        if _is_fyre_stub(hooks_directory() / name)
    ]
    called = [shlex.split(line.partition("=")[2])[0] for text in texts for line in text.splitlines()
              if line.startswith("python=")]  # fmt: skip
    return next((python for python in called if not Path(python).exists()), "")


def install_stubs() -> list[Path]:
    """Write the stubs; a hook that is there is kept and runs first. Answers with what is new. Raises ``UserError``."""
    where = hooks_directory()
    changed = []
    try:
        where.mkdir(parents=True, exist_ok=True)
        for name in hooks.HOOK_NAMES:
            path = where / name
            if _is_fyre_stub(path) and path.read_text() == stub_text(name):
                continue
            _preserve_existing(path)
            path.write_text(stub_text(name))
            path.chmod(0o755)
            changed.append(path)
    except OSError as error:
        raise _hooks_write_error(where, error) from error
    return changed


def remove_stubs() -> list[Path]:
    """Take our stubs away and put back what was there before. Answers with what changed. Raises ``UserError``."""
    where = hooks_directory()
    changed = []
    try:
        for path in (where / name for name in hooks.HOOK_NAMES):
            if _is_fyre_stub(path):
                path.unlink()
                before = path.with_name(path.name + BACKUP_SUFFIX)
                if before.exists():
                    before.rename(path)
                changed.append(path)
    except OSError as error:
        raise _hooks_write_error(where, error) from error
    return changed


def _is_fyre_stub(path: Path) -> bool:
    return path.is_file() and STUB_MARK.encode() in path.read_bytes()


def _preserve_existing(path: Path) -> None:
    """Move a hook that is not ours out of the way, to where the stub finds it."""
    if _is_fyre_stub(path) or not (path.exists() or path.is_symlink()):
        return
    before = path.with_name(path.name + BACKUP_SUFFIX)
    if before.exists():
        raise UserError(
            f"there are two hooks of others: {path} and {before.name}",
            hint="keep one of them, and ask again",
        )
    path.rename(before)


def _hooks_write_error(folder: Path, error: OSError) -> UserError:
    return UserError(
        f"can't write hooks into {folder}: {error.strerror}",
        hint="`git config --show-origin core.hooksPath` says why git looks there",
    )

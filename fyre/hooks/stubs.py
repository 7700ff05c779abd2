"""Hook stubs: a few lines of ``sh`` in git's hooks directory, which call this installed Fyre."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from fyre import hooks
from fyre.errors import UserError
from fyre.git import git_command

STUB_MARK = "# Fyre's hook."
"""The text that marks a hook as one of Fyre's stubs."""

BACKUP_SUFFIX = ".before-fyre"
"""Suffix that is added to the name of a hook of somebody else: the stub runs it first."""

# -I -S: nothing of the person's environment is used, and no site-packages are searched; the hooks
# need only the standard library.
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
    """Return the stub of one hook.

    pre-push gets its refs on stdin, and the stub passes them on to the hook of somebody else, too.
    """
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
    """Return the directory in which git looks for hooks, core.hooksPath included.

    Raises ``UserError`` outside of a repository.
    """
    return Path(git_command.git_output("rev-parse", "--git-path", "hooks")).absolute()


def are_hooks_installed() -> bool:
    """Return True if git runs all of Fyre's hooks in this repository."""
    return not missing_hooks()


def missing_hooks() -> list[str]:
    """Return the names of Fyre's hooks that git does not run in this repository."""
    return [name for name in hooks.HOOK_NAMES if not _is_fyre_stub(hooks_directory() / name)]


def are_hooks_bypassed() -> bool:
    """Return True if core.hooksPath leads git past stubs in the usual hooks directory."""
    usual_folder = (
        Path(git_command.git_output("rev-parse", "--git-common-dir")).absolute() / "hooks"
    )
    return usual_folder != hooks_directory() and any(
        _is_fyre_stub(usual_folder / name) for name in hooks.HOOK_NAMES
    )


def missing_interpreter() -> str:
    """Return the Python that a stub calls and that no longer exists; "" if all exist."""
    stub_texts = [
        (hooks_directory() / name).read_text()
        for name in hooks.HOOK_NAMES
        if _is_fyre_stub(hooks_directory() / name)
    ]
    interpreters = [
        shlex.split(line.partition("=")[2])[0]
        for text in stub_texts
        for line in text.splitlines()
        if line.startswith("python=")
    ]
    return next((interpreter for interpreter in interpreters if not Path(interpreter).exists()), "")


def install_stubs() -> list[Path]:
    """Write the stubs, and return the paths of the new ones.

    A hook of somebody else is kept, and the stub runs it first.

    Raises ``UserError`` if the directory can't be written.
    """
    folder = hooks_directory()
    changed = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in hooks.HOOK_NAMES:
            path = folder / name
            if _is_fyre_stub(path) and path.read_text() == stub_text(name):
                continue
            _preserve_existing(path)
            path.write_text(stub_text(name))
            path.chmod(0o755)
            changed.append(path)
    except OSError as error:
        raise _hooks_write_error(folder, error) from error
    return changed


def remove_stubs() -> list[Path]:
    """Remove the stubs, put back the hooks that they replaced, and return the changed paths.

    Raises ``UserError`` if the directory can't be written.
    """
    folder = hooks_directory()
    changed = []
    try:
        for path in (folder / name for name in hooks.HOOK_NAMES):
            if _is_fyre_stub(path):
                path.unlink()
                backup = path.with_name(path.name + BACKUP_SUFFIX)
                if backup.exists():
                    backup.rename(path)
                changed.append(path)
    except OSError as error:
        raise _hooks_write_error(folder, error) from error
    return changed


def _is_fyre_stub(path: Path) -> bool:
    return path.is_file() and STUB_MARK.encode() in path.read_bytes()


def _preserve_existing(path: Path) -> None:
    """Rename a hook of somebody else to the name under which the stub runs it."""
    if _is_fyre_stub(path) or not (path.exists() or path.is_symlink()):
        return
    backup = path.with_name(path.name + BACKUP_SUFFIX)
    if backup.exists():
        raise UserError(
            f"there are two hooks of others: {path} and {backup.name}",
            hint="keep one of them, and try again",
        )
    path.rename(backup)


def _hooks_write_error(folder: Path, error: OSError) -> UserError:
    return UserError(
        f"can't write hooks into {folder}: {error.strerror}",
        hint="`git config --show-origin core.hooksPath` says why git looks there",
    )

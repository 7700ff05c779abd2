"""``fyre VERB …``: load and run one verb, and turn every error into one line and an exit code.

A verb ``x`` has a line in ``VERBS``, and a module ``fyre.cli.commands.x`` with
``def main(…) -> None``.

* ``main`` has typer's annotations, one for each option, such as
  ``name: Annotated[str, typer.Option("--name", help=…)] = ""``. Its docstring is the help page.
  ``CONTEXT = {…}`` in the module becomes typer's ``context_settings``.
* A verb in ``RAW_ARGV_VERBS`` gets its arguments as they are, ``main(argv: list[str])``, and never
  loads typer: for verbs with options whose order matters, or for which 60 ms are too many.
* A verb returns on success, raises ``UserError`` for an error that a person can fix, and
  ``SystemExit(n)`` for another exit code. Data goes to stdout, everything else to stderr.

Exit codes: 0 done · 1 a user's error · 2 wrong usage · 3 a bug, with a report to paste ·
130 interrupted.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module

from fyre.errors import TransientError, UserError

VERBS = {
    "commit": "commit, with a command that runs on that commit once it is pushed",
    "run": "run a command on the working tree as it is, and follow its log",
    "check": "say what a commit or a message asks for, and what is wrong with it",
    "status": "the runs of a commit",
    "log": "the runs of a branch or a range",
    "show": "all there is to know of a run",
    "logs": "the output of a run",
    "watch": "follow the runs of a commit to their end",
    "outputs": "the files that a run kept",
    "pull": "get the files that a run kept",
    "cat": "print a file that a run kept",
    "cancel": "cancel runs",
    "rerun": "run again what ran",
    "serve": "the receiver for GitHub, as a service",
    "up": "forge, receiver and engine in one process on this machine",
    "prune": "delete the outputs that the policy's rules do not keep",
    "demo": "see it work: a throw-away forge, a commit, a push, a run",
    "dispatch": "run what the event of a GitHub workflow asks for, and report it",
    "policy": "explain what an admin's policy makes of a message",
    "app": "register a GitHub App for the receiver, with exactly the rights it needs",
    "manifests": "print the Role that Fyre needs in a namespace of a cluster",
    "doctor": "find what keeps Fyre from working here, and how to fix it",
    "init": "set up this repository: fetch rules, hooks, .fyre.yaml, a workflow",
    "version": "the version of Fyre and of what it stands on",
}
"""Every verb and its line in ``fyre --help``."""

RAW_ARGV_VERBS = frozenset({"commit", "serve"})
"""The verbs that parse their arguments themselves."""

LEGACY_OPTIONS = (
    "--batch",
    "--autocommit",
    "--local",
    "--commit",
    "--workspace_root",
    "--workspace-root",
)
"""Options of the original Fyre, which had no verbs: its command lines begin with one of them."""

COMPLETION_OPTIONS = ("--install-completion", "--show-completion")
"""Options without a verb that have a shell complete the words of a command line."""

USAGE = "fyre VERB [OPTIONS] …"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line and return the exit code; never raise."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if any(key.lower().endswith("_proxy") for key in os.environ):
        import_module("fyre.workspace.remote").bypass_proxy_for_loopback()
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        # a terminal that is not UTF-8 shows ? for characters that it does not have
        sys.stdout.reconfigure(errors="replace")
    try:
        code = run_verb(arguments)
        sys.stdout.flush()  # a closed pipe is noticed here, not at exit
    except (UserError, TransientError) as error:
        return _print_error(error)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Python flushes stdout again at exit, and that must not fail
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 141  # as a shell reports SIGPIPE
    except SystemExit as exit_:
        return _system_exit_code(exit_)
    except Exception as error:  # the only place where a bug becomes a report
        return _report_crash(error, arguments)
    return code


def run_process() -> int:
    """Run this process's command line and return its exit code: what the program ``fyre`` calls."""
    try:
        return main()
    except KeyboardInterrupt:  # before ``main`` could catch it, or while it printed an error
        return 130
    finally:
        import signal

        # another Ctrl-C while Python ends would be the exit code, or a traceback
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def run_verb(argv: list[str]) -> int:
    """Run the verb that the arguments name; raise ``UserError`` and whatever the verb raises."""
    verb = argv[0] if argv else "--help"
    if "_FYRE_COMPLETE" in os.environ or verb in COMPLETION_OPTIONS:  # a shell asks for words
        completion = import_module("fyre.cli.completion")
        return _verb_exit_code(completion.main(argv, VERBS, RAW_ARGV_VERBS))
    if verb.partition("=")[0] in LEGACY_OPTIONS:
        return _verb_exit_code(import_module("fyre.cli.legacy").main(argv))
    if verb in ("--help", "-h", "help"):
        return _print_help(argv)
    if verb == "--version":
        verb = "version"
    if verb not in VERBS:
        raise _unknown_verb_error(verb)
    module = import_module(f"fyre.cli.commands.{verb}")
    if verb in RAW_ARGV_VERBS:
        return _verb_exit_code(module.main(argv[1:]))
    return _run_with_typer(verb, module.main, getattr(module, "CONTEXT", {}), argv[1:])


def _run_with_typer(
    verb: str, verb_main: Callable[..., None], context_settings: dict[str, object], argv: list[str]
) -> int:
    """Let typer parse the arguments for the ``main`` of one verb, and call it."""
    import typer

    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    app.command(verb, context_settings={"help_option_names": ["-h", "--help"], **context_settings})(
        verb_main
    )
    try:
        result = typer.main.get_command(app).main(
            argv, prog_name=f"fyre {verb}", standalone_mode=False
        )
        return _verb_exit_code(result)
    except typer.Abort as error:
        raise KeyboardInterrupt from error
    except typer.Exit as error:
        return error.exit_code
    except Exception as error:
        # A usage error of typer's is recognised by its method, because its class differs between
        # versions: it is click's or typer's own.
        if not hasattr(error, "format_message"):
            raise
        from fyre.cli import usage_errors  # only for what is wrong

        raise usage_errors.usage_error(verb, error.format_message()) from error


def _print_help(argv: list[str]) -> int:
    """Print the list of verbs, or one verb's help page for ``fyre help commit``."""
    if argv[:1] == ["help"] and len(argv) > 1:
        return run_verb([argv[1], "--help"])
    width = max(map(len, VERBS))
    print(f"Usage: {USAGE}\n\nRun code on a cluster with nothing but git.\n\nVerbs:")
    print("\n".join(f"  {verb:{width}}  {line}" for verb, line in VERBS.items()))
    print("\n`fyre VERB --help` says more of one; `fyre --version` prints the version.")
    print("`fyre --install-completion` has your shell complete verbs and options.")
    print("Without a verb, as in the first Fyre: fyre --batch -- CMD; fyre --local -- CMD.")
    print("From Python: `from fyre import Fyre`; docs/how-to/python-api.md.")
    return 0


def _unknown_verb_error(verb: str) -> UserError:
    from difflib import get_close_matches

    close = get_close_matches(verb, VERBS, n=1)
    problem = "no such option" if verb.startswith("-") else "no such verb"
    hint = f"did you mean `fyre {close[0]}`?" if close else "`fyre --help` lists the verbs"
    return UserError(f"{problem}: {verb[:60]}", hint=hint, exit_code=2)


def _verb_exit_code(answer: object) -> int:
    """Return a verb's return value as an exit code; None is success."""
    return answer if isinstance(answer, int) else 0


def _system_exit_code(exit_: SystemExit) -> int:
    """Return the exit code of a ``SystemExit``, as Python itself would."""
    if isinstance(exit_.code, str):
        print(exit_.code, file=sys.stderr)
        return 1
    return exit_.code or 0


def _print_error(error: UserError | TransientError) -> int:
    """Print the error and its hint to stderr, a line each, and return its exit code."""
    if isinstance(error, TransientError):
        hint = getattr(error, "hint", "") or "try again in a moment"
        error = UserError(str(error), hint=hint)
    print(_colour_label("error:", "31"), error.message, file=sys.stderr)
    if error.hint:
        print(_colour_label("hint:", "36"), error.hint, file=sys.stderr)
    return error.exit_code


def _report_crash(error: Exception, argv: list[str]) -> int:
    """Write a crash report, and return the exit code.

    A full or read-only disk is no bug but a user's error: it can happen to any line of code.
    """
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
        return _print_error(
            UserError(
                f"{error.filename or 'the output'}: {error.strerror}",
                hint="make room, and try again",
            )
        )
    from fyre.cli import crash_report

    return crash_report.write_crash_report(error, argv)


def _colour_label(label: str, colour: str) -> str:
    """Return the label in colour on a terminal, unless NO_COLOR is set (no-color.org)."""
    plain = (
        os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" or not sys.stderr.isatty()
    )
    return label if plain else f"\x1b[1;{colour}m{label}\x1b[0m"


if __name__ == "__main__":
    sys.exit(run_process())

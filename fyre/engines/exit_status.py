"""Exit codes of processes, in words. Standard library only: the supervisor loads it."""

from __future__ import annotations

import signal
from typing import Any


def classify_exit(code: int) -> dict[str, Any]:
    """Return the state, code or signal, and reason of an exit code, as an outcome has them.

    0 is success; a negative code is a signal, and so is 128 + n, with which a shell reports the
    signal that ended a command.
    """
    if code == 0:
        return {"state": "succeeded", "exit_code": 0}
    if code < 0:
        return {"state": "failed", "signal": -code, "reason": describe_exit(code)}
    reason = _SHELL_REASONS.get(code, "")
    if 128 < code < 193 and _signal_name(code - 128):
        reason = describe_exit(code)
    return {"state": "failed", "exit_code": code, "reason": reason}


_SHELL_REASONS = {
    126: "exit 126: not executable, or for another architecture",
    127: "exit 127: command not found",
}
"""The exit codes of a shell that could not run a program; its log says more."""


def describe_exit(code: int) -> str:
    """Return an exit code in words.

    For example ``exit 1``, ``killed by SIGSEGV (11)``, ``exit 137 (SIGKILL, out of memory?)``.
    """
    number = -code if code < 0 else code - 128
    name = _signal_name(number)
    guess = ", out of memory?" if name == "SIGKILL" else ""
    if code < 0:
        return f"killed by {name or 'signal'} ({number}){guess}"
    return f"exit {code} ({name}{guess})" if name else f"exit {code}"


def _signal_name(number: int) -> str:
    """Return the name of a signal, "" where there is no such signal."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return ""

"""What the end of a process means, in words. Standard library only: the supervisor loads it."""

from __future__ import annotations

import signal
from typing import Any


def classify_exit(code: int) -> dict[str, Any]:
    """What an exit code means: 0 is success; a shell reports a command's signal as 128 + n."""
    if code == 0:
        return {"state": "succeeded", "exit_code": 0}
    if code < 0:
        return {"state": "failed", "signal": -code, "reason": describe_exit(code)}
    reason = {126: "exit 126: not executable", 127: "exit 127: command not found"}.get(code, "")
    if 128 < code < 193 and _signal_name(code - 128):
        reason = describe_exit(code)
    return {"state": "failed", "exit_code": code, "reason": reason}


def describe_exit(code: int) -> str:
    """An ending for people: ``exit 1``, ``killed by SIGSEGV (11)``, ``exit 137 (SIGKILL, out of memory?)``."""
    number = -code if code < 0 else code - 128
    name = _signal_name(number)
    perhaps = ", out of memory?" if name == "SIGKILL" else ""
    if code < 0:
        return f"killed by {name or 'signal'} ({number}){perhaps}"
    return f"exit {code} ({name}{perhaps})" if name else f"exit {code}"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return ""

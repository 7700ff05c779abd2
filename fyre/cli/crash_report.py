"""What happens to an error that nobody foresaw: a report in a file, ready to be pasted, with no credential in it."""

from __future__ import annotations

import platform
import shlex
import sys
import tempfile
import traceback
from collections.abc import Sequence
from pathlib import Path

import fyre
from fyre.message import credential_scan

CRASH_EXIT_CODE = 3
"""The exit code of a bug."""


def write_crash_report(error: BaseException, argv: Sequence[str]) -> int:
    """Write the report, name it on stderr, answer with ``CODE``."""
    last = traceback.format_exception_only(error)[-1].strip()
    print(
        f"error: this is a bug in Fyre: {credential_scan.mask_credentials(last)[:300]}",
        file=sys.stderr,
    )
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="fyre-bug-", suffix=".txt", delete=False, errors="replace"
        ) as file:
            file.write(format_crash_report(error, argv))
    except OSError as no_file:  # a full disk must not hide the bug
        print(format_crash_report(error, argv), f"(not kept in a file: {no_file})", file=sys.stderr)
    else:
        print(
            f"hint: the report in {Path(file.name)} is ready to be pasted into an issue",
            file=sys.stderr,
        )
    return CRASH_EXIT_CODE


def format_crash_report(error: BaseException, argv: Sequence[str]) -> str:
    """The report: versions, the command line and the traceback, with what looks like a credential masked."""
    lines = [
        f"fyre {fyre.__version__}, Python {platform.python_version()}, {platform.platform()}",
        f"$ fyre {shlex.join(argv)}",
        "",
        *traceback.format_exception(error),
    ]
    return credential_scan.mask_credentials("\n".join(lines))

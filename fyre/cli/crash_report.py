"""Write a report of an unexpected error to a file, ready to be pasted, without credentials."""

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
    """Write the report, print its path to stderr, and return ``CRASH_EXIT_CODE``."""
    error_line = traceback.format_exception_only(error)[-1].strip()
    print(
        f"error: this is a bug in Fyre: {credential_scan.mask_credentials(error_line)[:300]}",
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
    """Return the report: versions, the command line and the traceback.

    Text that looks like a credential is masked.
    """
    lines = [
        f"fyre {fyre.__version__}, Python {platform.python_version()}, {platform.platform()}",
        f"$ fyre {shlex.join(argv)}",
        "",
        *traceback.format_exception(error),
    ]
    return credential_scan.mask_credentials("\n".join(lines))

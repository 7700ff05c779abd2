"""Formats of the server's own log: a constant message with key=value facts, or JSON lines.

Facts are given as ``log.info("swept", extra={"repository": name})``. Nothing that looks like a
credential is written, and text that came from outside can't make a line of its own.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import IO, Any

from fyre.message import credential_scan

_STANDARD_ATTRIBUTES = frozenset(vars(logging.makeLogRecord({}))) | {
    "message",
    "asctime",
    "taskName",
    "color_message",
}


class TextFormatter(logging.Formatter):
    """Text lines: ``INFO fyre.apps.serve: serving forge=https://github.com engine=local``.

    A traceback follows on lines of its own.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return one line, and the traceback if there is one."""
        pairs = "".join(
            f" {key}={_quote_value(value)}" for key, value in extra_fields(record).items()
        )
        line = f"{record.levelname} {record.name}: {_escape_line(record.getMessage())}{pairs}"
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return credential_scan.mask_credentials(line)


class JsonFormatter(logging.Formatter):
    """JSON lines: ``time``, ``level``, ``logger``, ``message``, the facts, ``exception`` if any."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one line."""
        fields: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": credential_scan.mask_credentials(record.getMessage()),
        }
        # Masked before it is JSON, because JSON's escapes would hide where a credential ends.
        fields |= {
            key: _mask_value(value)
            for key, value in extra_fields(record).items()
            if key not in fields
        }
        if record.exc_info:
            fields["exception"] = credential_scan.mask_credentials(
                self.formatException(record.exc_info)
            )
        return json.dumps(fields, ensure_ascii=False, default=str)


def extra_fields(record: logging.LogRecord) -> dict[str, Any]:
    """Return the facts that were given with a message."""
    return {key: value for key, value in vars(record).items() if key not in _STANDARD_ATTRIBUTES}


def setup_logging(log_format: str, level: str, stream: IO[str] | None = None) -> None:
    """Log to stderr as ``text`` or ``json``, from ``level`` on; for libraries, from warning on."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("fyre").setLevel(level.upper())


def _quote_value(value: object) -> str:
    text = str(value)
    return text if text and text.isprintable() and not set(' "=') & set(text) else json.dumps(text)


def _escape_line(text: str) -> str:
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def _mask_value(value: object) -> object:
    return credential_scan.mask_credentials(value) if isinstance(value, str) else value

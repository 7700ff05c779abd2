"""Parse the values of trailers and ``.fyre.yaml``: durations, resources, names, images. Pure.

Every parser takes text and returns the value, or raises ``BadValueError``, which says what is wrong
and what to write instead.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fractions import Fraction

COMMAND_MAX = 100 * 1024
"""Bytes of one command.

Linux takes at most 128 KiB in one argument (MAX_ARG_STRLEN), and a Job must hold the command too.
"""

NOTE_MAX = 1000
"""Bytes of one note: it stands in a line of a table."""

# ASCII and nine digits: Python's \d takes the digits of any script, and int() refuses more than
# 4,300 digits with an error of its own.
_DURATION = re.compile(r"(?:(\d{1,9})d)?(?:(\d{1,9})h)?(?:(\d{1,9})m)?(?:(\d{1,9})s)?", re.ASCII)
_UNIT_SECONDS = (86400, 3600, 60, 1)
_DURATION_MAX = 365 * 86400
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
# The patterns below are text that ``re`` compiles when a value first needs it: few messages do, and
# to compile them all takes each git hook a millisecond.
_ENV_NAME = r"[A-Za-z_][A-Za-z0-9_]*"
# Kubernetes: a qualified name (k8s.io/apimachinery validation.IsQualifiedName) and a quantity
# (resource.Quantity).
_RESOURCE = r"(?:[a-z0-9](?:[-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9](?:[-\w.]{0,61}[A-Za-z0-9])?"
_QUANTITY = r"(?:\d+(?:\.\d+)?|\.\d+)(?:m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?"
_SUFFIX_FACTORS = {"": (1, 1), "m": (1, 1000)}
_SUFFIX_FACTORS |= {letter: (1000**power, 1) for power, letter in enumerate("kMGTPE", 1)}
_SUFFIX_FACTORS |= {f"{letter}i": (1024**power, 1) for power, letter in enumerate("KMGTPE", 1)}
_PLAIN_RESOURCES = frozenset({"cpu", "memory", "ephemeral-storage"})
_RESOURCE_ALIASES = {
    "mem": "memory",
    "ram": "memory",
    "cpus": "cpu",
    "cores": "cpu",
    "gpu": "nvidia.com/gpu",
    "gpus": "nvidia.com/gpu",
    "tpu": "google.com/tpu",
}
# github.com/distribution/reference: [host[:port]/]path[:tag][@digest]
_IMAGE = (
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?(?::\d+)?/)?"
    r"[a-z0-9]+(?:(?:\.|_{1,2}|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_{1,2}|-+)[a-z0-9]+)*)*"
    r"(?::\w[\w.-]{0,127})?(?:@sha256:[0-9a-f]{64})?"
)
_DNS_NAME = r"[a-z0-9](?:[-a-z0-9.]{0,251}[a-z0-9])?"


class BadValueError(ValueError):
    """A value that is not accepted: ``args[0]`` says why, ``hint`` says what to write instead."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


def parse_command(text: str) -> str:
    """Return the shell command: not empty, at most ``COMMAND_MAX`` bytes."""
    if not text.strip():
        raise BadValueError(
            "the command is empty", "write what is to run, like Fyre-Run: python train.py"
        )
    size = _byte_length(text)
    if size > COMMAND_MAX:
        raise BadValueError(
            f"the command is {size:,} bytes long, at most {COMMAND_MAX:,} fit",
            "commit a script, and run that",
        )
    return text


def parse_duration(text: str) -> int:
    """Return the seconds of a duration such as ``90s``, ``30m``, ``1h30m`` or ``2d``."""
    match = _DURATION.fullmatch(text)
    seconds = (
        sum(int(n) * unit for n, unit in zip(match.groups("0"), _UNIT_SECONDS, strict=True))
        if match
        else 0
    )
    if text.isascii() and text.isdigit() and text.strip("0"):
        short = text if len(text) < 10 else "5"
        raise BadValueError(
            f"{_quoted_excerpt(text)} has no unit", f"write {short}s, {short}m or {short}h"
        )
    if not match or not text:
        raise BadValueError(
            f"{_quoted_excerpt(text)} is not a duration", "write it like 90s, 30m, 2h, 1h30m or 2d"
        )
    if not 0 < seconds <= _DURATION_MAX:
        raise BadValueError(
            f"{_quoted_excerpt(text)} is not between 1s and 365d",
            "write it like 90s, 30m, 2h, 1h30m or 2d",
        )
    return seconds


def parse_retries(text: str) -> int:
    """Return the number of further starts: 0 to 20."""
    if not (text.isascii() and text.isdigit() and len(text) <= 2 and int(text) <= 20):
        raise BadValueError(
            f"{_quoted_excerpt(text)} is not a number of retries",
            "write a whole number from 0 to 20",
        )
    return int(text)


def parse_run_name(text: str) -> str:
    """Return a run's name, the last part of its status's context.

    The name ``moved`` is reserved for Fyre.
    """
    if not _NAME.fullmatch(text):
        raise BadValueError(
            f"{_quoted_excerpt(text)} is not a name",
            "use letters, digits, '.', '_' and '-', at most 63",
        )
    if text.lower() == "moved":
        raise BadValueError("the name 'moved' is Fyre's own", "choose another name")
    return text


def parse_profile_name(text: str) -> str:
    """Return the name of a profile of the admin's policy."""
    if not _NAME.fullmatch(text):
        raise BadValueError(
            f"{_quoted_excerpt(text)} is not a profile's name",
            "ask whoever runs Fyre which profiles there are",
        )
    return text


def parse_image(text: str) -> str:
    """Return a container image: ``python:3.12``, ``registry.example.org/team/train@sha256:…``."""
    if not re.fullmatch(_IMAGE, text, re.ASCII) or len(text) > 4096:
        raise BadValueError(
            f"{_quoted_excerpt(text)} is not an image",
            "write it like python:3.12 or host/team/name:tag",
        )
    return text


def parse_secret_name(text: str) -> str:
    """Return the name of a secret of the cluster."""
    if not re.fullmatch(_DNS_NAME, text, re.ASCII):
        raise BadValueError(
            f"{_quoted_excerpt(text)} is not a secret's name",
            "name a secret that exists in the cluster, never its value",
        )
    return text


def parse_workdir(text: str) -> str:
    """Return a directory inside the checkout."""
    _byte_length(text)
    parts = text.split("/")
    if not text or text.startswith("/") or ".." in parts or parts[0] == ".git":
        raise BadValueError(
            f"{_quoted_excerpt(text)} is not a directory inside the checkout",
            "write it like experiments/resnet",
        )
    return text


def parse_note(text: str) -> str:
    """Return a person's note on a run: one line, at most ``NOTE_MAX`` bytes."""
    size = _byte_length(text)
    if not text.strip():
        raise BadValueError("the note is empty", "write a few words, or leave it out")
    if size > NOTE_MAX:
        raise BadValueError(
            f"the note is {size:,} bytes long, at most {NOTE_MAX:,} fit",
            "write the rest into the commit message",
        )
    return text


def parse_env_entry(text: str) -> tuple[str, str]:
    """Return the name and value of ``NAME=value``; the value may be empty, and hold anything."""
    key, equals, value = text.partition("=")
    if not equals or not re.fullmatch(_ENV_NAME, key, re.ASCII):
        raise BadValueError(
            f"{_quoted_excerpt(text)} is not NAME=value", "write it like Fyre-Env: EPOCHS=10"
        )
    if _byte_length(value) > COMMAND_MAX:
        raise BadValueError(
            f"{key} is longer than {COMMAND_MAX:,} bytes", "commit a file, and read that"
        )
    if key.startswith("FYRE_"):
        raise BadValueError(
            f"{key[:60]} is Fyre's own", "choose a name that does not begin with FYRE_"
        )
    return key, value


def parse_resources(text: str) -> tuple[tuple[str, str], ...]:
    """Return the resources of ``cpu=4 memory=16Gi nvidia.com/gpu=1``, in the order given."""
    if not text.split():
        raise BadValueError("no resources are named", "write it like cpu=4 memory=16Gi")
    pairs = [parse_resource(*part.partition("=")[::2]) for part in text.split()]
    names = sorted(key for key, _ in pairs)
    repeated = next((name for name, next_name in pairwise(names) if name == next_name), None)
    if repeated:
        raise BadValueError(f"{repeated[:60]} is given twice", "give each resource once")
    return tuple(pairs)


def parse_resource(key: str, quantity: str) -> tuple[str, str]:
    """Return one resource and its quantity, as Kubernetes spells both."""
    if key.lower() in _RESOURCE_ALIASES:
        raise BadValueError(
            f"{key!r} is not a resource",
            f"write {_RESOURCE_ALIASES[key.lower()]}={quantity or '1'}",
        )
    if not re.fullmatch(_RESOURCE, key, re.ASCII) or (
        key not in _PLAIN_RESOURCES and "/" not in key
    ):
        raise BadValueError(
            f"{_quoted_excerpt(key)} is not a resource",
            "write cpu=4, memory=16Gi, ephemeral-storage=10Gi or nvidia.com/gpu=1",
        )
    if not re.fullmatch(_QUANTITY, quantity, re.ASCII) or not float(
        re.sub(r"[A-Za-z]+$", "", quantity)
    ):
        raise BadValueError(
            f"{key[:60]}={_quoted_excerpt(quantity)} is not a quantity",
            "write it like 4, 500m, 16Gi or 512Mi",
        )
    if key not in ("cpu", "memory", "ephemeral-storage") and not quantity.isdigit():
        raise BadValueError(
            f"{key[:60]} takes whole numbers only, not {_quoted_excerpt(quantity)}",
            f"write {key}=1",
        )
    return key, quantity


def parse_quantity(text: str) -> Fraction:
    """Return the exact number that a quantity means to Kubernetes: ``500m`` is a half.

    It is for comparing quantities.
    """
    from fractions import Fraction  # imported here: the hooks never compare resources

    number = text.rstrip("mkKMGTPEi")
    if len(text) > 64 or not re.fullmatch(_QUANTITY, text, re.ASCII):
        raise BadValueError(
            f"{_quoted_excerpt(text)} is not a quantity", "write it like 4, 500m, 16Gi or 512Mi"
        )
    return Fraction(number) * Fraction(*_SUFFIX_FACTORS[text[len(number) :]])


def format_duration(seconds: float) -> str:
    """Return a length of time for people: ``41s``, ``12m 03s``, ``2h 05m``, ``3d 4h``."""
    seconds_int = int(seconds)
    if seconds_int < 60:
        return f"{seconds_int}s"
    if seconds_int < 3600:
        return f"{seconds_int // 60}m {seconds_int % 60:02}s"
    if seconds_int < 86400:
        return f"{seconds_int // 3600}h {seconds_int % 3600 // 60:02}m"
    return f"{seconds_int // 86400}d {seconds_int % 86400 // 3600}h"


def format_exact_duration(seconds: int) -> str:
    """Return a length of time that ``parse_duration`` reads back to the second.

    Examples: ``2h``, ``1h30m``, ``1d1s``.
    """
    parts = []
    for unit, letter in zip(_UNIT_SECONDS, "dhms", strict=True):
        count, seconds = divmod(seconds, unit)
        parts += [f"{count}{letter}"] if count else []
    return "".join(parts) or "0s"


def _byte_length(text: str) -> int:
    """Return the size of a text in bytes, as a process will be given it.

    Raises ``BadValueError`` for a NUL, which no process can be given, and for a lone surrogate.
    """
    if "\0" in text:
        raise BadValueError("it holds a NUL", "leave it out: no process can be given one")
    try:
        return len(text.encode(errors="surrogateescape"))
    except UnicodeEncodeError as error:
        raise BadValueError(
            "it holds half a character (a lone surrogate)", "write it in plain UTF-8"
        ) from error


def replace_invalid_utf8(text: str) -> str:
    """Return the text with the bytes that were no UTF-8 replaced.

    It is for pages, JSON and terminals, never for a command that runs.
    """
    try:
        return text.encode(errors="surrogateescape").decode(errors="replace")
    except UnicodeEncodeError:  # a lone surrogate that does not stand for a byte
        return text.encode(errors="replace").decode()


def _quoted_excerpt(text: str) -> str:
    """Return the text quoted for a message, cut if it is long."""
    return repr(text if len(text) <= 60 else text[:57] + "…")

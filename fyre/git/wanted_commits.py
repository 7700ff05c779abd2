"""The commits that a fetch asks for, read from its request's body. Pure."""

from __future__ import annotations

import re
import zlib

_BYTES_MAX = 1 << 20
"""Bytes of a body that are looked through: wants stand before haves."""

_WANT = re.compile(rb"want ((?:[0-9a-f]{64})|(?:[0-9a-f]{40}))(?![0-9a-f])")


def find_wanted_commits(body: bytes, encoding: str) -> tuple[str, ...]:
    """Return the SHAs that a request to git-upload-pack wants, each once.

    ``encoding`` is the header Content-Encoding. Of a body that is none of git's, return none.
    """
    if encoding.lower() in ("gzip", "x-gzip"):
        try:
            body = zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(body, _BYTES_MAX)
        except zlib.error:
            return ()
    return tuple(dict.fromkeys(match.decode() for match in _WANT.findall(body[:_BYTES_MAX])))

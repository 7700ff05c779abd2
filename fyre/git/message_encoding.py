"""Decode the message of a commit that names another encoding than UTF-8, as git shows it. Pure.

Only what git itself re-encodes is decoded (``git log --encoding=UTF-8``, which uses iconv): an
allow-list of iconv's names, each with the codec of Python's that gives the same text. Python knows
codecs besides, such as ``unicode_escape``, that would turn bytes which git and GitHub show as they
are into a trailer that nobody sees. A message in any other encoding is not decoded at all. The
lists were compared with glibc, all bytes and all pairs of bytes.
"""

from __future__ import annotations

import re

COMMIT_BYTES_MAX = 4 * 1024 * 1024
"""Bytes of a commit that is decoded: a message has at most ``request.MESSAGE_MAX`` characters."""

# Python's codec → names of iconv for it. All bytes have the same meaning to both, and so have all
# pairs of bytes; what the one cannot decode, the other cannot either.
_SAME_CODECS = {
    "ascii": "ascii us-ascii ansi_x3.4-1968 iso646-us",
    "iso8859-1": "iso-8859-1 iso8859-1 iso_8859-1 latin1 latin-1 l1 cp819",
    "iso8859-2": "iso-8859-2 iso8859-2 iso_8859-2 latin2 l2",
    "iso8859-3": "iso-8859-3 iso8859-3 iso_8859-3 latin3 l3",
    "iso8859-4": "iso-8859-4 iso8859-4 iso_8859-4 latin4 l4",
    "iso8859-5": "iso-8859-5 iso8859-5 iso_8859-5 cyrillic",
    "iso8859-6": "iso-8859-6 iso8859-6 iso_8859-6 arabic",
    "iso8859-7": "iso-8859-7 iso8859-7 iso_8859-7 greek",
    "iso8859-8": "iso-8859-8 iso8859-8 iso_8859-8 hebrew",
    "iso8859-9": "iso-8859-9 iso8859-9 iso_8859-9 latin5 l5",
    "iso8859-10": "iso-8859-10 iso8859-10 iso_8859-10 latin6 l6",
    "iso8859-11": "iso-8859-11 iso8859-11",
    "iso8859-13": "iso-8859-13 iso8859-13 latin7 l7",
    "iso8859-14": "iso-8859-14 iso8859-14 iso_8859-14 latin8 l8",
    "iso8859-15": "iso-8859-15 iso8859-15 iso_8859-15 latin-9 latin9",
    "iso8859-16": "iso-8859-16 iso8859-16 iso_8859-16 latin10 l10",
    "cp1250": "windows-1250 cp1250",
    "cp1251": "windows-1251 cp1251",
    "cp1252": "windows-1252 cp1252",
    "cp1253": "windows-1253 cp1253",
    "cp1254": "windows-1254 cp1254",
    "cp1256": "windows-1256 cp1256",
    "cp1257": "windows-1257 cp1257",
    "cp437": "cp437 ibm437",
    "cp737": "cp737",
    "cp775": "cp775 ibm775",
    "cp850": "cp850 ibm850",
    "cp852": "cp852 ibm852",
    "cp855": "cp855 ibm855",
    "cp857": "cp857 ibm857",
    "cp858": "cp858 ibm858",
    "cp860": "cp860 ibm860",
    "cp861": "cp861 ibm861",
    "cp862": "cp862 ibm862",
    "cp863": "cp863 ibm863",
    "cp865": "cp865 ibm865",
    "cp866": "cp866 ibm866",
    "cp869": "cp869 ibm869",
    "cp874": "cp874",
    "cp949": "cp949 uhc",
    "gb2312": "gb2312 euc-cn euccn",
    "koi8-r": "koi8-r",
    "koi8-u": "koi8-u",
}
# Here iconv decodes some bytes that Python's codec refuses. What Python decodes is the same text,
# but for the backslash and the tilde in Shift_JIS, which are ¥ and ‾ to iconv.
_NARROWER_CODECS = {
    "gbk": "gbk cp936 ms936",
    "euc_kr": "euc-kr euckr",
    "euc_jp": "euc-jp eucjp ujis",
    "shift_jis": "shift_jis shift-jis sjis",
}
# Git shows these otherwise than Python decodes them. ASCII looks the same in all of them.
_ASCII_BASED = frozenset(
    """big5 big-5 cp950 big5-hkscs big5hkscs gb18030 cp932 ms932 ms_kanji windows-31j euc-jisx0213
    euc-jp-ms euc-tw iso-2022-jp iso-2022-jp-2 iso-2022-jp-3 iso-2022-kr iso-2022-cn johab cp1361
    windows-1255 cp1255 windows-1258 cp1258 tis-620 viscii macintosh mac mac-cyrillic koi8-t
    koi8-ru armscii-8 hp-roman8""".split()  # noqa: SIM905 - one name a line would be a page
)
_UTF_8 = ("", "utf-8", "utf8")

_SAME_NAMES = {name: codec for codec, names in _SAME_CODECS.items() for name in names.split()}
_NARROWER_NAMES = {
    name: codec for codec, names in _NARROWER_CODECS.items() for name in names.split()
}
CODECS = _SAME_NAMES | _NARROWER_NAMES
"""iconv's name, in lower case → the codec of Python's by which it is decoded."""

HINT = "set i18n.commitEncoding to UTF-8 and amend the commit"

_ANY_TRAILER = re.compile(rb"^fyre-[a-z]+[ \t]*:", re.IGNORECASE | re.MULTILINE)


class MessageEncodingError(ValueError):
    """Raised for a message that is not decoded; says why, in one line."""


def decode_message(content: bytes, encoding: str) -> str:
    """Return the message of a commit object in that encoding, as git shows it.

    Takes linear time. Raises ``MessageEncodingError``.
    """
    name = encoding.lower()
    if name in _UTF_8:
        return _find_message(content).decode("utf-8", "surrogateescape")
    check_encoding(encoding, content)
    content = content.partition(b"\0")[0]  # git re-encodes up to a NUL, the header included
    codec = CODECS.get(name)
    if codec is not None:
        try:
            decoded = content.decode(codec)
        except UnicodeError:
            if name in _NARROWER_NAMES:
                raise MessageEncodingError(f"the message is not all {encoding}") from None
        else:
            if codec == "shift_jis" and ("\\" in decoded or "~" in decoded):
                raise MessageEncodingError(f"a backslash or tilde in {encoding} is ambiguous")
            return decoded.partition("\n\n")[2]
    # Like git: where not all of a commit can be re-encoded, its bytes are kept as they are.
    return _find_message(content).decode("utf-8", "surrogateescape")


def check_encoding(encoding: str, content: bytes) -> None:
    """Raise ``MessageEncodingError`` for an encoding in which a message requests nothing.

    Where ASCII looks the same, a message without any Fyre trailer is left in peace.
    """
    name = encoding.lower()
    if name in CODECS or name in _UTF_8:
        return
    if name not in _ASCII_BASED or _ANY_TRAILER.search(content):
        raise MessageEncodingError(f"encoding {encoding[:40]!r} is not read: use UTF-8")


def _find_message(content: bytes) -> bytes:
    """Return what follows the header of a commit object."""
    return content.partition(b"\n\n")[2]

"""Markdown to HTML by GitHub's own library, cmark-gfm, with the extensions that GitHub uses.

The bindings free neither the tree nor the HTML of a text, megabytes for a comment of GitHub's
limit, and anybody may write comments: two functions of C, which the bindings leave out, do.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Iterable
from functools import cache
from typing import Any

from cmarkgfm import _cmark, cmark

EXTENSIONS = ("table", "strikethrough", "autolink", "tasklist")
TAG_FILTER = "tagfilter"  # escapes "<script>" and its like

_OPTIONS: int = cmark.Options.CMARK_OPT_FOOTNOTES | cmark.Options.CMARK_OPT_UNSAFE
_LOCK = threading.Lock()  # the library changes tables of its process while it reads a text


def render_html(text: str, extensions: Iterable[str] = EXTENSIONS) -> str:
    """Return the HTML of a text, with its own HTML as it is."""
    with _LOCK:
        cmark.core_extensions_ensure_registered()
        parser = cmark.parser_new(_OPTIONS)
        for name in extensions:
            cmark.parser_attach_syntax_extension(parser, cmark.find_syntax_extension(name))
        cmark.parser_feed(parser, text)
        root = cmark.parser_finish(parser)
        html = _cmark.lib.cmark_render_html(
            root, _OPTIONS, cmark.parser_get_syntax_extensions(parser)
        )
        result: str = _cmark.ffi.string(html).decode()
        free_text, free_tree = _free_functions()
        free_text(_address(html))
        free_tree(_address(root))
        cmark.parser_free(parser)
    return result


@cache
def _free_functions() -> tuple[Any, Any]:
    """Return what frees a text of the library, and what frees a tree."""
    functions = (ctypes.CDLL(None).free, ctypes.CDLL(_cmark.__file__).cmark_node_free)
    for function in functions:
        function.argtypes, function.restype = (ctypes.c_void_p,), None
    return functions


def _address(pointer: object) -> int:
    return int(_cmark.ffi.cast("uintptr_t", pointer))

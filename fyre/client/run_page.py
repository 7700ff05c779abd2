"""Read a run's page of the receiver: its facts. Its log: ``fyre.client.log_reader``.

The page is the ``target_url`` of the run's status. No token is ever sent to it: the address itself
is the key.
"""

from __future__ import annotations

from typing import Any

from fyre import http_session
from fyre.runs.state import RunState
from fyre.stored_form import (
    StoredField,
    StoredForm,
    as_integer,
    as_number_map,
    as_text,
    as_text_map,
    one_of,
    or_null,
)

PAGE_TIMEOUT = 5
"""Seconds to wait for the receiver's page to answer."""

_PAGE = StoredForm(
    "a run's page",
    (
        StoredField("sha", "sha", as_text),
        StoredField("name", "name", as_text),
        StoredField("command", "command", as_text),
        StoredField("state", "state", one_of(RunState)),
        StoredField("description", "description", as_text),
        StoredField("attempt", "attempt", as_integer),
        StoredField("started_at", "started_at", or_null(as_text)),
        StoredField("ended_at", "ended_at", or_null(as_text)),
        StoredField("exit_code", "exit_code", or_null(as_integer)),
        StoredField("signal", "signal", or_null(as_integer)),
        StoredField("log_url", "log_url", as_text),
        StoredField("metrics", "metrics", as_number_map),
        StoredField("best", "best", as_number_map),
        StoredField("least", "least", as_number_map),
        StoredField("greatest", "greatest", as_number_map),
        StoredField("outputs", "outputs", as_number_map),
        StoredField("note", "note", as_text),
        StoredField("env", "env", as_text_map),
    ),
)
"""The form of a run's page.

A receiver of another version may have written it; what can't be read is left out.
"""


def read_facts(url: str) -> dict[str, Any]:
    """Return the facts of a run's page that this version understands; ``state`` is a RunState."""
    return _PAGE.decode_readable(fetch_page(url))[0]


def fetch_page(url: str) -> dict[str, Any]:
    """Return all that a run's page says; {} if there is none, or it can't be reached."""
    import requests

    if not url.startswith(("http://", "https://")):
        return {}
    try:
        with http_session.open_session() as session:
            response = session.get(url + ".json", timeout=PAGE_TIMEOUT)
        facts = response.json() if response.ok else {}
    except (requests.RequestException, ValueError, RecursionError):
        return {}
    return facts if isinstance(facts, dict) else {}

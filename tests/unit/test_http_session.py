"""What a person reads when a request fails."""

from __future__ import annotations

import socket

import pytest
import requests
import urllib3

from fyre import http_session
from fyre.github.errors import UnreachableError
from fyre.http_session import describe_failure

REQUEST = requests.Request("GET", "https://ada:secret@forge.example/path?token=secret").prepare()


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (requests.ConnectionError(request=REQUEST), "nothing answers at https://forge.example"),
        (requests.ConnectTimeout(request=REQUEST), "nothing answers at https://forge.example"),
        (requests.ReadTimeout(request=REQUEST), "https://forge.example does not answer in time"),
        (requests.exceptions.ChunkedEncodingError(), "the connection broke off"),
        (urllib3.exceptions.ProtocolError("x"), "the connection broke off"),
        (ConnectionResetError(), "the connection broke off"),
        (OSError("x"), "nothing answers at its address"),
    ],
)
def test_a_failure_is_told_in_plain_words_and_without_secrets(error: Exception, says: str) -> None:
    assert describe_failure(error) == says


def test_9_36_a_name_without_an_address_is_told_as_that(monkeypatch: pytest.MonkeyPatch) -> None:
    def resolve_nothing(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", resolve_nothing)
    with http_session.open_session() as session:
        session.trust_env = False  # a proxy would look the name up
        with pytest.raises(requests.ConnectionError) as failed:
            session.get("https://forge.example/path")
    assert describe_failure(failed.value) == (
        "this machine finds no address for the name forge.example"
    )
    hint = UnreachableError("the statuses", failed.value).hint
    assert hint == "is that name right? `git remote -v` shows it; else try again in a moment"

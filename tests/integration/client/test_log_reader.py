"""A log that stops coming: no silence, whatever its cause, is waited for without an end."""

from __future__ import annotations

from pathlib import Path

import pytest

from fyre.client import log_reader, run_page
from fyre.client.events import LogChunk, LogEvent, LogInterrupted
from fyre.client.log_reader import LogBrokenOffError
from tests.support.scripted_page import scripted_page

SILENCE = "nothing of the log came for 0.3 s"
pytestmark = pytest.mark.timeout(60)


@pytest.fixture(autouse=True)
def short_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_reader, "_SILENCE_MAX", 0.3)


def read_until_error(url: str, *, live: bool, patience: float = 0.0) -> list[LogEvent | str]:
    """The events of a log that breaks off for good, then the error."""
    events: list[LogEvent | str] = []
    try:
        events.extend(log_reader.read_log(url, live=live, patience=patience))
    except LogBrokenOffError as error:
        return [*events, error.message]
    raise AssertionError(f"it ended as if it were complete, after {events}")


@pytest.mark.parametrize("live", [True, False])
def test_a_receiver_that_never_answers_is_an_error(*, live: bool) -> None:
    with scripted_page(facts=[{"state": "running"}]) as page:
        assert read_until_error(page.url, live=live) == [SILENCE]


def test_a_log_that_is_not_followed_and_falls_silent_is_an_error() -> None:
    with scripted_page(facts=[{"state": "running"}], log=b"one\n") as page:
        assert read_until_error(page.url, live=False) == [
            LogChunk(0, b"one\n"),
            LogInterrupted(SILENCE, 4),
            SILENCE,
        ]


def test_a_silent_run_is_followed_until_its_page_says_that_it_has_ended() -> None:
    running = {"state": "running"}
    with scripted_page(facts=[running, running, {"state": "succeeded"}], log=b"one\n") as page:
        assert read_until_error(page.url, live=True) == [
            LogChunk(0, b"one\n"),
            LogInterrupted(SILENCE, 4),
            SILENCE,
        ]
        assert page.log_requests == 4  # the last one after the interruption


def test_a_silent_log_whose_page_is_gone_as_well_is_an_error() -> None:
    with scripted_page(facts=[None], log=b"") as page:
        assert read_until_error(page.url, live=True)[-1] == SILENCE


def test_a_receiver_that_takes_long_to_refuse_is_given_up_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """How long an attempt takes is no success: without an answer nothing was reached."""
    monkeypatch.setattr(log_reader, "_LASTING", -1.0)
    with scripted_page(log=b"one\n") as page:
        events = log_reader.read_log(page.url, live=False, patience=0.3)
        assert [next(events), next(events)] == [LogChunk(0, b"one\n"), LogInterrupted(SILENCE, 4)]
    with pytest.raises(LogBrokenOffError, match="can't be reached"):
        list(events)


@pytest.mark.parametrize("live", [True, False])
@pytest.mark.parametrize("start", ["x", "-1", "", "9" * 5000, "\xb2"])
def test_a_start_that_is_no_number_is_an_error_with_a_hint(start: str, *, live: bool) -> None:
    with scripted_page(log=b"one\n", log_start=start) as page:
        assert read_until_error(page.url, live=live, patience=60) == [
            "the log can't be read: Fyre-Log-Start is no number of bytes"
        ]


@pytest.mark.parametrize("live", [True, False])
def test_9_17_a_proxy_s_page_is_not_taken_for_the_log(*, live: bool) -> None:
    with scripted_page(log=b"<html>log in</html>", log_type="Text/HTML; charset=utf-8") as page:
        assert read_until_error(page.url, live=live, patience=60) == [
            "a web page came in place of the log, as of a proxy that asks for a login"
        ]


def test_no_login_of_netrc_is_sent_to_a_receiver(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login ada password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with scripted_page(facts=[{"state": "failed"}], log=b"one\n") as page:
        assert run_page.read_facts(page.url) == {"state": "failed"}
        assert read_until_error(page.url, live=False)[0] == LogChunk(0, b"one\n")
        assert page.credentials
        assert set(page.credentials) == {""}

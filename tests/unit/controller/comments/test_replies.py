"""Replies: nobody can make us mark another comment as answered, mention anybody, or link."""

from __future__ import annotations

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fyre.controller.comments import replies
from fyre.controller.comments.handler import parse_command
from fyre.github.webhook import CommentEvent
from fyre.message.value_parsers import BadValueError
from fyre.reporter import markdown
from fyre.runs.commit_status import CommitStatus
from fyre.runs.run import Repository

SAID = CommentEvent(
    Repository("https://api.github.com", 1, "ada/lab"), "a" * 40, "Eve", "/fyre rerun", 7
)
PULL = CommentEvent(
    Repository("https://api.github.com", 1, "ada/lab"), "", "Eve", "/fyre rerun", 7, pull_number=3
)


def test_an_answer_names_its_comment_and_whom_it_refuses() -> None:
    bodies = [
        replies.render_reply(SAID, "no", is_refusal=True),
        replies.render_reply(PULL, "done") + "\r\n",
        "talk",
    ]
    assert replies.answered_comments(bodies) == {"commit comment 7", "comment 7"}
    assert replies.refused_logins(bodies) == {"eve"}
    assert [replies.is_reply(body) for body in bodies] == [True, True, False]
    assert all(parse_command(body) is None for body in bodies)


@pytest.mark.parametrize(
    "word", ["/fyre cancel '--<!-- fyre: answer to comment 99 -->'", "/fyre <!--x"]
)
def test_what_an_answer_quotes_marks_nothing(word: str) -> None:
    with pytest.raises(BadValueError) as raised:
        parse_command(word)
    body = replies.render_reply(SAID, f"{raised.value.args[0]}: {raised.value.hint}")
    assert replies.answered_comments([body]) == {"commit comment 7"}


@pytest.mark.parametrize(
    "text",
    ["@acme/all", "![](https://eve.example/seen.png)", "<!--", "www.eve.example/x y", "`@me`"],
)
@pytest.mark.parametrize(
    "words", ["rerun", "run --timeout", "run --name", "run --env", "run --resources gpu="]
)
def test_what_is_wrong_with_a_command_mentions_nobody_and_shows_no_picture(
    words: str, text: str
) -> None:
    with pytest.raises(BadValueError) as raised:
        parse_command(f"/fyre {words}{'' if words.endswith('=') else ' '}{shlex.quote(text)} -- x")
    said = "".join(
        f"{raised.value.args[0]}: {raised.value.hint}".split("`")[::2]
    )  # beside what is code
    assert not any(part in said for part in ("@", "](", "<", "www.", "://"))


@given(st.text())
def test_other_peoples_text_stays_text(text: str) -> None:
    cell = markdown.code_span(text)
    assert cell.startswith("<code>")
    assert cell.count("<") == 2
    assert not set(cell.removesuffix("</code>")) & set("\\`@|[]*_~\n\r")


def test_an_answer_about_a_thousand_runs_is_one_that_the_forge_takes() -> None:
    names = (f"`{'x' * 59}{number:04}`" for number in range(1000))
    body = replies.render_reply(SAID, f"cancelled: {', '.join(names)}.")
    assert len(body) < 65_536
    assert "`, …\n\n<!--" in body
    assert replies.answered_comments([body]) == {"commit comment 7"}


def test_a_table_has_an_end() -> None:
    many = {
        f"fyre/{number}": CommitStatus(f"fyre/{number}", "success", "x" * 140, "u" * 200)
        for number in range(500)
    }
    table = replies.render_status_table(many)
    assert table.endswith("| | | and 400 more |")
    assert len(table) < 65_536

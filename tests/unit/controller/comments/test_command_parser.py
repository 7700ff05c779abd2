"""From a comment's text to a command: what is one, what is talk, and what is neither."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fyre.controller.comments import command_parser
from fyre.controller.comments.command_parser import Command
from fyre.controller.comments.command_target import TargetedCommand, comment_trigger
from fyre.controller.comments.commands import run_key_for
from fyre.controller.comments.handler import COMMANDS, parse_command
from fyre.controller.comments.rerequest import click_trigger
from fyre.github.webhook import CommentEvent, RerequestEvent
from fyre.message.spec import RunSpec
from fyre.message.value_parsers import BadValueError
from fyre.runs.run import Repository

REPOSITORY = Repository("https://api.github.com", 1, "ada/lab")
SHA = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize(
    ("body", "command"),
    [
        ("/fyre rerun", Command("rerun")),
        ("Looks odd.\n\n/fyre rerun train\nthanks", Command("rerun", "train")),
        ("/fyre cancel\r\n", Command("cancel")),
        ("one\r\n/fyre\tcancel  train \r\ntwo", Command("cancel", "train")),
        ("old mac\r/fyre status", Command("status")),
        ("/fyre cancel a\n/fyre rerun b", Command("cancel", "a")),
        ("/fyre rerun --latest", Command("rerun", latest_image=True)),
        ("/fyre rerun --latest train", Command("rerun", "train", latest_image=True)),
        ("/fyre rerun train --latest", Command("rerun", "train", latest_image=True)),
        ("/fyre status --commit ABCDEF1 train", Command("status", "train", commit="abcdef1")),
        ("/fyre cancel --commit=abcdef1", Command("cancel", commit="abcdef1")),
        (f"/fyre approve {SHA}", Command("approve", commit=SHA)),
        (f"/fyre approve train --commit {SHA}", Command("approve", "train", commit=SHA)),
        ("```\n/fyre cancel\n```\n/fyre status", Command("status")),
        ("<!-- /fyre cancel -->\n/fyre status", Command("status")),
        ("> wrote that\n/fyre cancel\n\n/fyre status", Command("status")),
        ("> wrote that\n>\n/fyre status", Command("status")),
        ("> wrote that\n```\n/fyre cancel\n```\n/fyre status", Command("status")),
        ("``` not `a` fence\n/fyre status", Command("status")),
        ("~~~~\n~~~\n/fyre cancel\n~~~~~\n/fyre status", Command("status")),
    ],
)
def test_a_command(body: str, command: Command) -> None:
    assert parse_command(body) == command


def test_every_command_stands_in_the_readme() -> None:
    readme = (Path(__file__).parents[4] / "README.md").read_text(encoding="utf-8")
    rows = [line for line in readme.splitlines() if line.startswith("| `/fyre ")]
    assert rows == [
        f"| `/fyre {verb} {one.arguments}` | {one.help} |" for verb, one in COMMANDS.items()
    ]


@pytest.mark.parametrize(
    ("comment", "number", "key"),
    [
        (
            CommentEvent(REPOSITORY, SHA, "ada", "/fyre run x", 7),
            "comment 7",
            "18b898903fa2b44466d913654f",
        ),
        (
            CommentEvent(REPOSITORY, "", "ada", "/fyre run x", 7, pull_number=3),
            "pull comment 7",
            "e317dfdc8059db2bb516c99c5e",
        ),
        (
            RerequestEvent(REPOSITORY, SHA, "ada", "train", 7),
            "comment -7",
            "c2ccb8b907be3be2ca6db23830",
        ),
    ],
)
def test_the_key_of_a_comments_run_is_a_stored_form(
    comment: CommentEvent | RerequestEvent, number: str, key: str
) -> None:
    """Delivered again after an upgrade, it finds what the version before has launched."""
    trigger = (
        comment_trigger(comment)
        if isinstance(comment, CommentEvent)
        else click_trigger(comment, 0.0)
    )
    target = TargetedCommand(REPOSITORY, SHA, Command("rerun"), trigger)
    assert (trigger.id, run_key_for(target, "rerun train")) == (number, key)


@pytest.mark.parametrize(
    ("text", "command"),
    [
        ('echo "a  b" && true', 'echo "a  b" && true'),
        ("train --latest", "train --latest"),
        ("-- --odd -- 'x", "--odd -- 'x"),
        ("-- python  x.py   # note", "python  x.py   # note"),
        ("echo $(date) `x` \\n | cat >'a b'", "echo $(date) `x` \\n | cat >'a b'"),
        ("echo grün 🎉 \u2028 \x0b \x85.", "echo grün 🎉 \u2028 \x0b \x85."),
        ("-x", "-x"),
        ("echo it's", "echo it's"),
        ("echo " + "x" * 60_000, "echo " + "x" * 60_000),
    ],
)
def test_a_command_to_run_is_verbatim(text: str, command: str) -> None:
    assert parse_command(f"/fyre run {text}\r\nthanks") == Command("run", spec=RunSpec(command))


def test_options_are_those_of_fyre_commit() -> None:
    line = "/fyre run --name big --profile=gpu --timeout 2h --resources 'cpu=4 memory=16Gi' "
    line += "--env A='b  c' --env D= --retries 2 --secret hf --workdir sub --image python:3.12 "
    line += f"--commit {SHA} -- python x.py --name y"
    command = parse_command(line)
    assert command is not None
    assert (command.run_name, command.commit) == ("big", SHA)
    assert command.spec == RunSpec(
        "python x.py --name y", "big", "gpu", "python:3.12",
        (("cpu", "4"), ("memory", "16Gi")), 7200, 2, (("A", "b  c"), ("D", "")), ("hf",), "sub",
    )  # fmt: skip


@pytest.mark.parametrize(
    "body",
    [
        "", "fine", "> /fyre run x", "see /fyre run", "    /fyre run x", "\t/fyre cancel",
        "/fyreworks", "`/fyre run`", "> quoted\n> /fyre cancel", "```\n/fyre cancel\n```",
        "```sh\n/fyre cancel", "   ~~~\n/fyre cancel\n  ~~~", "````\n```\n/fyre cancel\n````",
        "```\n/fyre cancel\n~~~\n/fyre cancel", "```\n``` x\n/fyre cancel",
        "<!-- see\n/fyre cancel\n-->", "a <!-- b\n/fyre cancel", "\ufeff/fyre cancel",
        "- /fyre cancel", "/Fyre cancel",
        "line\u2028/fyre cancel", "x" * 60_000, "`" * 60_000, "<!--" * 15_000, "```\n" * 15_001,
        "<!--\n--> <!--\n/fyre cancel\n-->", "> somebody wrote that\n/fyre cancel helps",
        ">> a\r\nb\r\n/fyre cancel",
    ],
)  # fmt: skip
def test_talk_is_no_command(body: str) -> None:
    assert parse_command(body) is None


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("/fyre", "`/fyre` is not a command"),
        ("/fyre dance `@team`", "`/fyre dance` is not a command"),
        ("/fyre `@acme/all`", "`/fyre '@acme/all'` is not a command"),
        ("/fyre run", "needs a command"),
        ("/fyre run --", "needs a command"),
        ("/fyre run --name x", "needs a command"),
        ("/fyre run --name", "`--name` needs a value"),
        ("/fyre run --tiemout 2h -- x", "`--tiemout` is not an option of `/fyre run`"),
        ("/fyre run --timeout 2 -- x", "`--timeout`: '2' has no unit"),
        ("/fyre run --name a --name b -- x", "given twice"),
        ("/fyre run --name 'x -- y", "has a quote that does not end"),
        ("/fyre run " + "x" * 102_401, "bytes long"),
        ("/fyre run echo \ud800", "half a character"),
        ("/fyre rerun a b", "is not a name"),
        ("/fyre cancel ../x", "is not a name"),
        ("/fyre cancel --latest", "is not an option of `/fyre cancel`"),
        ("/fyre rerun --lates", "is not an option"),
        ("/fyre approve", "is not a commit's SHA"),
        ("/fyre approve main", "is not a commit's SHA"),
        ("/fyre status --commit abc", "is not a commit's SHA"),
    ],
)
def test_a_command_that_can_not_be_understood_says_so(body: str, why: str) -> None:
    with pytest.raises(BadValueError) as raised:
        parse_command(body)
    assert why in raised.value.args[0]


@given(st.text(st.sampled_from("/fyre runcal-`~<!>'\"\\\r\n\t\u2028\ud800")))
def test_no_comment_breaks_it(body: str) -> None:
    with contextlib.suppress(BadValueError):
        parse_command(body)
        parse_command(f"/fyre run {body}")


@given(st.text(st.sampled_from("/fyre runcal-`~<!>'\"\\\r\n\t\u2028\ud800")))
def test_a_command_is_what_is_read_as_one_or_refused_as_one(body: str) -> None:
    for text in (body, f"/fyre{body}", f"<!--\n{body}\n/fyre {body}"):
        try:
            read = parse_command(text) is not None
        except BadValueError:
            read = True
        assert command_parser.is_command(text) is read


@pytest.mark.parametrize("part", [" a", " '", " \U0001f600", "\\ ", "`", "<!--", "\r"])
def test_whether_a_comment_is_a_command_is_known_before_its_words_are_read(part: str) -> None:
    body = (
        part * 600_000
    )  # what is quadratic, as to read words is, would not come back in this suite's time
    assert command_parser.is_command(f"/fyre cancel{body}")
    assert command_parser.is_command(f"{body}\n/fyre cancel") is (part not in ("`", "<!--"))

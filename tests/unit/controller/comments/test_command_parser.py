"""From a comment's text to a command: what is one, what is talk, and what is neither."""

from __future__ import annotations

import contextlib
from pathlib import Path
from xml.etree.ElementTree import Element

import cmarkgfm.cmark
import html5lib
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fyre.controller.comments import command_parser, github_markdown
from fyre.controller.comments.command_parser import Command
from fyre.controller.comments.command_target import TargetedCommand, comment_trigger
from fyre.controller.comments.commands import run_key_for
from fyre.controller.comments.handler import COMMANDS, parse_command
from fyre.controller.comments.rerequest import click_trigger
from fyre.github.webhook import CommentEvent, RerequestEvent
from fyre.message.spec import RunSpec
from fyre.message.value_parsers import BadValueError
from fyre.runs.run import Repository
from tests.support.ci_marks import LONG_CASE

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


def test_9_40_a_hint_on_an_option_is_in_words_of_options() -> None:
    with pytest.raises(BadValueError) as raised:
        parse_command("/fyre run --env FOO -- true")
    assert raised.value.hint == "write it like --env EPOCHS=10"


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


@pytest.mark.parametrize(
    "body",
    [
        "<pre>\n/fyre cancel\n</pre>", "<pre>\n\n/fyre cancel\n\n</pre>",
        "<code>\n\n/fyre cancel\n\n</code>", "text <code>\n/fyre cancel\n</code>",
        "<blockquote>\n\n/fyre cancel\n\n</blockquote>", "<BLOCKQUOTE >\n/fyre cancel",
        "<script>\n\n/fyre cancel\n</script>", "<style>\n/fyre cancel\n</style>",
        "<div><pre>\n\n/fyre cancel\n\n</pre></div>", "<del>\n\n/fyre cancel\n\n</del>",
        "a <kbd>\n/fyre cancel\n</kbd>", "<samp>\n\n/fyre cancel", "<template>\n\n/fyre cancel",
        "<textarea>\n\n/fyre cancel\n\n</textarea>", "<?php\n\n/fyre cancel\n?>",
        "<!DOCTYPE\n/fyre cancel\n>", "<![CDATA[\n\n/fyre cancel\n]]>",
        "<div>\n/fyre cancel\n</div>",
        "<details><summary>x</summary>\n/fyre cancel", "a `b\n/fyre cancel\nc` d",
        "~~a\n/fyre cancel\nb~~", '<a title="\n/fyre cancel\n">x</a>', "![a\n/fyre cancel\nb](c)",
        '[x]: /y "a\n/fyre cancel\nb"', 'an [x](/y "a\n/fyre cancel\nb")', "$$\n/fyre cancel\n$$",
        "- a\n\n  - > a\n/fyre cancel", "1. > quoted\n/fyre cancel",
        "- > a\n\n  > b\n/fyre cancel",
        "a <span style='x'>\n/fyre cancel</span>", "<a title='</pre>'><pre>\n\n/fyre cancel",
        "<pre><a title='\"></pre>'>\n\n/fyre cancel", "<code>\n<!-- </code>\n\n-->\n\n/fyre cancel",
        "<div>\n<!-- a\n\n-->\n\n/fyre cancel", "<div>\n<a b='\n\n'>\n\n/fyre cancel",
        "<code>\n\n" + "x\n\n" * 10_000 + "/fyre cancel",
        "x\n\n" * 10_000 + "> a\n- b\n/fyre cancel", "<svg>\n\n/fyre cancel", "<q>\n\n/fyre cancel",
    ],
)  # fmt: skip
def test_9_a5_what_github_does_not_show_as_said_is_no_command(body: str) -> None:
    assert parse_command(body) is None


@pytest.mark.parametrize(
    "body",
    [
        "Use `<code>` for that.\n\n/fyre status", "<pre>\n/fyre cancel\n</pre>\n\n/fyre status",
        "<details>\n<summary>Log</summary>\n\n```\nx\n```\n\n</details>\n\n/fyre status",
        "set <name> and\n\n/fyre status", "<br>\n\n/fyre status", "thanks, **Ada**:\n/fyre status",
        "a <b>word</b>\n/fyre status", "<code>x</code>\n\n/fyre status", "- a\n- b\n\n/fyre status",
        "| a |\n|---|\n| b |\n\n/fyre status", "# Title\n/fyre status", "2 < 3 > 1\n/fyre status",
        "*\n/fyre status", "costs $5 and $$ 7\n\n/fyre status", "Title\n/fyre status\n---",
        "<pre>x</pre>\n\n/fyre status", "x\n\n" * 10_000 + "/fyre status",
        "<img src=x alt='<pre>'>\n\n/fyre status", "a  \n/fyre status", "a\\\n/fyre status",
        "x\n\n" * 10_000 + "a `b\n/fyre status", "x\n\n" * 10_000 + "<a b='\n\n/fyre status",
        "- a\n-\n/fyre status", "> a\n\n/fyre status",
    ],
)  # fmt: skip
def test_9_a5_what_is_said_is_still_a_command(body: str) -> None:
    assert parse_command(body) == Command("status")


MARKUP = st.lists(
    st.sampled_from(
        ["/fyre status", "\n", "\n\n", "  ", "    ", "> ", "- ", "1. ", "```", "~~~", "~~", "`",
         "``", "<pre>", "</pre>", "<code>", "</code>", "<blockquote>", "</blockquote>",
         "<script>", "</script>", "<!--", "-->", "<div>", "</div>", "<a title='", "'>",
         "x", "[a]: ", '"', "![",
         "](b)", "(", "<![CDATA[", "]]>", "***", "---", "\t", "| a |", "\\", "\r\n",
         "<table>", "<tr><td>", "</table>", "<marquee>", "<caption>", "<button>", "<svg>", "<p>",
         "<? ", "?>", "<!X", "|a\n|-\n", "\n-|",
         "</#", ">", "--!>", "<!-->", "[^1]: ", "[^1]", "-|-", "~", "$$"],
    ),
    max_size=25,
).map("".join)  # fmt: skip


QUOTING = {"pre", "code", "blockquote", "script", "del", "table", "section"}


def visible_text(element: Element) -> str:
    """Return the text of a tree outside of quotes, code and what is not shown."""
    shown = "" if element.tag in QUOTING or not isinstance(element.tag, str) else element.text or ""
    inside = () if element.tag in QUOTING else map(visible_text, element)
    return shown + "".join(inside) + (element.tail or "")


@settings(max_examples=500, deadline=None)
@given(MARKUP)
def test_9_5_what_github_shows_as_code_quote_or_html_never_commands(body: str) -> None:
    if command_parser.is_command(body):
        options = cmarkgfm.cmark.Options
        html = cmarkgfm.github_flavored_markdown_to_html(
            body, options.CMARK_OPT_FOOTNOTES | options.CMARK_OPT_UNSAFE
        )
        tree = html5lib.parse(html, namespaceHTMLElements=False)
        assert "/fyre status" in visible_text(tree), html


@pytest.mark.parametrize("opening", ["<table><tr><td>", "<marquee>", "<table><caption>", "<table>",
                                     "\n\n<? ", "\n\n<!X ", "\n\n<![CDATA[ ", "</# ",
                                     "<object>", "\n\n[^1]: a\n\n    "])  # fmt: skip
def test_9_5_a_quote_ends_where_a_browser_ends_it(opening: str) -> None:
    text = f"<blockquote>{opening}</blockquote> ?> ]]>\n\n"
    assert parse_command(f"{text}/fyre status") is None
    assert parse_command(f"{text}</table></marquee></object></blockquote>\n\n/fyre status")


@pytest.mark.parametrize(
    "body",
    [
        "[^1]: a note\n/fyre cancel", "a[^1]\n\n[^1]: b c\n/fyre cancel",
        "| a |\n|---|\n/fyre cancel",
        "<!-- --!>\n<blockquote>\n-->\n\n/fyre cancel", "~a\n/fyre cancel\nb~",
        "<table><tr><td>\n\n/fyre cancel", "<blockquote><svg></blockquote>\n\n/fyre cancel",
        "x\n\n" * 10_000 + "<!X\n\n/fyre cancel", "|a\n|-\n/fyre cancel", "a\n-|\n/fyre cancel",
        "<blockquote>\n\n[^a]: [^b]: x\n\n    </blockquote>\n\n/fyre cancel",
    ],
)  # fmt: skip
def test_9_5_what_github_shows_elsewhere_or_struck_out_is_no_command(body: str) -> None:
    assert parse_command(body) is None


@pytest.mark.parametrize(
    "part",
    [
        "[",
        "<a ",
        *(
            pytest.param(part, marks=LONG_CASE)
            for part in (
                "*a ",
                "`",
                "> ",
                "- a\n",
                "a\n",
                "a\n\n",
                "[a](",
                "![",
                "~~a",
                "[`",
                "/fyre x\n",
            )
        ),
    ],
)
def test_9_a5_a_long_comment_is_parsed_in_bounded_time(part: str) -> None:
    body = "<pre>" + part * (1_000_000 // len(part)) + "\n/fyre cancel"
    assert not command_parser.is_command(body)


@pytest.mark.parametrize(
    "part", [" a", " '", " \U0001f600", "\\ ", "`", "<!--", pytest.param("\r", marks=LONG_CASE)]
)
def test_whether_a_comment_is_a_command_is_known_before_its_words_are_read(part: str) -> None:
    body = (
        part * 600_000
    )  # what is quadratic, as to read words is, would not come back in this suite's time
    assert command_parser.is_command(f"/fyre cancel{body}")
    text = part * (60_000 // len(part))
    assert command_parser.is_command(f"{text}\n/fyre cancel") is (part not in ("`", "<!--"))


@pytest.mark.parametrize("opening", ["<ul><li>", "<div>\n\n", "<a><b>", "<center><p>"])
def test_9_5_nothing_is_said_in_what_is_nested_too_deeply_to_be_read(opening: str) -> None:
    """Browsers' rules take quadratic time for elements inside each other: 23 s for 65,000 ">"."""
    assert command_parser.is_command(f"{opening * 100}\n\n/fyre cancel")
    assert not command_parser.is_command(f"{opening * 2_500}\n\n/fyre cancel")
    assert not command_parser.is_command(f"{'>' * 65_000}\n\n{opening * 100}<q>\n\n/fyre cancel")


def test_9_5_a_comment_that_looks_for_our_mark_is_read_in_linear_time() -> None:
    assert command_parser.is_command(f"x fyre{'z' * 60_000}\n\n/fyre cancel")


def test_9_5_comments_leave_no_memory() -> None:
    """GitHub's library keeps megabytes of each text whose tree and HTML nobody frees."""
    memory = Path("/proc/self/statm")
    pages = 0
    for number in range(25):
        github_markdown.render_html("*a* b\n\n" * 4_000)
        if number == 4:
            pages = int(memory.read_text().split()[1])
    assert int(memory.read_text().split()[1]) - pages < 5_000  # 20 MB; 20 texts leak 64

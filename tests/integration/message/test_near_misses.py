"""Lookalikes are found, explained and mended, and the mended message says to git what the person
meant.
"""

import random
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fyre.message import near_misses, trailers
from tests.conftest import git
from tests.support import trailers_generator
from tests.support.ci_marks import long_case

SCISSORS = "# ------------------------ >8 ------------------------"


@pytest.mark.parametrize(
    ("message", "line", "why"),
    [
        ("Fyre-Run: echo hi\n", 1, "it is in the subject"),
        ("fyre-run: echo hi\n", 1, "it is in the subject"),
        ("Train\nFyre-Run: echo hi\n", 2, "no blank line stands between it and the subject"),
        ("Train\n\nFyre-Run: echo hi\n\nMore words.\n", 3, "it is not in the last paragraph"),
        ("Train\n\nFyre-Run: echo hi\n\nReviewed-by: B\n", 3, "it is not in the last paragraph"),
        (
            "Train\n\nthanks all\nFyre-Run: echo hi\n",
            4,
            "the last paragraph mixes prose and trailers: line 3 'thanks all' is not a trailer",
        ),
        (
            "Train\n\nFyre-Run: echo hi\n  --fast\nbye\n",
            3,
            "the last paragraph mixes prose and trailers: line 5 'bye' is not a trailer",
        ),
        (
            "Train\n\n  indented\nFyre-Run: echo hi\n",
            4,
            "the last paragraph mixes prose and trailers: line 3 'indented' is not a trailer",
        ),
        (
            "Train\n\na\nb\nc\nd\nFyre-Run: e\n(cherry picked from commit 1)\n".replace(
                "d\n", "d\nf\ng\nh\n"
            ),
            10,
            "the last paragraph mixes prose and trailers: line 3 'a' is not a trailer",
        ),
        (
            "Train\n\nFyre-Run = echo hi\n",
            3,
            "a trailer's key ends with a colon, not with an equals sign",
        ),
        ("Train\n\nFyre_Run: echo hi\n", 3, "an underscore is not allowed in a trailer's key"),
        (
            "Train\n\nFyre_Run: echo hi\n\nProse.\n",
            3,
            "an underscore is not allowed in a trailer's key",
        ),
        (
            "Train\n\nprose\nfyre_run: a\nSigned-off-by: A\n",
            4,
            "an underscore is not allowed in a trailer's key",
        ),
        ("Train\n\nfyre run: echo hi\n", 3, "a space is not allowed in a trailer's key"),
        (
            "Train\n\nFyre-Run: a\n  Fyre-Name: b\n",
            4,
            "it is indented, so that git takes it for more of the line above",
        ),
    ],
)
def test_what_looks_like_a_trailer_is_found_with_its_reason(
    message: str, line: int, why: str
) -> None:
    assert [(one.line, one.reason) for one in near_misses.find_near_misses(message)] == [
        (line, why)
    ]
    assert message.split("\n")[line - 1] == near_misses.find_near_misses(message)[0].text


@pytest.mark.parametrize(
    "message",
    [
        "",
        "Train\n\nFyre-Run: echo hi\n",
        "Train\n\nprose\nFyre-Run: echo hi\nSigned-off-by: A\n",
        "Train\n\n> Fyre-Run: echo hi\n\nquoted above\n",
        "Train\n\n    Fyre-Run: echo hi\n\nindented above\n",
        "fyre-server: answer sooner\n",
        "fyre run: follow the log to its end\n\nfyre run: it did not.\n\nReally.\n",
        "Train\n\nfyre_client: a name in code\n",
        "Train\n\nWrite Fyre-Run: as the last line.\n",
        "Train\n\nFyre-Run echo hi\n",
        "Train\n\nFyre-: hi\n\nFyre: hi\n\nprose\n",
        "Train\n\nFyre-Run: a\n\tfolded\n",
        "Train\n\nprose\n# Fyre-Run: a\n",
        f"Train\n\nprose\n{SCISSORS}\nFyre-Run: a\n\nmore\n",
        "Both (#12)\n\n* One\n\nFyre-Run: a\n\n* Two\n\nFyre-Run: b\n\nCo-authored-by: B\n",
        "Squashed commit of the following:\n\ncommit 1\n\n    One\n\nFyre-Run: a\n\nmore\n",
    ],
)
def test_talk_about_trailers_is_left_alone(message: str) -> None:
    assert near_misses.find_near_misses(message) == ()
    assert near_misses.fix_near_misses(message) == message


@pytest.mark.parametrize(
    ("message", "mended"),
    [
        (
            (
                "Train\n\nFyre-Run: python train.py\n  --lr 1\n\nProse.\n\n"
                "Fyre-Timeout: 2h\n\n# a comment\n"
            ),
            (
                "Train\n\nProse.\n\nFyre-Run: python train.py\n  --lr 1\n"
                "Fyre-Timeout: 2h\n\n# a comment\n"
            ),
        ),
        ("Train\nFyre-Run: a", "Train\n\nFyre-Run: a\n"),
        ("Train\n\nOne\nfyre-run: a\ntwo.\n", "Train\n\nOne\ntwo.\n\nFyre-Run: a\n"),
        (
            "Train\n\nthanks\nFyre-Run: a\nReviewed-by: B\n",
            "Train\n\nthanks\nReviewed-by: B\n\nFyre-Run: a\n",
        ),
        ("Train\n\nFyre_Run: a\nReviewed-by: B\n", "Train\n\nFyre-Run: a\nReviewed-by: B\n"),
        ("Train\n\nReviewed-by: B\nFyre Run: a\n", "Train\n\nReviewed-by: B\nFyre-Run: a\n"),
        ("Train\n\nFyre-Run: a\n  Fyre-Name: b\n", "Train\n\nFyre-Run: a\nFyre-Name: b\n"),
        ("Train\n\nFyre-Run: a\n\nReviewed-by: B\n", "Train\n\nFyre-Run: a\nReviewed-by: B\n"),
        (  # above the first trailer: an indented line below ours would become part of its command
            "Train\n\nFyre-Run: a\n\n  prose\nSigned-off-by: A\n",
            "Train\n\n  prose\nFyre-Run: a\nSigned-off-by: A\n",
        ),
        (
            "Train\n\nFyre-Run:\n  python x\n\nProse.\n",
            "Train\n\nProse.\n\nFyre-Run:\n  python x\n",
        ),
        ("Train\r\n\r\nFyre-Run: a\r\n\r\nProse.\r\n", "Train\r\n\r\nProse.\r\n\nFyre-Run: a\n"),
        ("Conflicts:\nFyre-Run: a\n\n\tpath", "Conflicts:\n\nFyre-Run: a\n\nConflicts:\n\tpath"),
        ("Fyre-Run: a\n\nTrain the model\n", "Train the model\n\nFyre-Run: a\n"),
        ("Fyre-Run: echo hi\n", "Run: echo hi\n\nFyre-Run: echo hi\n"),
        ("Fyre-Run: a\nFyre-Run: b\n", "Run 2 commands: a, b\n\nFyre-Run: a\nFyre-Run: b\n"),
        (
            f"Train\n\nFyre-Run: a\n\nProse.\n{SCISSORS}\ndiff\n",
            f"Train\n\nProse.\n\nFyre-Run: a\n\n{SCISSORS}\ndiff\n",
        ),
    ],
)
def test_mending_moves_lines_to_the_end_in_their_order(message: str, mended: str) -> None:
    assert near_misses.fix_near_misses(message) == mended


LINE = st.sampled_from(
    [
        "Subject",
        "Subject (#1)",
        "* item",
        "prose here",
        "prose here",
        "",
        "",
        "",
        " ",
        "\x0c",
        "    code",
        "  folded",
        "Fyre-Run: echo a",
        "fyre-run : b",
        "Fyre_Run: c",
        "Fyre Name: d",
        "Fyre-Foo: e",
        "Fyre-Run:",
        "Fyre-Run: f\r",
        "\u017fyre-run: g",
        "Fyre-Id\u212a: h",
        " Fyre-Env: A=1",
        "  fyre run: i",
        "    Fyre-Run: j",
        "> Fyre-Run: q",
        "Signed-off-by: A <a@example.com>",
        "Reviewed-by: B",
        "(cherry picked from commit 1)",
        "# comment",
        "#Fyre-Run: k",
        "Conflicts:",
        "\tpath",
        SCISSORS,
        "Fyre-Run: l\0Fyre-Run: m",
    ]
)
MESSAGE = st.builds(
    lambda lines, end: "\n".join(lines) + end,
    st.lists(LINE, max_size=14),
    st.sampled_from(["", "\n", "\n\n"]),
)


@settings(max_examples=10 * settings().max_examples, derandomize=True)
@given(MESSAGE)
def test_what_is_mended_is_seen_by_git_and_nothing_is_lost(message: str) -> None:
    found = near_misses.find_near_misses(message)
    mended = near_misses.fix_near_misses(message)
    assert near_misses.find_near_misses(mended) == ()
    assert near_misses.fix_near_misses(mended) == mended
    if not found:
        assert mended == message
        return
    words = [one.text.partition(":")[2].split() for one in found]
    seen = [
        one.value.split() for one in trailers.parse(mended) if one.key.lower().startswith("fyre-")
    ]
    assert len(seen) >= len(found)
    assert _in_order(words, seen), "each lookalike is a trailer now, in the same order"
    assert sorted(_untouched(message)) == sorted(_untouched(mended))


def _in_order(words: list[list[str]], seen: list[list[str]]) -> bool:
    """Whether each value begins one that git sees (folded lines follow it), in this order."""
    rest = iter(seen)
    return all(any(value[: len(one)] == one for value in rest) for one in words)


def _untouched(message: str) -> list[str]:
    """The lines that mending has no business with."""
    keep = (
        "Subject",
        "prose",
        "*",
        ">",
        "(",
        "Signed",
        "Reviewed",
        "#",
        "\x0c",
        "    ",
        "\tpath",
        "  folded",
    )
    return [line for line in message.split("\n") if line.startswith(keep)]


@long_case
def test_a_megabyte_of_lookalikes_is_found_and_mended() -> None:
    message = "S\n\n" + "Fyre_Run: a\n" * 50_000 + "\nprose\n"
    assert len(near_misses.find_near_misses(message)) == 50_000
    assert len(trailers.parse(near_misses.fix_near_misses(message))) == 50_000


def test_comments_are_stripped_as_git_strips_them() -> None:
    rng = random.Random(5)
    for message in trailers_generator.messages(60, seed=5):
        if (
            SCISSORS in message or "\0" in message
        ):  # stripspace knows no scissors, and git commit no NUL
            continue
        char = rng.choice("#;")
        command = ["git", "-c", f"core.commentChar={char}", "stripspace", "--strip-comments"]
        done = subprocess.run(command, input=message.encode(), capture_output=True, check=True)
        assert near_misses.strip_comments(message, char) == done.stdout.decode(), message


@pytest.mark.parametrize(
    "message",
    [
        f"S\n\nK: v\n# c\n\n\n\nprose \t\n{SCISSORS}\n# Do not modify\ndiff --git a/x b/x\n",
        f"S\n\n {SCISSORS}\nL: w\n",
        f"S\n{SCISSORS} \nL: w\n",
        f"S\n{SCISSORS}",
        f"\n\nS\n\nK: v\n{SCISSORS}\n{SCISSORS}\n",
    ],
)
def test_the_scissors_cut_where_git_commit_cuts(
    message: str, repo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (repo / "message").write_text(message)
    monkeypatch.setenv("GIT_EDITOR", "cp message")  # a person types this
    git("commit", "-q", "-v", "--allow-empty", cwd=repo)
    stored = subprocess.run(
        ["git", "cat-file", "commit", "HEAD"], cwd=repo, capture_output=True, check=True
    ).stdout
    assert near_misses.strip_comments(message) == stored.decode().partition("\n\n")[2]


def test_nothing_is_left_of_a_message_below_the_scissors() -> None:
    assert near_misses.strip_comments(f"{SCISSORS}\nS\n") == ""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from fyre.hooks import commit_msg, message_check
from fyre.message import credential_scan, fyre_ids, request
from tests.support.ci_marks import easier_cases


def body(repo: Path, git) -> str:
    return git("log", "-1", "--format=%B", cwd=repo)


def test_a_message_without_anything_of_ours_passes_and_loads_nothing(tmp_path: Path) -> None:
    import sys

    code = (
        "import sys; from fyre import hooks; c = hooks.run(sys.argv[1:]); "
        "print(*sys.modules); sys.exit(c)"
    )
    (tmp_path / "msg").write_text("Plain\n\nSigned-off-by: A <a@b.c>\n")
    done = subprocess.run([sys.executable, "-I", "-c", code, "commit-msg", str(tmp_path / "msg")],
                          capture_output=True, text=True, check=True)  # fmt: skip
    assert not {"fyre.message.request", "dataclasses", "subprocess", "re"} & set(
        done.stdout.split()
    )


def test_a_message_with_a_run_loads_none_of_what_is_stored(tmp_path: Path, git) -> None:
    import sys

    code = "import sys; from fyre import hooks; hooks.run(sys.argv[1:]); print(*sys.modules)"
    git("init", "-q", cwd=tmp_path)
    (tmp_path / "msg").write_text("Train\n\nFyre-Run: python train.py\n")
    done = subprocess.run([sys.executable, "-I", "-c", code, "commit-msg", "msg"],
                          capture_output=True, text=True, check=True, cwd=tmp_path)  # fmt: skip
    loaded = set(done.stdout.split())
    assert "fyre.message.request" in loaded
    assert not {"fyre.stored_form", "subprocess"} & loaded


def test_it_mints_the_id_of_a_run_written_by_hand(hooked: Path, git, attempt) -> None:
    text = (
        "Train\n\nWhy.\n\nReviewed-by: B\nFyre-Run: python \\\n train.py\nFyre-Name: t\nTicket: 7\n"
    )
    assert attempt("commit", "--allow-empty", "-m", text).returncode == 0
    made = body(hooked, git)
    found = request.parse_message(made)
    assert fyre_ids.is_valid_fyre_id(found.fyre_id)
    assert made.replace(f"Fyre-Id: {found.fyre_id}\n", "") == text.removesuffix(
        "\n"
    ) + "\n" or made.replace(f"Fyre-Id: {found.fyre_id}\n", "") == text.removesuffix("\n")


def test_an_id_that_is_there_stays(hooked: Path, git, attempt) -> None:
    own = fyre_ids.new_fyre_id()
    assert (
        attempt(
            "commit", "--allow-empty", "-m", f"Train\n\nFyre-Run: true\nFyre-Id: {own}"
        ).returncode
        == 0
    )
    assert request.parse_message(body(hooked, git)).fyre_id == own


WOULD_NOT_RUN = [
    ("Train\n\nFyre-Run: true\n\nand prose\n", "not in the last paragraph"),
    ("Train\n\nprose\nFyre-Run: true\n", "mixes prose and trailers"),
    ("Train\n\nFyre-Tmieout: 5m\nFyre-Run: true\n", "did you mean Fyre-Timeout?"),
    ("Train\n\nFyre-Run: true\nFyre-Timeout: 5\n", "write 5s, 5m or 5h"),
    ("Train\n\nFyre-Run:\n", "the command is empty"),
]
"""Messages, and a part of the answer."""


def test_what_would_not_run_is_not_committed(hooked: Path, git, attempt) -> None:
    before = git("rev-parse", "HEAD", cwd=hooked)
    for text, says in WOULD_NOT_RUN:
        done = attempt("commit", "--allow-empty", "-m", text)
        assert done.returncode == 1
        assert says in done.stderr
        assert "fyre: not committed" in done.stderr
        assert git("rev-parse", "HEAD", cwd=hooked) == before
        kept = done.stderr.strip().rpartition("git commit -e -F ")[2]
        assert (hooked / kept).read_text() == text  # nothing lost


def test_9_36_the_advice_amends_again_what_was_an_amend(hooked: Path, git, attempt) -> None:
    done = attempt("commit", "--allow-empty", "--amend", "-m", "Train\n\nFyre-Timeout: never\n")
    assert done.returncode == 1
    words = done.stderr.strip().rpartition("fix it with: git ")[2].split()
    assert words[:2] == ["commit", "--amend"]
    kept = hooked / words[-1]
    kept.write_text("Train\n\nFyre-Run: true\n")
    assert attempt(*words, editor="true").returncode == 0
    assert git("rev-list", "--count", "HEAD", cwd=hooked).strip() == "1"


def test_the_mended_text_that_it_prints_commits(hooked: Path, git, attempt) -> None:
    done = attempt("commit", "--allow-empty", "-m", "Train\n\nFyre-Run: true\n\nand prose\n")
    _, _, rest = done.stderr.partition("fixed, it reads:\n\n")
    mended = "".join(row[4:] + "\n" for row in rest.partition("\nyour message")[0].splitlines())
    assert attempt("commit", "--allow-empty", "-m", mended).returncode == 0
    assert [spec.command for spec in request.parse_message(body(hooked, git)).runs] == ["true"]


@pytest.mark.parametrize("char", ["#", ";", "auto"])
@pytest.mark.parametrize("verbose", [*easier_cases(()), ("-v",)])
def test_comments_and_diffs_of_the_editor_are_no_part_of_the_message(
    hooked: Path, git, attempt, char: str, verbose: tuple[str, ...]
) -> None:
    git("config", "core.commentChar", char, cwd=hooked)
    (hooked / "README").write_text("Fyre-Run: in a diff\n")
    editor = (
        'sh -c \'printf "Train\\n\\nFyre-Run: true\\n" | cat - "$0" > "$0.new"; mv "$0.new" "$0"\''
    )
    done = attempt("commit", "-a", *verbose, editor=editor)
    assert done.returncode == 0, done.stderr
    made = body(hooked, git)
    assert made.startswith("Train\n\nFyre-Run: true\nFyre-Id: ")
    assert len(made.strip().splitlines()) == 4


def test_lines_that_look_like_comments_stay_where_nobody_edits(hooked: Path, git, attempt) -> None:
    assert (
        attempt("commit", "--allow-empty", "-m", "#42 fix", "-m", "Fyre-Run: true").returncode == 0
    )
    assert body(hooked, git).startswith("#42 fix\n\nFyre-Run: true\nFyre-Id: ")


def test_nothing_else_in_the_file_is_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_EDITOR", "vi")
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "COMMIT_EDITMSG"
    raw = b"Caf\xe9\r\n\r\nFyre-Run: true\r\n\r\n# a comment\r\n"
    path.write_bytes(raw)
    assert commit_msg.main([str(path)]) == 0
    before, _, after = path.read_bytes().partition(b"Fyre-Id: ")
    assert before + after[28:] == raw
    assert after[26:28] == b"\r\n"


def test_a_rebase_that_squashes_is_let_through(hooked: Path, git, attempt) -> None:
    for name in ("one", "two"):
        assert (
            attempt("commit", "--allow-empty", "-m", f"{name}\n\nFyre-Run: {name}").returncode == 0
        )
    done = attempt(
        "rebase", "-i", "HEAD~2", editor="true", GIT_SEQUENCE_EDITOR="sed -i '2s/^pick/squash/'"
    )
    assert done.returncode == 0, done.stderr
    assert [spec.command for spec in request.parse_message(body(hooked, git)).runs] == ["two"]


def test_9_a8_the_hook_knows_every_word_of_the_scan() -> None:
    patterns = (*credential_scan._TOKEN_PATTERNS, *credential_scan._ASSIGNMENT_PATTERNS)
    words = {word for _, substrings, _ in patterns for word in substrings}
    assert words == set(message_check.CREDENTIAL_WORDS)


@pytest.mark.parametrize(
    "lines", ["Fyre-Run: curl -H {} x", "Fyre-Run: true\nFyre-Env: HUB_TOKEN={}"]
)
def test_9_a8_a_credential_in_a_trailer_is_warned_of(hooked: Path, git, attempt, lines) -> None:
    token = "ghp_" + "a1B2c3D4e5F6" * 3
    done = attempt("commit", "--allow-empty", "-m", "Train\n\n" + lines.format(token))
    assert done.returncode == 0
    assert "the run of line 3 holds what looks like a GitHub token" in done.stderr
    assert "Fyre-Secret" in done.stderr
    assert token not in done.stderr
    assert "warning" not in attempt("commit", "--allow-empty", "-m", "T\n\nFyre-Run: a").stderr


def test_9_36_a_slip_is_noted_and_the_commit_is_made(hooked: Path, git, attempt) -> None:
    done = attempt("commit", "--allow-empty", "-m", "Train\n\nFire-Run: true")
    assert done.returncode == 0
    assert "fyre: note: line 3 asks for nothing: 'Fire-Run: true'" in done.stderr

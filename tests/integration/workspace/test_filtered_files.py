from __future__ import annotations

import os
from pathlib import Path

import pytest

from fyre.apps import local_run
from fyre.workspace import filtered_files, snapshot
from tests.integration.workspace.conftest import LAB, Git
from tests.support.ci_marks import easier_cases


def test_9_34_bytes_are_those_of_the_work_tree_and_what_a_filter_changes_is_said(
    repo: Path, *, far: Path, git: Git, run, capfd
) -> None:
    git("config", "core.autocrlf", "input", cwd=repo)
    git("config", "filter.upper.clean", "tr a-z A-Z", cwd=repo)
    git("config", "filter.lfs.clean", "wc -c", cwd=repo)
    (repo / ".gitattributes").write_text("*.up filter=upper\n*.txt text\n*.bin filter=lfs\n")
    (repo / "a.bin").write_text("large\n")
    (repo / "a.up").write_text("up\n")
    (repo / "same.up").write_text("SAME\n")
    (repo / "lf.txt").write_bytes(b"a\n")
    (repo / "crlf.txt").write_bytes(b"a\r\n")
    (repo / "crlf").write_bytes(b"a\r\nb\r\n")
    assert run() == 0
    assert git("cat-file", "-p", f"{LAB}:a.up", cwd=far) == "UP"
    assert git("cat-file", "-s", f"{LAB}:crlf.txt", cwd=far) == "2"
    assert git("cat-file", "-s", f"{LAB}:crlf", cwd=far) == "6"
    notes = capfd.readouterr().err.splitlines()
    assert [note.partition(", because")[0] for note in notes] == [
        "fyre: the run sees other bytes than these files have",
        "fyre: the run sees the content of these files only if its receiver takes Git LFS: a.bin",
    ]
    assert notes[0].endswith(": a.up, crlf.txt")


ATTRIBUTES = """\
*.text text
*.auto text=auto
*.crlf text eol=crlf
*.only eol=crlf
*.lf eol=lf
*.never -text
*.old crlf=input
*.autocrlf text=auto eol=crlf
*.nevercrlf -text eol=crlf
*.idcrlf ident eol=crlf
*.upcrlf filter=upper eol=crlf
*.up filter=upper
*.id ident
*.wide working-tree-encoding=UTF-16LE
"""
ENDS = {
    "lf": b"a $Id$ b\nc\n",
    "crlf": b"a $Id$ b\r\nc\r\n",
    "mixed": b"a $Id$ b\r\nc\n",
    "cr": b"a\rb\r\n",
    "crcrlf": b"a\r\r\nb\r\n",
    "nul": b"a\0\r\nb\n",
    "word": b"a",
}


def write_files(repo: Path, state: str) -> list[Path]:
    """Write a file with each kind of line ends for each attribute, and for none."""
    kinds = ["none", *(line.split()[0].removeprefix("*.") for line in ATTRIBUTES.splitlines())]
    paths = []
    for kind in kinds:
        for end, content in ENDS.items():
            paths.append(repo / f"{state}-{end}.{kind}")
            wide = content.decode().encode("utf-16-le")
            paths[-1].write_bytes(wide if kind == "wide" else content)
    return paths


@pytest.mark.parametrize("autocrlf", [*easier_cases("false", "input"), "true"])
def test_9_34_exactly_the_files_that_arrive_with_other_bytes_are_named(
    repo: Path, git: Git, monkeypatch: pytest.MonkeyPatch, autocrlf: str
) -> None:
    monkeypatch.setattr(snapshot, "_MAX_SHOWN_PATHS", 1000)
    git("config", "core.autocrlf", autocrlf, cwd=repo)
    git("config", "core.safecrlf", "false", cwd=repo)
    git("config", "filter.upper.clean", "tr a-z A-Z", cwd=repo)
    files = write_files(repo, "bare")  # stored before there are attributes
    git("add", ".", cwd=repo)
    (repo / ".gitattributes").write_text(ATTRIBUTES)
    files += write_files(repo, "same")
    touched = write_files(repo, "touched")
    changed = write_files(repo, "changed")
    git("add", ".", cwd=repo)
    git("commit", "-q", "-m", "Files", cwd=repo)
    for path in touched:
        os.utime(path, (1, 1))
    for path in changed:
        path.write_bytes(path.read_bytes() * 2)
    files += [*touched, *changed, *write_files(repo, "new")]
    (repo / "sub.d").mkdir()
    (repo / "sub.d/.gitattributes").write_text("new* text\n")
    files.append(repo / "sub.d/new\n\r é")
    files[-1].write_bytes(b"a\r\n")

    repo_paths = snapshot.locate_repo(repo)
    tree = snapshot.write_tree(repo_paths)
    sha = snapshot.commit_tree(repo_paths, tree.sha, (), "Snapshot", sign=False)
    work = local_run.create_checkout(repo_paths, sha)
    arrived_otherwise = [
        str(path.relative_to(repo))
        for path in files
        if path.read_bytes() != (work / path.relative_to(repo)).read_bytes()
    ]
    assert not [
        path for path in arrived_otherwise if path.endswith((".none", ".never", ".nevercrlf"))
    ]
    for path in ("new-crlf.text", "same-crlf.text", "new-lf.crlf", "new-lf.up", "sub.d/new\n\r é"):
        assert path in arrived_otherwise
    assert "new-crlf.crlf" not in arrived_otherwise
    (note,) = tree.notes
    assert note.startswith("the run sees other bytes than these files have")
    shown = ", ".join(sorted(arrived_otherwise, key=str.encode))
    one_line = shown.replace("\n", r"\n").replace("\r", r"\r")
    assert note.endswith(f": {one_line}")


def test_9_34_a_run_of_unchanged_files_does_not_depend_on_time_stamps(repo: Path, git: Git) -> None:
    git("config", "core.autocrlf", "true", cwd=repo)
    (repo / "crlf").write_bytes(b"a\r\n")
    git("add", ".", cwd=repo)
    git("commit", "-q", "-m", "Stored with LF", cwd=repo)
    os.utime(repo / "crlf", (1, 1))
    git("status", cwd=repo)  # which notes the time
    repo_paths = snapshot.locate_repo(repo)
    assert snapshot.read_status(repo_paths).changed == ()
    trees = [snapshot.write_tree(repo_paths)]
    os.utime(repo / "crlf", (2, 2))
    assert snapshot.read_status(repo_paths).changed == ()
    trees.append(snapshot.write_tree(repo_paths))
    assert git("cat-file", "-s", f"{trees[0].sha}:crlf", cwd=repo) == "3"
    assert trees[0] == trees[1]
    assert trees[0].notes == ()


def test_9_34_of_many_files_only_some_are_written_to_be_compared(
    repo: Path, git: Git, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filtered_files, "_MAX_WRITTEN_FILES", 2)
    monkeypatch.setattr(filtered_files, "_MAX_WRITTEN_BYTES", 100)
    git("config", "core.safecrlf", "false", cwd=repo)
    (repo / ".gitattributes").write_text("*.crlf text eol=crlf\n*.raw filter=raw\n*.id ident\n")
    for number in range(4):
        (repo / f"{number}.id").write_text("$Id$\n")
        (repo / f"{number}.crlf").write_bytes(b"a\n" if number == 3 else b"a\r\n")
        (repo / f"{number}.raw").write_bytes(b"a" * 101)  # more than is written at all
    git("add", ".", cwd=repo)
    git("commit", "-q", "-m", "Many files", cwd=repo)
    (repo / "3.id").write_text("$Id$ changed\n")
    notes = snapshot.write_tree(snapshot.locate_repo(repo)).notes
    assert [note.rpartition(": ")[2] for note in notes[:1]] == ["0.id, 3.crlf, 3.id"]
    assert [note.partition(" may")[0] for note in notes[1:]] == ["6 more files"]


def test_9_34_a_file_deleted_meanwhile_ends_no_comparison(
    repo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (repo / ".gitattributes").write_text("* ident\n")
    for name in ("gone", "kept"):
        (repo / name).write_text("$Id$\n")
    choose_written = filtered_files._choose_written

    def delete_then_choose(*args) -> list[str]:
        (repo / "gone").unlink()
        return choose_written(*args)

    monkeypatch.setattr(filtered_files, "_choose_written", delete_then_choose)
    (note,) = snapshot.write_tree(snapshot.locate_repo(repo)).notes
    assert note.endswith(": kept")

"""How the golden files of version 0.1 were made: ``python tests/golden/make_v0_1.py FOLDER``, with Fyre 0.1 installed.

It uses nothing but that Fyre, so that the files say what it wrote and not what a later one thinks it did. They stay as
they are for ever: a later version has a script and a folder of its own.

- ``specs.json``: specs, their digests, and what 0.1 stored of them.
- ``keys.json``: what a run's key is made of, and the key.
- ``statuses.json``: the statuses that records, refusals and the rest are told by, and the state behind each.
- ``local/STAGE/``: the folder of a run on this machine, at each stage of its life; ``ended`` by a real run.
- ``jobs/STAGE.json``: the Job of a run on a cluster, at each stage of its life.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from fyre.engines.local.records import Folder, job
from fyre.profiles import Profile
from fyre.run import Record, Repository, Run
from fyre.spec import Spec
from fyre.state import State

from fyre import access, run, status
from fyre.engines.kubernetes import manifests, names, observe
from fyre.engines.local.engine import LocalEngine

REPOSITORY = Repository("https://api.github.com", 123456789, "ada/lab", "trunk")
DIGEST = "sha256:" + "9f3c1a2b" * 8
SHA, OTHER, TREE = "a1" * 20, "b2" * 20, "c3" * 20
FYRE_ID = "01HZXW4Q8N0123456789ABCDEF"

SPECS = [
    Spec("make"),
    Spec(""),
    Spec("make", name="train"),
    Spec("make", name="ünï-cödé"),
    Spec("echo \"$(date)\" \\ `x` \t$$ 'q'"),
    Spec("printf '\u00e9\u4e2d\u6587\U0001f525\u200d\u0301'"),
    Spec("bytes that are no UTF-8: \udcff\udc80"),
    Spec("line\nline\r\n\x00\x7f"),
    Spec("make", profile=""),
    Spec("make", profile="gpu"),
    Spec("make", image="python:3.12"),
    Spec("make", image=f"ghcr.io/ada/lab@{DIGEST}"),
    Spec("make", resources=(("cpu", "4"),)),
    Spec("make", resources=(("cpu", "4"), ("memory", "16Gi"), ("nvidia.com/gpu", "1"))),
    Spec("make", resources=(("memory", "16Gi"), ("cpu", "4"))),
    Spec("make", timeout=0),
    Spec("make", timeout=7200),
    Spec("make", timeout=2**31),
    Spec("make", retries=0),
    Spec("make", retries=3),
    Spec("make", env=(("SEED", "1"),)),
    Spec("make", env=(("SEED", "1"), ("SEED", "2"), ("EMPTY", ""), ("ÜMLAUT", "ß = \U0001f525"))),
    Spec("make", secrets=("wandb",)),
    Spec("make", secrets=("wandb", "s3", "wandb")),
    Spec("make", workdir="."),
    Spec("make", workdir="sub/ördner"),
    Spec("make", setup=("pip install -e .",)),
    Spec("make", setup=("true", "make deps\nmake more", "é")),
    Spec(
        "python train.py --lr 1e-3",
        "train",
        "gpu",
        f"ghcr.io/ada/lab:1@{DIGEST}",
        (("cpu", "4"), ("memory", "16Gi"), ("nvidia.com/gpu", "2")),
        3600,
        2,
        (("SEED", "1"), ("NAME", "é\U0001f525")),
        ("wandb", "s3"),
        "experiments/a b",
        ("make deps", "nvidia-smi"),
    ),
]

FULL = Run(
    "0123456789abcdef0123456789", REPOSITORY, SHA, TREE, (OTHER, "d4" * 20), "refs/heads/fyre/ada", "ada", "train",
    SPECS[-1], SPECS[-1].digest, FYRE_ID, 2, 1767323045.25,
)  # fmt: skip
PLAIN = Run("fedcba9876543210fedcba9876", REPOSITORY, SHA, TREE, (), "refs/heads/trunk", "", "run", SPECS[0],
            SPECS[0].digest)  # fmt: skip

REASONS = [
    "",
    "exit 137 (SIGKILL, out of memory?)",
    "exit 127: command not found",
    "killed by SIGSEGV (11)",
    "timed out after 2h 00m",
    "timed out after 5s; the disk is full: part of the log is lost",
    "setup failed: `make deps` exit 2",
    "setup failed: `make deps` timed out after 1m 00s",
    "out of memory (limit 16Gi): exit 137 (SIGKILL)",
    "lost: its supervisor died; the command may have run",
    "its Job was deleted",
    "image ghcr.io/ada/lab can't be had: manifest unknown",
    "unschedulable: 0/3 nodes are available: 3 Insufficient cpu.",
    "waiting for a free slot, 3 ahead",
    "checking out",
    "try 2 of 3",
    "x" * 300,
    "wörter mit \u00e9\u0301 " * 20,
]


def specs() -> list[dict[str, Any]]:
    """Return each spec as its arguments, its digest, and what is stored of it."""
    return [{"spec": asdict(spec), "digest": spec.digest, "stored": run.to_json(replace(PLAIN, spec=spec))["spec"]}
            for spec in SPECS]  # fmt: skip


def keys() -> list[dict[str, Any]]:
    """Return what each key is made of, and the key."""
    forges = (
        REPOSITORY,
        Repository("http://127.0.0.1:8123/api", 0, "x/y"),
        Repository("", 2**40, ""),
    )
    made = [
        (repository, identity, digest, ordinal, attempt)
        for repository in forges
        for identity in (FYRE_ID, SHA, "e5" * 32)
        for digest in (SPECS[0].digest, SPECS[-1].digest + "train", "rerun ünï")
        for ordinal, attempt in (
            (0, ""),
            (1, ""),
            (17, ""),
            (0, "comment 42"),
            (0, "pull comment 42"),
        )
    ]
    return [
        {
            "forge": repository.forge,
            "id": repository.id,
            "identity": identity,
            "digest": digest,
            "ordinal": ordinal,
            "attempt": attempt,
            "key": run.key(repository, identity, digest, ordinal, attempt),
        }
        for repository, identity, digest, ordinal, attempt in made
    ]


def statuses() -> list[dict[str, Any]]:
    """Return each status and what it stands for."""
    found = [*_statuses_of_records(), *_other_statuses()]
    return list({json.dumps(one, sort_keys=True): one for one in found}.values())


def _statuses_of_records() -> list[dict[str, Any]]:
    return [
        _of_record(of, state, reason, carried=carried)
        for state in State
        if state
        not in (
            State.REFUSED,
            State.CARRIED,
            State.MOVED,
        )  # told of by a status, never kept by an engine
        for reason in REASONS
        for of in (PLAIN, FULL)
        for carried in (False, True)
    ]


def _of_record(of: Run, state: State, reason: str, *, carried: bool) -> dict[str, Any]:
    ended = state.final
    record = Record(
        of, state, 2 if of is FULL else 1, 1000.0, 1723.0 if ended else None,
        (0 if state is State.SUCCEEDED else 3) if ended and not reason else None, reason=reason,
        cancelled_by="bob" if state is State.CANCELLED else "", image_id=f"docker.io/ada/lab@{DIGEST}" if ended else "",
        unhonoured=("image", "resources") if of is PLAIN else (),
    )  # fmt: skip
    said = status.of(record, "https://fyre.example.org/runs/x", carried=carried)
    shown = (
        "carried from" in said.description
    )  # a long reason of 0.1 left no room for that, nor for the attempt
    return _told(
        said,
        State.CARRIED if carried and ended and shown else state,
        attempt=2 if "attempt 2" in said.description else 1,
        timed_out=reason.startswith("timed out after")
        and state in (State.FAILED, State.SUCCEEDED, State.ERROR),
    )


def _other_statuses() -> list[dict[str, Any]]:
    closed = access.mended("branch x may not launch, but main or fyre/*", "push it to one that may")
    asked = access.mended("asks for 5 retries, at most 3", f"amend, or {access.ADMIN}")
    return [
        _told(status.refused("fyre/run", closed), State.REFUSED, push_refusal=True),
        *(_told(status.refused("fyre/run", access.mended("why", by)), State.REFUSED, push_refusal=True)
          for by in ("push again with an account of your own", "push it there", "ask an admin of the repository",
                     "ask a maintainer of the team", "push fewer at once")),
        _told(status.refused("fyre/run", access.mended("y" * 300, "push it there")), State.REFUSED, push_refusal=True),
        _told(status.refused("fyre/run", asked), State.REFUSED),
        _told(status.refused("fyre/run", access.mended("3 runs are on", "/fyre rerun later")), State.REFUSED),
        _told(status.refused("fyre/run", "made 40 days ago · /fyre rerun"), State.REFUSED),
        _told(status.refused("fyre/run", "z" * 300), State.REFUSED),
        _told(status.malformed("fyre/run", "line 3: Fyre-Retries: 'x' is no number"), State.ERROR),
        _told(status.malformed("fyre/run", "w" * 300), State.ERROR),
        _told(status.moved(SHA), State.MOVED),
        _told(status.Status("fyre/moved", "success", "run here by ada"), State.SUCCEEDED),
        _told(status.Status("fyre/run", "error", "lost: no engine knows it any more · /fyre rerun"), State.ERROR),
    ]  # fmt: skip


def _told(
    said: status.Status,
    state: State,
    *,
    attempt: int = 1,
    timed_out: bool = False,
    push_refusal: bool = False,
) -> dict[str, Any]:
    return {
        "github_state": said.state,
        "description": said.description,
        "state": str(state),
        "attempt": attempt,
        "timed_out": timed_out,
        "push_refusal": push_refusal,
    }


def local_folders(where: Path) -> None:
    """Write a run's folder at each stage: waiting, running, cancelled, ended, lost, reported."""
    parent = where / "draft"
    made = job(
        FULL,
        Path("/srv/fyre/lab.git"),
        Path("/srv/fyre/work") / FULL.key,
        grace=10.0,
        log_cap=2**26,
        keep=False,
    )
    made["git_dir"] = "/srv/fyre/lab.git"
    folder = Folder.create(parent, FULL, made)
    if folder is None:
        raise RuntimeError(f"{parent} is in the way")
    _stage(where, folder, "waiting")
    folder._write("progress.json", {"state": "running", "tries": 1, "started_at": 1767323050.5})
    (folder.path / "started").touch()
    folder.annotate(reported=json.dumps({SHA: "pending"}))
    _stage(where, folder, "running")
    folder.annotate(carried=(OTHER,))
    folder.conclude(
        1767323100.0, State.ERROR, "lost: its supervisor died; the command may have run"
    )
    _stage(where, folder, "lost")
    folder.cancel("bob")
    folder.conclude(1767323101.0, State.CANCELLED)
    folder.annotate(
        reported=json.dumps({SHA: "cancelled", OTHER: "cancelled", "check run": "cancelled"})
    )
    _stage(where, folder, "reported")
    shutil.rmtree(parent)


def _stage(where: Path, folder: Folder, name: str) -> None:
    shutil.copytree(folder.path, where / name / folder.path.name)


def ended_folder(where: Path) -> None:
    """Write what a real run leaves behind, but for its log, its lock, and what names this machine."""
    with tempfile.TemporaryDirectory() as scratch:
        repository = Path(scratch) / "lab"
        for words in (["init", "-q", str(repository)], ["-C", str(repository), "-c", "user.name=ada", "-c",
                      "user.email=ada@example.org", "commit", "-q", "--allow-empty", "-m", "First"]):  # fmt: skip
            subprocess.run(["git", *words], check=True)
        sha = subprocess.check_output(
            ["git", "-C", str(repository), "rev-parse", "HEAD"], text=True
        ).strip()
        engine = LocalEngine(Path(scratch) / "state", git_dir=lambda _: repository / ".git", jobs=1)
        launched = replace(PLAIN, sha=sha, spec=Spec("exit 3", retries=1), created_at=time.time())
        engine.launch(launched)
        while not (found := engine.record(launched.key)) or not found.state.final:
            time.sleep(0.05)
        engine.annotate(launched.key, reported=json.dumps({sha: "failed"}))
        engine.close()
        for name in (
            "run.json",
            "job.json",
            "progress.json",
            "outcome.json",
            "notes.json",
            "started",
        ):
            text = (Path(scratch) / "state" / "runs" / launched.key / name).read_text()
            (where / "ended" / launched.key).mkdir(parents=True, exist_ok=True)
            (where / "ended" / launched.key / name).write_text(text.replace(scratch, "/srv/fyre"))


def jobs() -> dict[str, dict[str, Any]]:
    """Return a Job at each stage: waiting, running, cancelled, given up, ended, reported."""
    place = manifests.Place(
        "fyre-0a1b2c3d", "lab", "alpine/git:2.45", "https://fyre.example.org/git/123456789", "KEY"
    )
    waiting = manifests.job(FULL, Profile(), place)
    waiting["metadata"] |= {"uid": "0b6ef6a0-7c8c-4e58-8f4a-1d5a1fa58a5b", "resourceVersion": "7",
                            "creationTimestamp": "2026-01-02T03:04:05Z"}  # fmt: skip
    waiting["status"] = {}
    bare = json.loads(json.dumps(waiting))
    bare["metadata"] |= {
        "name": names.job("fyre-0a1b2c3d", PLAIN.key),
        "labels": manifests.labels(PLAIN, "fyre-0a1b2c3d"),
    }
    bare["metadata"]["annotations"] = {names.RUN: manifests._annotation(PLAIN)}
    running = _noted(
        waiting, {names.REPORTED: json.dumps({SHA: "pending"}), names.CARRIED: json.dumps((OTHER,))}
    )
    ended = Record(FULL, State.FAILED, 2, 1767323050.0, 1767323100.0, 137, None, "exit 137 (SIGKILL)",
                   image_id=f"docker.io/ada/lab@{DIGEST}")  # fmt: skip
    outcome = _noted(running, {names.OUTCOME: observe.outcome(ended)})
    posted = json.dumps({SHA: "failed", OTHER: "failed", "check run": "failed"})
    return {
        "plain": bare,
        "waiting": waiting,
        "running": running,
        "cancelled": _noted(running, {names.CANCELLED_BY: "bob"}),
        "given_up": _noted(running, {names.GIVEN_UP: "timed out after 2h 00m"}),
        "ended": outcome,
        "reported": _noted(outcome, {names.REPORTED: posted, names.SETTLED: "true"}),
    }


def _noted(thing: dict[str, Any], notes: dict[str, str]) -> dict[str, Any]:
    copy: dict[str, Any] = json.loads(json.dumps(thing))
    copy["metadata"]["annotations"] |= notes
    return copy


def main(where: Path) -> None:
    """Write all of them."""
    (where / "jobs").mkdir(parents=True, exist_ok=True)
    for name, made in (("specs", specs()), ("keys", keys()), ("statuses", statuses())):
        (where / f"{name}.json").write_text(json.dumps(made, indent=1) + "\n")
    for name, thing in jobs().items():
        (where / "jobs" / f"{name}.json").write_text(json.dumps(thing, indent=1) + "\n")
    shutil.rmtree(where / "local", ignore_errors=True)
    local_folders(where / "local")
    ended_folder(where / "local")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

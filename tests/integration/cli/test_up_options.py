"""The options of ``fyre up`` and other verbs that an engine honours, and those that it refuses."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from fyre.apps import up as up_app
from fyre.cli import main
from tests.conftest import git
from tests.support.person import NAME, Person
from tests.support.waiting import until

POLICY = """\
repositories: [ada/*]
refs: [main]
timeoutMax: 1h
profiles: {default: {image: "python:3.12"}}
"""


@contextmanager
def running_up(monkeypatch: pytest.MonkeyPatch, *options: str) -> Iterator[up_app.FyreUp]:
    """Run ``fyre up`` in a thread of the test, from its command line on."""
    made: list[up_app.FyreUp] = []

    class Recorded(up_app.FyreUp):
        def serve(self) -> None:
            made.append(self)
            super().serve()

    monkeypatch.setattr(up_app, "FyreUp", Recorded)
    thread = threading.Thread(target=main.main, args=(["up", "--port", "0", *options],))
    thread.start()
    try:
        until(lambda: made or not thread.is_alive())
        yield made[0]
    finally:
        for one in made:
            one.stop()
        thread.join()


def test_the_local_engine_keeps_to_the_policy(
    tmp_path: Path, repo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "policy.yaml").write_text(POLICY)
    options = ("--root", str(tmp_path / "state"), "--policy", str(tmp_path / "policy.yaml"))
    with running_up(monkeypatch, *options) as server:
        git("remote", "add", "origin", f"{server.url}/{NAME}.git", cwd=repo)
        person = Person(server, repo)
        allowed = person.commit("Fyre-Run: true", "Fyre-Image: ruby", "Fyre-Timeout: 1h")
        too_long = person.commit("Fyre-Run: true", "Fyre-Timeout: 2h")
        person.push()
        person.git("switch", "-q", "-c", "other")
        elsewhere = person.commit("Fyre-Run: true")
        person.push("other")
        said = [person.final(sha)["description"] for sha in (allowed, too_long, elsewhere)]
        assert said[0].startswith("exit 0")
        assert "asks for a timeout of 2h, at most 1h" in said[1]
        assert "other may not launch" in said[2]
        assert person.ran() == [(allowed, "true")]


def test_9_7_state_is_its_user_s_alone_and_commands_keep_their_umask(
    tmp_path: Path, repo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "state"
    usual = os.umask(0)
    try:
        with running_up(monkeypatch, "--root", str(root)) as server:
            git("commit", "-q", "--allow-empty", "-m", "Run\n\nFyre-Run: umask", cwd=repo)
            git("push", "-q", f"{server.url}/{NAME}.git", "main", cwd=repo)
            runs = f"{server.url}/runs.json?state=succeeded"
            (run,) = until(lambda: requests.get(runs).json())
            assert requests.get(f"{run['log_url']}/log").text == "0000\n"
        assert os.umask(0) == 0
    finally:
        os.umask(usual)
    paths = [one for one in root.rglob("*") if root / "engine" / "work" not in one.parents]
    assert {path for path in paths if path.stat().st_mode & 0o77} == set()
    names = {"access-token", "forge.db", "job.json", "outcome.json", "fyre.json"}
    assert names <= {path.name for path in paths}


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["--policy", "none.yaml"], 1, "the policy can't be read: none.yaml"),
        (["--policy", "broken.yaml"], 1, "broken.yaml line 1: 'refz: []': refz: unknown key"),
        (["--namespace", "lab"], 2, "--namespace has no effect with engine local"),
        (["--image", "x"], 2, "--image has no effect with engine local"),
        (["--checkout-image", "x"], 2, "--checkout-image has no effect with engine local"),
        (["--relay", "1.2.3.4:1"], 2, "--relay has no effect with engine local"),
        (["--kubeconfig", "x"], 2, "--kubeconfig has no effect with engine local"),
        (["--context", "x"], 2, "--context has no effect with engine local"),
        (["--engine", "kubernetes", "--jobs", "2"], 2, "--jobs has no effect with engine kube"),
        (["--engine", "kubernetes", "--keep-checkouts"], 2, "--keep-checkouts has no effect with"),
        (["--engine", "kubernetes", "--namespace", "A_b"], 2, "'A_b' is not a namespace"),
    ],
)
def test_6_what_has_no_effect_or_is_wrong_is_refused(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    *,
    words: list[str],
    code: int,
    says: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken.yaml").write_text("refz: []\n")
    assert main.main(["up", "--port", "0", "--root", "state", *words]) == code
    err = capfd.readouterr().err
    assert says in err
    assert [row.partition(":")[0] for row in err.splitlines()] == ["error", "hint"]
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["doctor", "--policy", "p.yaml"], "--policy goes with --cluster"),
        (["doctor", "--namespace", "lab"], "--namespace goes with --cluster"),
        (["doctor", "--relay"], "--relay goes with --cluster"),
        (["doctor", "--cluster", "--namespace", "A_b"], "'A_b' is not a namespace"),
        (["manifests", "--context", "x"], "--context goes with --delete"),
    ],
)
def test_an_option_without_the_one_that_it_belongs_to_is_refused(
    capfd: pytest.CaptureFixture[str], words: list[str], says: str
) -> None:
    assert main.main(words) == 2
    assert says in capfd.readouterr().err


@pytest.mark.parametrize("host", ["192.0.2.1", "nobody.invalid"])
def test_an_address_of_another_machine_is_named_as_what_is_wrong(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], host: str
) -> None:
    assert main.main(["up", "--root", str(tmp_path), "--port", "0", "--host", host]) == 1
    err = capfd.readouterr().err.splitlines()
    assert err[0] == f"error: {host} is no address of this machine"
    assert err[1].startswith("hint: --host 127.0.0.1 ")

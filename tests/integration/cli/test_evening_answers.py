"""What somebody reads who ranks runs for the first time, and mistypes what they look for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import requests

from fyre.cli import main
from tests.support.person import Person, person

__all__ = ["person"]

TRAIN = """\
printf '{"loss": 0.9}\\n{"loss": 0.4}\\n' >> "$FYRE_METRICS"; echo model > "$FYRE_OUTPUTS/model.pt"
echo "the tracker https://tracker.example/1?a=b&c" >> "$FYRE_LINK" """


def answer(capfd: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    """Return exit code, stdout and stderr of one verb."""
    capfd.readouterr()
    code = main.main(words)
    return code, *capfd.readouterr()


@pytest.fixture
def sha(person: Person, monkeypatch: pytest.MonkeyPatch) -> str:
    """A run that has ended, in a repository that declares no metric."""
    monkeypatch.chdir(person.repo)
    sha = person.run("sh train.sh", files={"train.sh": TRAIN})
    assert person.final(sha)["state"] == "success"
    return sha


def test_10_nothing_is_best_before_its_goal_is_known(
    sha: str, person: Person, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    code, out, err = answer(capfd, "log", "--sort", "loss")
    assert (code, "0.9" in out) == (0, True)
    assert "the largest loss is first" in err
    assert "metrics: {loss: min}" in err
    code, out, err = answer(capfd, "cat", "best:loss", "model.pt")
    assert (code, out) == (2, "")
    assert "error: .fyre.yaml does not say which loss is best" in err
    assert "metrics: {loss: min}" in err
    (person.repo / ".fyre.yaml").write_text("metrics: {loss: min}\n")
    assert answer(capfd, "cat", "best:loss", "model.pt")[:2] == (0, "model\n")
    assert "largest" not in answer(capfd, "log", "--sort", "loss")[2]

    # a folder that can't be one
    for folder in ("train.sh", "train.sh/x", "/proc/x"):
        code, _, err = answer(capfd, "pull", sha, "-o", folder)
        assert code == 1
        assert "hint: -o names the folder" in err, err

    # a file where a run is expected
    assert answer(capfd, "cat", "model.pt")[:2] == (0, "model\n")
    code, _, err = answer(capfd, "cat", sha)
    assert (code, "missing argument 'path'" in err) == (2, True)
    code, _, err = answer(capfd, "pull", "model.pt")
    assert (code, "fyre pull last model.pt" in err) == (1, True)
    code, _, err = answer(capfd, "outputs", "model.pt")
    assert (code, "lists the files of what was started last" in err) == (1, True)

    assert "best is the largest value of loss" in answer(capfd, "show", sha)[2]

    # what the command linked to
    (row,) = json.loads(answer(capfd, "show", sha, "--json")[1])
    assert row["links"] == [{"title": "the tracker", "url": "https://tracker.example/1?a=b&c"}]
    assert "the tracker https://tracker.example/1?a=b&c" in answer(capfd, "show", sha)[1]
    page = requests.get(person.final(sha)["target_url"], timeout=5).text
    assert '<a href="https://tracker.example/1?a=b&amp;c"' in page

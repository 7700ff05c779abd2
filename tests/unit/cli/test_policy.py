"""``fyre policy explain``: what is launched and where, or why not, without forge and cluster."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fyre.cli import main

POLICY = """\
repositories: [acme/*]
refs: [main, fyre/*]
permission: write
teams: [Acme/ML]
runsPerPush: 2
timeoutMax: 2h
caps: {cpu: 8}
namespace: runs
namespaces: {acme/secret: closed}
overrides: {acme/secret: {verifiedSignatures: true, teams: []}}
profiles:
  default: {image: "python:3.12", resources: {cpu: 1, memory: 2Gi}, secrets: [wandb]}
  gpu: {namespace: gpus, image: train}
"""
MESSAGE = (
    "Train\n\nFyre-Run: python train.py\nFyre-Resources: cpu=4\nFyre-Run: make\nFyre-Profile: gpu\n"
)
ADA = ("--actor", "ada", "--permission", "write", "--team", "acme/ml")


class Explaining:
    """The command, on a policy and a message."""

    def __init__(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.path, self.capsys = tmp_path, capsys
        (tmp_path / "policy.yaml").write_text(POLICY)

    def __call__(
        self, *words: str, message: str = MESSAGE, repo: str = "acme/lab"
    ) -> tuple[int, str]:
        """The exit code, and what is printed."""
        (self.path / "message").write_text(message)
        policy = ("--policy", str(self.path / "policy.yaml"), "--repo", repo)
        code = main.main(["policy", "explain", *policy, *words, str(self.path / "message")])
        said = self.capsys.readouterr()
        return code, said.out or said.err

    def outcomes(self, *words: str, **more: str) -> list[tuple[str, str]]:
        """Outcome and reason of each run."""
        return [(one["outcome"], one["reason"]) for one in self.json(*words, **more)]

    def json(self, *words: str, **more: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self("--json", *words, **more)[1])
        return found


@pytest.fixture
def explain(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Explaining:
    return Explaining(tmp_path, capsys)


def test_what_is_launched_says_what_it_gets(explain: Explaining) -> None:
    code, out = explain(*ADA)
    assert code == 0
    assert out.splitlines() == [
        "run: python train.py",
        "  launch",
        (
            "  namespace runs · profile default · image python:3.12 · cpu=4 memory=2Gi"
            " · secrets wandb · timeout 2h"
        ),
        "run-2: make",
        "  launch",
        "  namespace gpus · profile gpu · image train · timeout 2h",
    ]
    assert explain.json(*ADA)[0] == {
        "name": "run", "command": "python train.py", "outcome": "launch", "reason": "",
        "namespace": "runs",
        "profile": "default", "image": "python:3.12", "resources": {"cpu": "4", "memory": "2Gi"},
        "secrets": ["wandb"], "timeout": 7200, "retries": 0,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("words", "outcome", "reason"),
    [
        (("--actor", "ada"), "depends", "what is said with --permission"),
        (("--actor", "ada", "--permission", "maintain"), "depends", "what is said with --team"),
        (("--actor", "", "--permission", "admin"), "refused", "the forge named nobody who pushed"),
        (
            ("--actor", "bob", "--permission", "read"),
            "refused",
            "bob has read permission, write is needed · ask an",
        ),
        (
            ("--actor", "ada", "--permission", "write", "--team", "acme/x"),
            "refused",
            "ada is not in Acme/ML · ask a",
        ),
        (
            (*ADA, "--ref", "dev"),
            "refused",
            "branch dev may not launch, but main or fyre/* · push it to one that may",
        ),
        ((*ADA, "--ref", "refs/heads/main"), "launch", ""),
        (
            (*ADA, "--ref", "fyre/ada"),
            "nothing",
            "on a lab branch only commits with a Fyre-From launch",
        ),
    ],
)
def test_who_and_where(
    explain: Explaining, words: tuple[str, ...], outcome: str, reason: str
) -> None:
    assert [(said, why.startswith(reason)) for said, why in explain.outcomes(*words)] == [
        (outcome, True)
    ] * 2
    assert explain(*words)[0] == (0 if outcome == "launch" else 1)


def test_sections_place_a_run_and_those_of_other_engines_are_named(
    explain: Explaining, caplog: pytest.LogCaptureFixture
) -> None:
    flat = explain(*ADA)
    sections = "{kubernetes: {namespace: gpus}, slurm: {partition: gpu}, image: train}"
    text = POLICY.replace("{namespace: gpus, image: train}", sections)
    assert text != POLICY
    path = explain.path / "policy.yaml"
    path.write_text(text)
    assert explain(*ADA) == flat
    assert caplog.messages == [
        f"{path}: profiles.gpu.slurm is not read: no engine slurm is installed"
    ]


def test_other_repositories(explain: Explaining) -> None:
    (silent, _) = explain.outcomes(*ADA, repo="mallory/lab")
    assert silent == (
        "nothing",
        "mallory/lab is not among the policy's repositories: Fyre is silent there",
    )
    secret = ("--actor", "ada", "--permission", "write")
    assert explain.outcomes(*secret, repo="acme/secret")[0] == (
        "depends",
        "what is said with --verified or --unverified",
    )
    assert explain.outcomes(*secret, "--unverified", repo="acme/secret")[0][0] == "refused"
    (default, gpu) = explain.json(*secret, "--verified", repo="acme/secret")
    assert (default["namespace"], gpu["namespace"]) == ("closed", "gpus")


def test_a_refused_run_does_not_hide_the_others(explain: Explaining) -> None:
    message = MESSAGE.replace("cpu=4", "cpu=16")
    assert explain.outcomes(*ADA, message=message) == [
        ("refused", "asks for cpu=16, at most 8 · amend, or ask Fyre's admin"),
        ("launch", ""),
    ]
    three = explain.outcomes(*ADA, message=MESSAGE + "Fyre-Run: third\n")
    assert {why for _, why in three} == {
        "this push asks for 3 runs, at most 2 are taken at once · push fewer at once",
    }


def test_what_can_not_be_understood(explain: Explaining, tmp_path: Path) -> None:
    ((outcome, reason),) = explain.outcomes(
        *ADA, message="T\n\nFyre-Run: make\nFyre-Timeout: soon\n"
    )
    assert (outcome, reason.startswith("line 4: Fyre-Timeout: 'soon' is not a duration")) == (
        "malformed",
        True,
    )
    (tmp_path / "fyre.yaml").write_text("image: [a]\n")
    config = ("--config", str(tmp_path / "fyre.yaml"))
    assert {outcome for outcome, _ in explain.outcomes(*ADA, *config)} == {"malformed"}
    (tmp_path / "fyre.yaml").write_text("timeout: 3h\n")
    assert explain.outcomes(*ADA, *config)[0][1].startswith("asks for a timeout of 3h, at most 2h")


def test_a_message_that_asks_for_nothing(explain: Explaining) -> None:
    assert explain(*ADA, message="Nothing\n") == (0, "the message asks for no run\n")


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["show"], 2, "there is no `fyre policy show`"),
        (["explain", "--permission", "push"], 2, "'push' is no permission"),
        (["explain", "none.txt"], 1, "the message can't be read: none.txt: No such file"),
        (["explain", "--config", "none.yaml", "/dev/null"], 1, "none.yaml can't be read"),
    ],
)
def test_bad_input_is_one_line_and_a_hint(
    words: list[str], code: int, says: str, explain: Explaining, capsys: pytest.CaptureFixture[str]
) -> None:
    policy = ["--policy", str(explain.path / "policy.yaml"), "--repo", "a/b", "--actor", "ada"]
    assert main.main(["policy", *words, *policy]) == code
    assert says in capsys.readouterr().err

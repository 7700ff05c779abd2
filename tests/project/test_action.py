"""The Action as a runner runs it: the published schemas, zizmor, each step with its own shell."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from fyre.apps.actions_job import ACTIONS_BOT
from tests.integration.apps.test_actions_job import Runner, pushed, runner

__all__ = ["runner"]  # a fixture

IN_CI = "FYRE_NODE_MODULES" in os.environ
ACTION = Path(__file__).parents[2] / "action"


def definition() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ACTION / "action.yml").read_text())
    return found


def tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed; .ci/run does that")
    return found


@pytest.mark.ci
@pytest.mark.parametrize(
    ("file", "schema"),
    [
        ("action.yml", "vendor.github-actions"),
        ("example.yml", "vendor.github-workflows"),
        ("reconcile.yml", "vendor.github-workflows"),
    ],
)
def test_github_would_take_it(file: str, schema: str) -> None:
    command = [tool("check-jsonschema"), "--builtin-schema", schema, ACTION / file]
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.ci
def test_zizmor_finds_nothing(tmp_path: Path) -> None:
    place = tmp_path / ".github" / "workflows"
    place.mkdir(parents=True)
    for name in ("example.yml", "reconcile.yml"):
        text = (ACTION / name).read_text()
        (place / name).write_text(re.sub(r"@v(\S+) #.*", rf"@{'0' * 40} # v\1", text))
    (tmp_path / "action").mkdir()
    shutil.copy(ACTION / "action.yml", tmp_path / "action")
    command = [tool("zizmor"), "--offline", "--no-progress", "--persona", "auditor", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_no_expression_is_part_of_a_script() -> None:
    scripts = {step["name"]: step["run"] for step in definition()["runs"]["steps"]}
    assert scripts
    assert [name for name, script in scripts.items() if "${{" in script] == []


def steps(inputs: dict[str, str], token: str) -> list[tuple[dict[str, Any], dict[str, str]]]:
    """Each step with its variables, the expressions that the Action uses put in."""
    found = definition()
    values = {f"inputs.{name}": str(given["default"]) for name, given in found["inputs"].items()}
    values |= {"github.token": token} | {f"inputs.{name}": value for name, value in inputs.items()}

    def put_in(text: str) -> str:
        while "${{" in text:
            text = re.sub(r"\$\{\{ (\S+) \}\}", lambda expression: values[expression[1]], text)
        return text

    return [
        (step, {name: put_in(value) for name, value in step.get("env", {}).items()})
        for step in found["runs"]["steps"]
    ]


SHELL = ["bash", "--noprofile", "--norc", "-eo", "pipefail"]


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({}, "--engine local"),
        ({"jobs": "2"}, "--engine local --jobs 2"),
        (
            {"engine": "kubernetes", "policy": "a b; exit", "wait": "false"},
            "--engine kubernetes --policy a b; exit --no-wait",
        ),
        (
            {"wait": "false", "reconcile": "true", "log-store": "s3://b/l"},
            "--engine local --log-store s3://b/l --reconcile",
        ),
        ({"wait": "no"}, "exit 2"),
        ({"key": "a  key"}, "--engine local"),
    ],
)
def test_inputs_become_the_words_of_one_command(
    tmp_path: Path, inputs: dict[str, str], words: str
) -> None:
    stub = tmp_path / "fyre-venv" / "bin" / "fyre"
    stub.parent.mkdir(parents=True)
    stub.write_text('#!/bin/sh\nprintf "%s\\n" "$*"; env | grep ^FYRE_\n')
    stub.chmod(0o755)
    step, env = steps(inputs, "a-token")[-1]
    base = {"PATH": os.environ["PATH"], "RUNNER_TEMP": str(tmp_path)}
    done = subprocess.run(
        [*SHELL, "-c", step["run"]], env=base | env, capture_output=True, text=True, check=False
    )
    said = done.stdout.splitlines() if done.returncode != 2 else ["exit 2"]
    variables = {f"FYRE_LOGIN={ACTIONS_BOT}"}
    variables |= {f"FYRE_KEY={inputs['key']}"} if "key" in inputs else set()
    assert said[:1] == (["exit 2"] if words == "exit 2" else [f"dispatch {words}"])
    assert {*said[1:]} == (set() if words == "exit 2" else variables)


@pytest.mark.parametrize(
    ("store", "more"),
    [
        ("", ""),
        ("/a folder", ""),
        ("s3://b/l", " s3fs"),
        ("gs://b", " gcsfs"),
        ("az://b", " adlfs"),
    ],
)
def test_what_a_log_store_takes_is_installed(tmp_path: Path, store: str, more: str) -> None:
    for name, says in (("python3", ""), ("fyre-venv/bin/python", 'printf "%s\\n" "$*"')):
        stub = tmp_path / name
        stub.parent.mkdir(parents=True, exist_ok=True)
        stub.write_text(f"#!/bin/sh\n{says}\n")
        stub.chmod(0o755)
    step, env = steps({"log-store": store}, "a-token")[0]
    base = {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "RUNNER_TEMP": str(tmp_path),
        "GITHUB_ACTION_PATH": "/a",
    }
    done = subprocess.run(
        [*SHELL, "-c", step["run"]], env=base | env, capture_output=True, text=True, check=True
    )
    assert done.stdout == f"-m pip install --quiet --disable-pip-version-check /a/..{more}\n"


@pytest.mark.ci
@pytest.mark.skipif(not IN_CI, reason="installs Fyre from the network; .ci/run does that")
def test_each_step_as_the_runner_runs_it(runner: Runner) -> None:
    sha, before = pushed(runner, "Fyre-Run: echo \"$(id -un)\" '${{ github.token }}'; exit 0")
    base = runner.env(runner.event(sha, before), GITHUB_ACTION_PATH=str(ACTION))
    base |= {"PATH": os.environ["PATH"]}
    for step, env in steps({"jobs": "1", "login": "runner"}, "user:runner"):
        script = runner.folder / "step.sh"
        script.write_text(step["run"])
        done = subprocess.run(
            [*SHELL, str(script)],
            env=base | env, capture_output=True, text=True, cwd=runner.folder, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
    assert "${{ github.token }}" in done.stdout
    assert runner.outputs()["outcome"] == "success"
    assert [one["state"] for one in runner.person.statuses(sha)] == ["pending", "success"]


def test_the_bot_is_the_workflows_own() -> None:
    assert definition()["inputs"]["login"]["default"] == ACTIONS_BOT

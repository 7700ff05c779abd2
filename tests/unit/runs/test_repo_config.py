"""``.fyre.yaml``: defaults, precedence, and errors that name the line."""

import json
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fyre.message.spec import RunSpec
from fyre.runs import repo_config


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("timeout: 2 hrs\n", 1, "'2 hrs' is not a duration"),
        ("image: a\ntimeout: 90\n", 2, "'90' has no unit"),
        ("image: a\nimagee: b\n", 2, "unknown key 'imagee'"),
        ("a: b: c\n", 1, "not YAML"),
        ("image: [1]\n", 1, "[1] is not of type 'string'"),
        ("- a\n", 1, "is not of type 'object'"),
        ("image: a\n\nimage: b\n", 3, "'image' is given twice"),
        ("env:\n  A: 1\n  FYRE_X: 2\n", 3, "FYRE_X is Fyre's own"),
        ("resources:\n  cpu: 4\n  mem: 8Gi\n", 3, "'mem' is not a resource"),
        ("setup:\n- uv sync\n- ''\n", 3, ""),
        ("names:\n  train:\n    setup: [x]\n", 3, "unknown key 'setup'"),
        ("names:\n  a b: {}\n", 2, "'a b' is not a name"),
        ("a: &x 1\nb: *x\n", 1, "YAML aliases are not allowed"),
        ("workdir: ../..\n", 1, "not a directory inside"),
        ("retries: 99\n", 1, "99 is greater"),
        ("image: 'x\n", 2, "not YAML"),
        ("\0", 1, "not YAML"),
        ("#" * 70_000, 1, "larger than 64 KiB"),
    ],
)
def test_a_bad_file_names_its_line(text: str, line: int, message: str) -> None:
    with pytest.raises(repo_config.RepoConfigError) as caught:
        repo_config.parse_repo_config(text)
    assert (caught.value.line, message in caught.value.message) == (line, True), caught.value


def test_values_are_taken_as_they_are_written() -> None:
    defaults = repo_config.parse_repo_config(
        "env: {VERSION: 1.10, ANSWER: yes, ZERO: 007, NOTHING: }\nresources: {cpu: 0.5}\n"
    )
    assert defaults.all_runs.env == (
        ("VERSION", "1.10"),
        ("ANSWER", "yes"),
        ("ZERO", "007"),
        ("NOTHING", ""),
    )
    assert defaults.all_runs.resources == (("cpu", "0.5"),)


def test_the_trailer_wins_then_the_name_then_the_file() -> None:
    defaults = repo_config.parse_repo_config(
        "timeout: 1h\nretries: 1\nimage: base\nenv: {A: file, B: file, C: file}\n"
        "secrets: [s]\nsetup: [uv sync]\n"
        "names:\n  train: {timeout: 2h, image: named, env: {A: name, B: name}, "
        "resources: cpu=4 memory=1Gi}\n"
    )
    asked = RunSpec(
        "make", timeout=60, env=(("A", "trailer"),), resources=(("cpu", "8"),), secrets=("t",)
    )
    train = repo_config.apply_repo_defaults(asked, "Train", defaults)
    assert (train.timeout, train.retries, train.image) == (60, 1, "named")
    assert dict(train.env) == {"A": "trailer", "B": "name", "C": "file"}
    assert dict(train.resources) == {"cpu": "8", "memory": "1Gi"}
    assert (train.secrets, train.setup) == (("t", "s"), ("uv sync",))
    assert repo_config.apply_repo_defaults(RunSpec("make"), "run", defaults).image == "base"


def test_the_published_schema_is_one_and_takes_our_own_file() -> None:
    jsonschema.Draft202012Validator.check_schema(repo_config.repo_config_schema())
    own = Path(__file__).parents[3] / ".fyre.yaml"
    repo_config.parse_repo_config(own.read_text())
    json.dumps(repo_config.repo_config_schema())


@given(st.text(alphabet=st.sampled_from("ab:-[]{}#'\"\n \t&*!|>%@`,?0."), max_size=60))
def test_no_text_makes_the_reader_fail_in_another_way(text: str) -> None:
    try:
        assert isinstance(repo_config.parse_repo_config(text), repo_config.RunDefaults)
    except repo_config.RepoConfigError as error:
        assert error.line >= 1

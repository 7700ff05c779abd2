"""``.fyre.yaml``: defaults, precedence, and errors that name the line."""

import json
import math
from pathlib import Path

import jsonschema
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from fyre.message import spec_form, value_parsers
from fyre.message.spec import RunSpec
from fyre.runs import repo_config, yaml_document


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("timeout: 2 hrs\n", 1, "'2 hrs' is not a duration"),
        ("image: a\ntimeout: 90\n", 2, "'90' has no unit"),
        ("image: a\nimagee: b\n", 2, "unknown key 'imagee'"),
        ("a: b: c\n", 1, "not YAML"),
        ("image: [1]\n", 1, "image must be text, not [1]"),
        ("setup: echo hi\n", 1, "setup must be a list, not 'echo hi'"),  # new_user_29
        ("setup: ['']\n", 1, "setup[0] must not be empty"),
        ("names: {a: {env: 1}}\n", 1, "names.a.env must be a mapping of keys to values, not 1"),
        ("resources: [cpu]\n", 1, "resources must be text or a mapping of keys to values, not ["),
        ("timeout: 1.5\n", 1, "timeout must be text or a whole number, not 1.5"),
        ("- a\n", 1, "must be a mapping of keys to values"),
        ("image: a\n\nimage: b\n", 3, "'image' is given twice"),
        ("env:\n  A: 1\n  FYRE_X: 2\n", 3, "FYRE_X is Fyre's own"),
        ("resources:\n  cpu: 4\n  mem: 8Gi\n", 3, "'mem' is not a resource"),
        ("setup:\n- uv sync\n- ''\n", 3, ""),
        ("names:\n  train:\n    setup: [x]\n", 3, "unknown key 'setup'"),
        ("names:\n  a b: {}\n", 2, "'a b' is not a name"),
        ("a: &x 1\nb: *x\n", 1, "YAML aliases are not allowed"),
        ("workdir: ../..\n", 1, "not a directory inside"),
        ("retries: 99\n", 1, "retries must be at most 20, not 99"),
        ("image: 'x\n", 2, "not YAML"),
        ("\0", 1, "not YAML"),
        ("#" * 70_000, 1, "larger than 64 KiB"),
    ],
)
def test_a_bad_file_names_its_line(text: str, line: int, message: str) -> None:
    with pytest.raises(repo_config.RepoConfigError) as caught:
        repo_config.parse_repo_config(text)
    assert (caught.value.line, message in caught.value.message) == (line, True), caught.value


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("setup: pip install\n", "write setup: [pip install]"),
        ("outputs: 'a: b'\n", "write outputs: ['a: b']"),
        ("names: {a: {secrets: token}}\n", "write secrets: [token]"),
        ("retries: -1\n", "write a whole number from 0 to 20"),
        ("retries: many\n", "write a whole number from 0 to 20"),
        ("env: [A, B]\n", "write env: {EPOCHS: 10}"),
        ("resources: [cpu]\n", "write resources: {cpu: 4, memory: 16Gi}"),
        ("names: train\n", "write names: {train: {timeout: 2h}}"),
        ("- timeout: 2h\n", "write lines like timeout: 2h"),
        ("setup: ['']\n", "A shell command, like pip install -e ."),
        ("setup: [echo: hi]\n", "one with a colon stands in quotes"),
        ("timeout: 0\n", "write it like 90s, 30m, 2h, 1h30m or 2d"),
    ],
)
def test_9_36_a_hint_says_what_to_write(text: str, hint: str) -> None:
    with pytest.raises(repo_config.RepoConfigError) as caught:
        repo_config.parse_repo_config(text)
    assert hint in caught.value.hint


def test_values_are_taken_as_they_are_written() -> None:
    defaults = repo_config.parse_repo_config(
        "env: {VERSION: 1.10, ANSWER: yes, ZERO: 007, NIL: null, NOTHING: }\n"
        "resources: {cpu: 0.5}\n"
    )
    assert defaults.all_runs.env == (
        ("VERSION", "1.10"),
        ("ANSWER", "yes"),
        ("ZERO", "007"),
        ("NIL", "null"),
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


@pytest.mark.parametrize(
    "text",
    [
        f"retries: 0x{'f' * 60_000}\n",
        f"retries: {'9' * 4301}\n",
        f"timeout: 0b{'1' * 60_000}\n",
        f"timeout: !!int 0o{'7' * 5_000}\n",
        f"names: {{{'f' * 1_000}: 1}}\n",
        f"{'a' * 1_000}: 1\n",
        "retries: 1.0e999\n",
        "timeout: .inf\n",
        f"setup: {'[' * 60}\n",
        f"x: !!{'p' * 1_000} 1\n",
    ],
    ids=lambda text: text[:20],
)
def test_9_16_what_is_enormous_is_one_short_line(text: str) -> None:
    with pytest.raises(repo_config.RepoConfigError) as caught:
        repo_config.parse_repo_config(text)
    shown = str(caught.value)
    assert len(shown) < 250
    assert "\n" not in shown


@given(st.text(alphabet=st.sampled_from("ab:-[]{}#'\"\n \t&*!|>%@`,?0."), max_size=60))
def test_no_text_makes_the_reader_fail_in_another_way(text: str) -> None:
    try:
        assert isinstance(repo_config.parse_repo_config(text), repo_config.RunDefaults)
    except repo_config.RepoConfigError as error:
        assert error.line >= 1


@pytest.mark.parametrize(
    ("text", "said", "hint"),
    [
        (
            "env: {A B: 1}",
            "'env: {A B: 1}': 'A B' is no variable's name",
            "write it like EPOCHS: 10",
        ),
        ("env: {'': 1}", "'' is no variable's name", "write it like EPOCHS: 10"),
        ("names: {a: {env: {1: 2}}}", "'1' is no variable's name", "write it like EPOCHS: 10"),
        (
            "setup:\n- ' '",
            """line 2: "- ' '": setup[0]: the command is empty""",
            "write what is to run, like setup: [pip install -e .]",
        ),
        ('setup:\n- "a\\0"', "setup[0] holds a NUL", "leave it out: no process can be given one"),
        (
            "secrets:\n- a\n- b c",
            "line 3: '- b c': secrets[1]: 'b c' is not a secret's name",
            "name",
        ),
        ("resources: {gpu: 1}", "'gpu' is not a resource", "write nvidia.com/gpu: 1"),
        ("resources: {cpu: lots}", "cpu: 'lots' is not a quantity", "write it like 4, 500m"),
        ("resources: {a b: 1}", "'a b' is not a resource", "write cpu: 4, memory: 16Gi, "),
        ("resources: gpu=1", "'gpu' is not a resource", "write nvidia.com/gpu=1"),
        ("metrics: {a: best}", "metrics.a must be one of max, min, not 'best'", "max or min: "),
        ("names: {a: 3}", "names.a must be a mapping", "write a: {timeout: 2h}"),
    ],
)
def test_9_40_a_bad_value_is_said_in_the_words_of_the_file(text: str, said: str, hint: str) -> None:
    with pytest.raises(repo_config.RepoConfigError) as caught:
        repo_config.parse_repo_config(text)
    assert said in str(caught.value)
    assert caught.value.hint.startswith(hint)
    assert "Fyre-" not in str(caught.value) + caught.value.hint


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("retries: !!int ''\n", 1, "'' is no int"),
        ("image: a\nresources: {cpu: !!float ''}\n", 2, "'' is no float"),
        ("env: {A: !!bool bad}\n", 1, "'bad' is no bool"),
        ("retries: !!null x\n", 1, "'x' is no null"),
        ("env:\n  A=B: c\n", 2, "'A=B' is no variable's name"),
        ("env:\n  =: c\n", 2, "'=' is no variable's name"),
        ("names:\n  a:\n    env: {A=B: c}\n", 3, "'A=B' is no variable's name"),
        ("env: {A: !!binary eA==}\n", 1, "must be "),
        ("env: {A: !!binary é}\n", 1, "is no base64"),
        ("env: {A: !other x}\n", 1, "is not known"),
        ("retries: " + "9" * 5000 + "\n", 1, "too long a number"),
        ("retries: 0x" + "f" * 4000 + "\n", 1, "too long a number"),
        ("retries: 1:30\n", 1, "must be a whole number, not '1:30'"),
        ("retries: yes\n", 1, "must be a whole number"),
        ("retries: .nan\n", 1, "must be a whole number"),
    ],
)
def test_9_b16_a_scalar_that_is_not_what_it_says(text: str, line: int, message: str) -> None:
    with pytest.raises(repo_config.RepoConfigError) as caught:
        repo_config.parse_repo_config(text)
    assert (caught.value.line, message in caught.value.message) == (line, True), caught.value


def test_9_b16_plain_words_and_odd_numbers_are_text_where_text_is_meant() -> None:
    defaults = repo_config.parse_repo_config(
        "profile: on\nworkdir: no\nimage: 1:30\nsetup: [yes, 'true', 2026-01-01]\nsecrets: [off]\n"
        "env: {A: 1:99.5, B: 190:20:30:40:50:60.5, C: yes, D: =, E: <<, F: !!str 5, G: 0x1F}\n"
    )
    spec = defaults.all_runs
    assert (spec.profile, spec.workdir, spec.image, spec.secrets) == ("on", "no", "1:30", ("off",))
    assert spec.setup == ("yes", "true", "2026-01-01")
    assert [value for _, value in spec.env] == [
        "1:99.5", "190:20:30:40:50:60.5", "yes", "=", "<<", "5", "0x1F",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("yes", True), ("Off", False), ("TRUE", True), ("~", None), ("", None), ("NULL", None),
        ("0644", 420), ("0o17", 15), ("0b11", 3), ("0x_1f", 31), ("-1_000", -1000), ("+7", 7),
        ("1.", 1.0), (".5", 0.5), ("-1.5e+3", -1500.0), ("-.inf", -math.inf), ("1e3", "1e3"),
        ("1:30", "1:30"), ("2026-01-01", "2026-01-01"), ("08", "08"), ("nil", "nil"), ("=", "="),
        ("y", "y"), ("0", 0), ("-0", 0), ("truely", "truely"),
    ],
)  # fmt: skip
def test_9_b16_a_plain_scalar_has_the_type_that_it_had(text: str, value: object) -> None:
    document = yaml_document.read_document(f"a: {text}\n")
    assert document is not None
    read = document.values["a"]
    assert (read, type(read)) == (value, type(value))
    if ":" not in text and text not in ("=", "0o17", "2026-01-01"):
        assert yaml.safe_load(f"a: {text}\n")["a"] == value  # as today's files are read


SCALARS = st.sampled_from(
    [
        "''", "!!int ''", "!!float ''", "!!bool bad", "!!null 1", "!!str 1", "!!binary x", "!x y",
        "!!timestamp x", "1:99.5", "1:2:3:4:5:6:7", "-", "yes", "on", "~", "1_0", "0_", "0x", "0b",
        "0x_", "1e999", ".inf", "-.inf", ".nan", "+.5e-3", "0777", "08", "=", "<<", "9" * 4400,
        "A=B", "2h", "cpu=4", "python:3.12", "[1, yes]", "{a: 1}", "{A=B: c}", "{cpu: .nan}",
        "!!set {a}",
        "!!map {}", '"\\ud800"', '"\\0"', "2026-01-01", "? a", "|\n  x", "&a b",
        "1", "3.0", "-1", "é",
    ]
)  # fmt: skip
KEYS = st.sampled_from(
    [*repo_config.repo_config_schema()["properties"], "A", "A=B", "=", "yes", "1", "''", "~", "cpu"]
)
DOCUMENTS = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(st.tuples(KEYS, inner), max_size=5).map(
            lambda pairs: "{" + ", ".join(f"{key}: {value}" for key, value in pairs) + "}"
        )
        | st.lists(inner, max_size=3).map(lambda items: "[" + ", ".join(items) + "]")
    ),
    max_leaves=12,
)


@given(st.lists(st.tuples(KEYS, DOCUMENTS), max_size=6))
def test_9_b16_whatever_the_schema_and_the_loader_take_can_run(
    pairs: list[tuple[str, str]],
) -> None:
    text = "".join(f"{key}: {value}\n" for key, value in pairs)
    try:
        defaults = repo_config.parse_repo_config(text)
    except repo_config.RepoConfigError as error:
        assert error.line >= 1
        assert str(error)
        return
    spec = repo_config.apply_repo_defaults(RunSpec("true"), "run", defaults)
    for name, value in spec.env:
        assert value_parsers.parse_env_entry(f"{name}={value}") == (name, value)
    assert spec_form.from_json(json.loads(json.dumps(spec_form.to_json(spec)))) == spec

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fyre.message import value_parsers
from tests.support.ci_marks import long_case

GOOD = [
    (value_parsers.parse_duration, "90s", 90),
    (value_parsers.parse_duration, "1h30m", 5400),
    (value_parsers.parse_duration, "2d", 172800),
    (value_parsers.parse_duration, "365d", 365 * 86400),
    (value_parsers.parse_retries, "0", 0),
    (value_parsers.parse_retries, "20", 20),
    (value_parsers.parse_run_name, "train-1.b_c", "train-1.b_c"),
    (value_parsers.parse_run_name, "a" * 63, "a" * 63),
    (value_parsers.parse_profile_name, "gpu", "gpu"),
    (value_parsers.parse_image, "python:3.12", "python:3.12"),
    (value_parsers.parse_image, "host.example.org:5000/team/x@sha256:" + "0" * 64,
     "host.example.org:5000/team/x@sha256:" + "0" * 64),
    (value_parsers.parse_secret_name, "wandb.key", "wandb.key"),
    (value_parsers.parse_workdir, "experiments/resnet", "experiments/resnet"),
    (value_parsers.parse_env_entry, "A=", ("A", "")),
    (value_parsers.parse_env_entry, "A=b=c d", ("A", "b=c d")),
    (value_parsers.parse_resources, "cpu=500m  memory=16Gi nvidia.com/gpu=1",
     (("cpu", "500m"), ("memory", "16Gi"), ("nvidia.com/gpu", "1"))),
    (value_parsers.parse_command, " a && b ", " a && b "),
    (value_parsers.parse_command, "x" * 102_400, "x" * 102_400),
]  # fmt: skip
BAD = [
    (value_parsers.parse_duration, "5", "no unit"),
    (value_parsers.parse_duration, "", "not a duration"),
    (value_parsers.parse_duration, "1m1h", "not a duration"),
    (value_parsers.parse_duration, "0s", "not between"),
    (value_parsers.parse_duration, "366d", "not between"),
    (value_parsers.parse_duration, "٣m", "not a duration"),
    (value_parsers.parse_duration, "9" * 5000 + "s", "not"),
    (value_parsers.parse_retries, "21", "number of retries"),
    (value_parsers.parse_retries, "-1", "number of retries"),
    (value_parsers.parse_retries, "00000000021", "number of retries"),
    (value_parsers.parse_retries, "020", "number of retries"),
    (value_parsers.parse_run_name, "Moved", "Fyre's own"),
    (value_parsers.parse_run_name, "a b", "not a name"),
    (value_parsers.parse_run_name, "-a", "not a name"),
    (value_parsers.parse_run_name, "a" * 64, "not a name"),
    (value_parsers.parse_run_name, "a\n", "not a name"),
    (value_parsers.parse_image, "Python:3", "not an image"),
    (value_parsers.parse_image, "a b", "not an image"),
    (value_parsers.parse_secret_name, "Value!", "not a secret's name"),
    (value_parsers.parse_workdir, "/etc", "not a directory inside"),
    (value_parsers.parse_workdir, "a/../..", "not a directory inside"),
    (value_parsers.parse_workdir, ".git/hooks", "not a directory inside"),
    (value_parsers.parse_env_entry, "A", "not NAME=value"),
    (value_parsers.parse_env_entry, "1=a", "not NAME=value"),
    (value_parsers.parse_env_entry, "FYRE_SHA=a", "Fyre's own"),
    (value_parsers.parse_resources, " ", "no resources"),
    (value_parsers.parse_resources, "gpu=1", "not a resource"),
    (value_parsers.parse_resources, "cpu=1 cpu=2", "twice"),
    (value_parsers.parse_resources, "cpu=0", "not a quantity"),
    (value_parsers.parse_resources, "cpu", "not a quantity"),
    (value_parsers.parse_resources, "memory=4GB", "not a quantity"),
    (value_parsers.parse_resources, "nvidia.com/gpu=0.5", "whole numbers"),
    (value_parsers.parse_command, " ", "empty"),
    (value_parsers.parse_command, "echo a\0b", "holds a NUL"),
    (
        value_parsers.parse_workdir,
        "a\0b",
        "holds a NUL",
    ),  # a comment and a .fyre.yaml may have one, where a commit message ends
    (value_parsers.parse_env_entry, "A=\0", "holds a NUL"),
    (value_parsers.parse_command, "x" * 102_401, "102,401 bytes long, at most 102,400"),
]


@pytest.mark.parametrize(("parse", "text", "value"), GOOD)
def test_what_is_taken(parse: Callable[[str], object], text: str, value: object) -> None:
    assert parse(text) == value


@pytest.mark.parametrize(("parse", "text", "says"), BAD)
def test_what_is_not_and_why(parse: Callable[[str], object], text: str, says: str) -> None:
    with pytest.raises(value_parsers.BadValueError, match=says) as refused:
        parse(text)
    assert refused.value.hint
    assert "\n" not in refused.value.args[0]
    assert len(refused.value.args[0]) < 200


@pytest.mark.parametrize(
    "parse", sorted({parse for parse, *_ in GOOD}, key=lambda parse: parse.__name__)
)
@given(
    text=st.one_of(
        st.text(), st.text("0123456789=:/.@ dhmsGi"), st.from_regex(r"\A[a-z./]+=?\d+[A-Za-z]*\Z")
    )
)
def test_any_text_is_a_value_or_a_reason(parse: Callable[[str], object], text: str) -> None:
    try:
        parse(text)
    except value_parsers.BadValueError as error:
        assert error.hint


@pytest.mark.parametrize(("text", "one"), [("5", "5"), ("9" * 9, "9" * 9), ("9" * 10, "5")])
def test_a_duration_without_a_unit_is_shown_with_one_where_that_makes_sense(
    text: str, one: str
) -> None:
    with pytest.raises(value_parsers.BadValueError) as refused:
        value_parsers.parse_duration(text)
    assert refused.value.hint == f"write {one}s, {one}m or {one}h"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("4", 4),
        ("0.5", Fraction(1, 2)),
        (".5", Fraction(1, 2)),
        ("500m", Fraction(1, 2)),
        ("1k", 1000),
        ("2M", 2 * 10**6),
        ("1G", 10**9),
        ("1T", 10**12),
        ("1P", 10**15),
        ("1E", 10**18),
        ("1Ki", 1024),
        ("1.5Mi", 3 * 2**19),
        ("1Gi", 2**30),
        ("1Ti", 2**40),
        ("1Pi", 2**50),
        ("1Ei", 2**60),
        ("1" * 64, int("1" * 64)),
    ],
)
def test_a_quantity_is_what_kubernetes_takes_it_for(text: str, value: Fraction | int) -> None:
    assert value_parsers.parse_quantity(text) == value


@pytest.mark.parametrize("text", ["", "m", "1K", "1mi", "-1", "1 Gi", "1e3", "1" * 65, "9" * 5000])
def test_what_is_no_quantity_is_not_compared(text: str) -> None:
    with pytest.raises(value_parsers.BadValueError, match="is not a quantity"):
        value_parsers.parse_quantity(text)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.9, "0s"), (59.9, "59s"), (60, "1m 00s"), (3599, "59m 59s"), (3600, "1h 00m"), (86399,
         "23h 59m"),
        (86400, "1d 0h"), (3 * 86400 + 4 * 3600, "3d 4h"),
    ],
)  # fmt: skip
def test_a_length_of_time_has_two_units_at_most(seconds: float, shown: str) -> None:
    assert value_parsers.format_duration(seconds) == shown


@given(st.integers(1, 365 * 86400))
def test_lengths_of_time_read_back(seconds: int) -> None:
    shown = value_parsers.format_duration(seconds)
    step = 1 if seconds < 3600 else 60 if seconds < 86400 else 3600
    assert value_parsers.parse_duration(shown.replace(" ", "")) == seconds // step * step
    assert value_parsers.parse_duration(value_parsers.format_exact_duration(seconds)) == seconds


@long_case
def test_many_resources_take_a_moment() -> None:
    many = " ".join(f"example.org/x{number}=1" for number in range(50_000))
    assert (
        len(value_parsers.parse_resources(many)) == 50_000
    )  # quadratic work would not come back in this suite's time
    with pytest.raises(value_parsers.BadValueError, match="x7 is given twice"):
        value_parsers.parse_resources(f"{many} example.org/x7=2")

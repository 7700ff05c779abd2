"""Check the image and the chart without building either.

The rest is in tests/cluster/test_chart.py.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import jsonschema
import yaml

import fyre

ROOT = Path(__file__).parents[2]
CHART = ROOT / "deploy" / "chart"


def test_its_version_is_fyres() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["version"] == chart["appVersion"] == fyre.__version__


def test_every_value_is_known_to_its_schema_and_has_a_default() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    jsonschema.Draft7Validator.check_schema(schema)
    jsonschema.validate(values, schema)

    def missing(schema: dict, values: dict, at: str = "") -> list[str]:
        known = (
            schema.get("properties", {}).items()
            if schema.get("additionalProperties") is False
            else ()
        )
        lacks = [f"{at}{key}" for key, _ in known if key not in values and key != "global"]
        return lacks + [
            one
            for key, of in known
            if key in values
            for one in missing(of, values[key], f"{at}{key}.")
        ]

    assert missing(schema, values) == []


def test_every_value_is_used() -> None:
    templates = "".join(path.read_text() for path in (CHART / "templates").iterdir())
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    assert [key for key in values if not re.search(rf"\.Values\.{key}\b", templates)] == []


def test_the_image_is_built_of_what_is_not_ignored_and_of_one_exact_base() -> None:
    dockerfile = (ROOT / "deploy" / "Dockerfile").read_text()
    copied = [
        line.split()[1:-1]
        for line in dockerfile.splitlines()
        if line.startswith("COPY ") and "--from" not in line
    ]
    let_in = [
        line[1:]
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line.startswith("!")
    ]
    assert sorted(name for names in copied for name in names) == sorted(let_in)
    assert re.search(r"^ARG BASE=\S+:\d+\.\d+\.\d+-\S+$", dockerfile, re.MULTILINE)
    assert re.findall(r"^FROM (\S+)", dockerfile, re.MULTILINE) == [
        "${BASE}",
        "dependencies",
        "${BASE}",
    ]
    assert re.search(r"^USER [1-9]\d*:[1-9]\d*$", dockerfile, re.MULTILINE)


def test_every_template_that_is_included_is_defined() -> None:
    text = "".join(path.read_text() for path in (CHART / "templates").iterdir())
    included = set(re.findall(r'(?:include|template) "([^"]+)"', text))
    defined = set(re.findall(r'define "([^"]+)"', text))
    assert included
    assert included - defined == set()

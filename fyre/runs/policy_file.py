"""Read the admin's policy file, with errors that name line, key, value and what is allowed.

``deploy/policy.example.yaml`` shows every key; ``fyre/schemas/policy.schema.json`` is the published
schema, for editors. ``docs/site/generate.py`` writes it from what is read by: the common schema
beside it, and those of the sections of Fyre's own engines.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from fyre.errors import UserError
from fyre.message import value_parsers
from fyre.runs import keep_rules, profile_file, yaml_document, yaml_values
from fyre.runs.policy import DAY, Policy
from fyre.runs.profile_file import SectionLoaders
from fyre.runs.profiles import Profile
from fyre.runs.yaml_document import BadYamlError, DocumentPath, YamlDocument

_logger = logging.getLogger(__name__)


def load_policy(path: Path, sections: SectionLoaders) -> Policy:
    """Return the policy in a file. Raises ``UserError``.

    ``sections`` are those of the engines that are installed, ``engine_registry.profile_sections``.
    A section of an engine that is not is one line in the log: its name may be a mistake.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        hint = "deploy/policy.example.yaml shows what such a file holds"
        raise UserError(f"the policy can't be read: {path}: {error.strerror}", hint=hint) from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8", hint="save it as UTF-8") from error
    policy = parse_policy(text, str(path), sections=sections)
    for name, profile in (policy.profiles or {}).items():
        for engine in profile.unread_sections:
            problem = f"profiles.{name}.{engine} is not read: no engine {engine} is installed"
            _logger.warning("%s: %s", path, problem)
    return policy


def policy_with_options(
    path: Path | None,
    sections: SectionLoaders,
    namespace: str = "",
    image: str = "",
    *,
    default_image: str = "",
) -> Policy:
    """Return the policy of a file, if there is one, with the values of the options in their place.

    A cluster always has a default profile.
    """
    policy = load_policy(path, sections) if path is not None else Policy()
    profiles = dict(policy.profiles or {})
    default = profiles.get("default", Profile())
    profiles["default"] = replace(default, image=image or default.image or default_image)
    return replace(policy, profiles=profiles, namespace=namespace or policy.namespace)


def parse_policy(text: str, name: str = "policy.yaml", *, sections: SectionLoaders) -> Policy:
    """Return the policy in a text. Raises ``UserError``.

    An empty one allows whatever the cluster does.
    """
    try:
        document = yaml_document.read_document(text)
        if document is None:
            return Policy(profiles={})
        document.validate_schema(profile_file.common_schema())
        return _build_policy(document, sections)
    except BadYamlError as error:
        quote = "".join(text.splitlines()[error.line - 1 : error.line]).strip()[:100]
        key = f"{error.path_text}: " if error.path_text else ""
        raise UserError(
            f"{name} line {error.line}: {quote!r}: {key}{error.message}", hint=error.hint
        ) from error


def _build_policy(document: YamlDocument, sections: SectionLoaders) -> Policy:
    """Return the policy of a document that matches the schema. Raises ``BadYamlError``."""
    texts = document.texts
    fields = _read_bounds(document, (), {})
    overrides = tuple(
        (glob, _read_bounds(document, ("overrides", glob), fields))
        for glob in texts.get("overrides", {})
    )
    fields |= _read_durations(document, (), _RETENTION_KEYS)
    if rules := keep_rules.read_rules(document, "keepOutputs"):
        fields["keep_outputs"] = rules
    fields |= {key: texts[key] for key in ("namespace", "namespaces") if key in texts}
    if "repositories" in texts:
        fields["repositories"] = tuple(texts["repositories"])
    if fields.get("history", DAY) < DAY and any(
        "runs_per_day" in bounds for bounds in (fields, *dict(overrides).values())
    ):
        raise document.error_at(
            ("history",),
            "runsPerDay counts the runs of 24 hours that Fyre remembers",
            "at least 1d",
        )
    profiles = {
        name: profile_file.read_profile(document, name, sections)
        for name in texts.get("profiles", {})
    }
    return Policy(profiles=profiles, overrides=overrides, **fields)


def _read_bounds(
    document: YamlDocument, path: DocumentPath, common: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the fields of ``Policy`` that may be set for all repositories.

    Under ``overrides``, they are set for some.
    """
    part = document.part_at(path)
    texts, values = part.texts, part.values
    fields = _read_durations(document, path, _TIMEOUT_KEYS)
    merged = {**common, **fields}
    if (merged.get("timeout_default") or 0) > (merged.get("timeout_max") or float("inf")):
        longest = f"at most {value_parsers.format_exact_duration(merged['timeout_max'])}"
        raise document.error_at((*path, "timeoutDefault"), "it is longer than timeoutMax", longest)
    fields |= {field: int(values[key]) for key, field in _NUMBER_KEYS.items() if key in values}
    fields |= {
        field: document.parse_at((*path, key), _parse_size, texts[key])
        for key, field in _SIZE_KEYS.items()
        if key in texts
    }
    fields |= {field: tuple(texts[key]) for key, field in _LIST_KEYS.items() if key in texts}
    fields |= {field: values[key] for key, field in _PLAIN_KEYS.items() if key in values}
    if "mergedForks" in texts:
        fields["merged_forks"] = texts["mergedForks"] == "run"
    if "caps" in texts:
        fields["caps"] = document.parse_pairs((*path, "caps"), _parse_cap)
    return fields


def _read_durations(
    document: YamlDocument, path: DocumentPath, keys: Mapping[str, str]
) -> dict[str, Any]:
    """Return the durations among these keys, in seconds, by field."""
    texts = document.part_at(path).texts
    return {
        field: document.parse_at((*path, key), value_parsers.parse_duration, texts[key])
        for key, field in keys.items()
        if key in texts
    }


_TIMEOUT_KEYS = {"timeoutMax": "timeout_max", "timeoutDefault": "timeout_default"}
_RETENTION_KEYS = {"history": "history", "queueLimit": "queue_limit", "imageGrace": "image_grace"}
_NUMBER_KEYS = {
    "retriesMax": "retries_max",
    "runsPerPush": "runs_per_push",
    "runsAtOnce": "runs_at_once",
    "runsPerDay": "runs_per_day",
    "logTail": "log_tail",
    "runOutputFiles": "run_output_files",
    "repositoryOutputFiles": "repository_output_files",
}
_SIZE_KEYS = {
    "runOutputBytes": "run_output_bytes",
    "repositoryOutputBytes": "repository_output_bytes",
}
_LIST_KEYS = {"refs": "refs", "teams": "teams", "images": "images"}
_PLAIN_KEYS = {
    "permission": "permission",
    "approvedForks": "approved_forks",
    "verifiedSignatures": "verified_signatures",
    "otherResources": "other_resources",
}
"""Key of the file → field of ``Policy``."""


def _parse_size(quantity: str) -> int:
    return int(value_parsers.parse_quantity(quantity))


def _parse_cap(key: str, quantity: str) -> tuple[str, str]:
    """Return a cap; zero, which nobody can request, is allowed too."""
    if value_parsers.parse_quantity(quantity) == 0:
        return yaml_values.parse_resource_pair(key, "1")[0], quantity
    return yaml_values.parse_resource_pair(key, quantity)

"""Read the admin's policy file, with errors that name line, key, value and what is allowed.

``deploy/policy.example.yaml`` shows every key; ``fyre/schemas/policy.schema.json`` is the published
schema.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache, partial
from importlib import resources
from pathlib import Path
from typing import Any

from fyre.errors import UserError
from fyre.message import value_parsers
from fyre.runs import yaml_document
from fyre.runs.policy import DAY, Policy
from fyre.runs.profiles import CheckoutOptions, Profile
from fyre.runs.yaml_document import BadYamlError, DocumentPath, YamlDocument

StringPairs = tuple[tuple[str, str], ...]


def load_policy(path: Path) -> Policy:
    """Return the policy in a file. Raises ``UserError``."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        hint = "deploy/policy.example.yaml shows what such a file holds"
        raise UserError(f"the policy can't be read: {path}: {error.strerror}", hint=hint) from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8", hint="save it as UTF-8") from error
    return parse_policy(text, str(path))


def policy_with_options(
    path: Path | None, namespace: str = "", image: str = "", *, default_image: str = ""
) -> Policy:
    """Return the policy of a file, if there is one, with the values of the options in their place.

    A cluster always has a default profile.
    """
    policy = load_policy(path) if path is not None else Policy()
    profiles = dict(policy.profiles or {})
    default = profiles.get("default", Profile())
    profiles["default"] = replace(default, image=image or default.image or default_image)
    return replace(policy, profiles=profiles, namespace=namespace or policy.namespace)


def parse_policy(text: str, name: str = "policy.yaml") -> Policy:
    """Return the policy in a text. Raises ``UserError``.

    An empty one allows whatever the cluster does.
    """
    try:
        document = yaml_document.read_document(text)
        if document is None:
            return Policy(profiles={})
        document.validate_schema(policy_schema())
        return _build_policy(document)
    except BadYamlError as error:
        quote = "".join(text.splitlines()[error.line - 1 : error.line]).strip()[:100]
        key = f"{error.path_text}: " if error.path_text else ""
        raise UserError(
            f"{name} line {error.line}: {quote!r}: {key}{error.message}", hint=error.hint
        ) from error


@cache
def policy_schema() -> dict[str, Any]:
    """Return the published JSON schema of the file."""
    text = (resources.files("fyre") / "schemas" / "policy.schema.json").read_text(encoding="utf-8")
    loaded: dict[str, Any] = json.loads(text)
    return loaded


def _build_policy(document: YamlDocument) -> Policy:
    """Return the policy of a document that matches the schema. Raises ``BadYamlError``."""
    texts = document.texts
    fields = _read_bounds(document, (), {})
    overrides = tuple(
        (glob, _read_bounds(document, ("overrides", glob), fields))
        for glob in texts.get("overrides", {})
    )
    fields |= _read_durations(document, (), _RETENTION_KEYS)
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
    profiles = {name: _read_profile(document, name) for name in texts.get("profiles", {})}
    return Policy(profiles=profiles, overrides=overrides, **fields)


def _read_bounds(
    document: YamlDocument, path: DocumentPath, common: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the fields of ``Policy`` that may be set for all repositories.

    Under ``overrides``, they are set for some.
    """
    texts, values = _value_at(document.texts, path), _value_at(document.values, path)
    fields = _read_durations(document, path, _TIMEOUT_KEYS)
    merged = {**common, **fields}
    if (merged.get("timeout_default") or 0) > (merged.get("timeout_max") or float("inf")):
        longest = f"at most {value_parsers.format_exact_duration(merged['timeout_max'])}"
        raise document.error_at((*path, "timeoutDefault"), "it is longer than timeoutMax", longest)
    fields |= {field: int(values[key]) for key, field in _NUMBER_KEYS.items() if key in values}
    fields |= {field: tuple(texts[key]) for key, field in _LIST_KEYS.items() if key in texts}
    fields |= {field: values[key] for key, field in _PLAIN_KEYS.items() if key in values}
    if "caps" in texts:
        fields["caps"] = _read_pairs(document, (*path, "caps"), _parse_cap)
    return fields


def _read_durations(
    document: YamlDocument, path: DocumentPath, keys: Mapping[str, str]
) -> dict[str, Any]:
    """Return the durations among these keys, in seconds, by field."""
    texts = _value_at(document.texts, path)
    return {
        field: document.parse_at((*path, key), value_parsers.parse_duration, texts[key])
        for key, field in keys.items()
        if key in texts
    }


def _value_at(data: Any, path: DocumentPath) -> Any:  # noqa: ANN401 - what YAML holds
    """Return the value at a path."""
    for key in path:
        data = data[key]
    return data


_TIMEOUT_KEYS = {"timeoutMax": "timeout_max", "timeoutDefault": "timeout_default"}
_RETENTION_KEYS = {"history": "history", "queueLimit": "queue_limit", "imageGrace": "image_grace"}
_NUMBER_KEYS = {
    "retriesMax": "retries_max",
    "runsPerPush": "runs_per_push",
    "runsAtOnce": "runs_at_once",
    "runsPerDay": "runs_per_day",
    "logTail": "log_tail",
}
_LIST_KEYS = {"refs": "refs", "teams": "teams", "images": "images"}
_PLAIN_KEYS = {
    "permission": "permission",
    "approvedForks": "approved_forks",
    "verifiedSignatures": "verified_signatures",
    "otherResources": "other_resources",
}
"""Key of the file → field of ``Policy``."""


def _read_profile(document: YamlDocument, name: str) -> Profile:
    """Return the profile of that name. Raises ``BadYamlError``."""
    path: DocumentPath = ("profiles", name)
    document.parse_at(path, value_parsers.parse_profile_name, name)
    texts, values = document.texts["profiles"][name], document.values["profiles"][name]
    _check_mounts(document, path, texts)
    fields: dict[str, Any] = {
        field: texts[key] for key, field in _PROFILE_TEXT_KEYS.items() if key in texts
    }
    fields |= {
        field: _json_value(document, (*path, key), values[key])
        for key, field in _PROFILE_OBJECT_KEYS.items()
        if key in values
    }
    fields |= {
        field: tuple(texts[key]) for key, field in _PROFILE_LIST_KEYS.items() if key in texts
    }
    if "image" in texts:
        document.parse_at((*path, "image"), value_parsers.parse_image, texts["image"])
    return Profile(
        name=name,
        resources=_read_pairs(document, (*path, "resources"), value_parsers.parse_resource),
        env=_read_pairs(
            document,
            (*path, "env"),
            lambda key, value: value_parsers.parse_env_entry(f"{key}={value}"),
        ),
        burst=values.get("burst", False),
        checkout=_read_checkout(document, (*path, "checkout"), values.get("checkout", {})),
        tolerations=tuple(values.get("tolerations", ())),
        volumes=tuple(_json_value(document, (*path, "volumes"), values.get("volumes", []))),
        volume_mounts=tuple(
            _json_value(document, (*path, "volumeMounts"), values.get("volumeMounts", []))
        ),
        image_pull_secrets=tuple(secret["name"] for secret in texts.get("imagePullSecrets", ())),
        termination_grace_seconds=int(values.get("terminationGracePeriodSeconds", 30)),
        **fields,
    )


_PROFILE_TEXT_KEYS = {
    "namespace": "namespace",
    "image": "image",
    "serviceAccountName": "service_account",
    "queue": "queue",
    "priorityClassName": "priority_class",
    "runtimeClassName": "runtime_class",
    "schedulerName": "scheduler",
    "nodeSelector": "node_selector",
}
_PROFILE_LIST_KEYS = {"secrets": "secrets", "allowSecrets": "secrets_allowed"}
_PROFILE_OBJECT_KEYS = {
    "affinity": "affinity",
    "securityContext": "security_context",
    "containerSecurityContext": "container_security_context",
}
"""Key of the file → field of ``Profile``: taken as text, as lists, and as YAML types it."""


def _read_checkout(
    document: YamlDocument, path: DocumentPath, values: Mapping[str, Any]
) -> CheckoutOptions:
    """Return a profile's options for the checkout. Raises ``BadYamlError``."""
    image = values.get("image", "")
    if image:
        document.parse_at((*path, "image"), value_parsers.parse_image, image)
    return CheckoutOptions(
        image=image,
        depth=int(values.get("depth", 1)),
        submodules={True: "1", False: ""}.get(values.get("submodules", False), "recursive"),
        lfs=values.get("lfs", False),
        sparse=tuple(values.get("sparse", ())),
    )


def _read_pairs(
    document: YamlDocument, path: DocumentPath, parse: Callable[[str, str], tuple[str, str]]
) -> StringPairs:
    """Return the mapping at a path, each value parsed with its key."""
    texts = document.texts
    for key in path:
        texts = texts.get(key, {})
    return tuple(
        document.parse_at((*path, key), partial(parse, key), value) for key, value in texts.items()
    )


def _parse_cap(key: str, quantity: str) -> tuple[str, str]:
    """Return a cap; zero, which nobody can request, is allowed too."""
    if value_parsers.parse_quantity(quantity) == 0:
        return value_parsers.parse_resource(key, "1")[0], quantity
    return value_parsers.parse_resource(key, quantity)


def _check_mounts(document: YamlDocument, path: DocumentPath, texts: Mapping[str, Any]) -> None:
    """Raise ``BadYamlError`` for a volume that is given twice, and for a mount without a volume."""
    names = [volume["name"] for volume in texts.get("volumes", ())]
    for index, name in enumerate(names):
        if name in names[:index]:
            raise document.error_at(
                (*path, "volumes", index, "name"), f"{name!r} is given twice", "keep one of them"
            )
    for index, mount in enumerate(texts.get("volumeMounts", ())):
        if mount["name"] not in names:
            hint = f"the volumes are {', '.join(names)}" if names else "name it under volumes"
            raise document.error_at(
                (*path, "volumeMounts", index, "name"),
                f"there is no volume {mount['name']!r}",
                hint,
            )


def _json_value(document: YamlDocument, path: DocumentPath, value: Any) -> Any:  # noqa: ANN401 - a piece of a Kubernetes object
    """Return the value as JSON can hold it.

    Raises ``BadYamlError`` for YAML's infinities, bytes and sets, which JSON can't hold.
    """
    try:
        return json.loads(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise document.error_at(
            path, f"Kubernetes does not accept it: {error}", "quote what is text"
        ) from error

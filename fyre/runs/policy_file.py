"""The admin's file: read once into a ``Policy``, with errors that name line, key, value and what is allowed.

``deploy/policy.example.yaml`` shows it all, ``fyre/schemas/policy.schema.json`` is its published schema.
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
from fyre.message import notation
from fyre.runs import yaml_document
from fyre.runs.policy import DAY, Policy
from fyre.runs.profiles import CheckoutOptions, Profile
from fyre.runs.yaml_document import BadYamlError, DocumentPath, YamlDocument

StringPairs = tuple[tuple[str, str], ...]


def load_policy(path: Path) -> Policy:
    """The policy in a file. Raises ``UserError``."""
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
    """The policy of a file, if there is one, with what options say instead; a cluster always has a default profile."""
    allowed = load_policy(path) if path is not None else Policy()
    profiles = dict(allowed.profiles or {})
    default = profiles.get("default", Profile())
    profiles["default"] = replace(default, image=image or default.image or default_image)
    return replace(allowed, profiles=profiles, namespace=namespace or allowed.namespace)


def parse_policy(text: str, name: str = "policy.yaml") -> Policy:
    """The policy that a text holds; an empty one allows whatever the cluster does. Raises ``UserError``."""
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
    """The published JSON schema of the file."""
    text = (resources.files("fyre") / "schemas" / "policy.schema.json").read_text(encoding="utf-8")
    loaded: dict[str, Any] = json.loads(text)
    return loaded


def _build_policy(document: YamlDocument) -> Policy:
    said = document.texts
    given = _read_bounds(document, (), {})
    overrides = tuple(
        (glob, _read_bounds(document, ("overrides", glob), given))
        for glob in said.get("overrides", {})
    )
    given |= _read_durations(document, (), _RETENTION_KEYS)
    given |= {key: said[key] for key in ("namespace", "namespaces") if key in said}
    if "repositories" in said:
        given["repositories"] = tuple(said["repositories"])
    if given.get("history", DAY) < DAY and any(
        "runs_per_day" in bounds for bounds in (given, *dict(overrides).values())
    ):
        raise document.error_at(
            ("history",),
            "runsPerDay counts the runs of 24 hours that Fyre remembers",
            "at least 1d",
        )
    profiles = {name: _read_profile(document, name) for name in said.get("profiles", {})}
    return Policy(profiles=profiles, overrides=overrides, **given)


def _read_bounds(
    document: YamlDocument, at: DocumentPath, common: Mapping[str, Any]
) -> dict[str, Any]:
    """What may be said of all repositories and, under ``overrides``, of some of them: fields of ``Policy``."""
    said, typed = _value_at(document.texts, at), _value_at(document.values, at)
    given = _read_durations(document, at, _TIMEOUT_KEYS)
    both = {**common, **given}
    if (both.get("timeout_default") or 0) > (both.get("timeout_max") or float("inf")):
        longest = f"at most {notation.format_exact_duration(both['timeout_max'])}"
        raise document.error_at((*at, "timeoutDefault"), "it is longer than timeoutMax", longest)
    given |= {field: int(typed[key]) for key, field in _NUMBER_KEYS.items() if key in typed}
    given |= {field: tuple(said[key]) for key, field in _LIST_KEYS.items() if key in said}
    given |= {field: typed[key] for key, field in _PLAIN_KEYS.items() if key in typed}
    if "caps" in said:
        given["caps"] = _read_pairs(document, (*at, "caps"), _parse_cap)
    return given


def _read_durations(
    document: YamlDocument, at: DocumentPath, keys: Mapping[str, str]
) -> dict[str, Any]:
    said = _value_at(document.texts, at)
    return {
        field: document.parse_at((*at, key), notation.parse_duration, said[key])
        for key, field in keys.items()
        if key in said
    }


def _value_at(data: Any, at: DocumentPath) -> Any:  # noqa: ANN401 - what YAML holds
    for key in at:
        data = data[key]
    return data


_TIMEOUT_KEYS = {"timeoutMax": "timeout_max", "timeoutDefault": "timeout_default"}
_RETENTION_KEYS = {"history": "history", "queueLimit": "queue_limit", "imageGrace": "image_grace"}
_NUMBER_KEYS = {"retriesMax": "retries_max", "runsPerPush": "runs_per_push", "runsAtOnce": "runs_at_once",
            "runsPerDay": "runs_per_day", "logTail": "log_tail"}  # fmt: skip
_LIST_KEYS = {"refs": "refs", "teams": "teams", "images": "images"}
_PLAIN_KEYS = {"permission": "permission", "approvedForks": "approved_forks", "verifiedSignatures": "verified_signatures",
          "otherResources": "other_resources"}  # fmt: skip
"""Key of the file → field of ``Policy``."""


def _read_profile(document: YamlDocument, name: str) -> Profile:
    at: DocumentPath = ("profiles", name)
    document.parse_at(at, notation.parse_profile_name, name)
    said, typed = document.texts["profiles"][name], document.values["profiles"][name]
    _check_mounts(document, at, said)
    given: dict[str, Any] = {
        field: said[key] for key, field in _PROFILE_TEXT_KEYS.items() if key in said
    }
    given |= {
        field: _json_value(document, (*at, key), typed[key])
        for key, field in _PROFILE_OBJECT_KEYS.items()
        if key in typed
    }
    given |= {field: tuple(said[key]) for key, field in _PROFILE_LIST_KEYS.items() if key in said}
    if "image" in said:
        document.parse_at((*at, "image"), notation.parse_image, said["image"])
    return Profile(
        name=name,
        resources=_read_pairs(document, (*at, "resources"), notation.parse_resource),
        env=_read_pairs(
            document, (*at, "env"), lambda key, value: notation.parse_env_entry(f"{key}={value}")
        ),
        burst=typed.get("burst", False),
        checkout=_read_checkout(document, (*at, "checkout"), typed.get("checkout", {})),
        tolerations=tuple(typed.get("tolerations", ())),
        volumes=tuple(_json_value(document, (*at, "volumes"), typed.get("volumes", []))),
        volume_mounts=tuple(
            _json_value(document, (*at, "volumeMounts"), typed.get("volumeMounts", []))
        ),
        image_pull_secrets=tuple(secret["name"] for secret in said.get("imagePullSecrets", ())),
        termination_grace_seconds=int(typed.get("terminationGracePeriodSeconds", 30)),
        **given,
    )


_PROFILE_TEXT_KEYS = {"namespace": "namespace", "image": "image", "serviceAccountName": "service_account", "queue": "queue",
          "priorityClassName": "priority_class", "runtimeClassName": "runtime_class", "schedulerName": "scheduler",
          "nodeSelector": "node_selector"}  # fmt: skip
_PROFILE_LIST_KEYS = {"secrets": "secrets", "allowSecrets": "secrets_allowed"}
_PROFILE_OBJECT_KEYS = {
    "affinity": "affinity",
    "securityContext": "security_context",
    "containerSecurityContext": "container_security_context",
}
"""Key of the file → field of ``Profile``: taken as written, as lists, and as what YAML makes of it."""


def _read_checkout(
    document: YamlDocument, at: DocumentPath, typed: Mapping[str, Any]
) -> CheckoutOptions:
    image = typed.get("image", "")
    if image:
        document.parse_at((*at, "image"), notation.parse_image, image)
    return CheckoutOptions(
        image=image,
        depth=int(typed.get("depth", 1)),
        submodules={True: "1", False: ""}.get(typed.get("submodules", False), "recursive"),
        lfs=typed.get("lfs", False),
        sparse=tuple(typed.get("sparse", ())),
    )


def _read_pairs(
    document: YamlDocument, at: DocumentPath, parse: Callable[[str, str], tuple[str, str]]
) -> StringPairs:
    """What stands at a path, a mapping, each value read with its key."""
    said = document.texts
    for key in at:
        said = said.get(key, {})
    return tuple(
        document.parse_at((*at, key), partial(parse, key), value) for key, value in said.items()
    )


def _parse_cap(key: str, quantity: str) -> tuple[str, str]:
    """A cap; nought, which nobody can ask for, is one as well."""
    if notation.parse_quantity(quantity) == 0:
        return notation.parse_resource(key, "1")[0], quantity
    return notation.parse_resource(key, quantity)


def _check_mounts(document: YamlDocument, at: DocumentPath, said: Mapping[str, Any]) -> None:
    names = [volume["name"] for volume in said.get("volumes", ())]
    for index, name in enumerate(names):
        if name in names[:index]:
            raise document.error_at(
                (*at, "volumes", index, "name"), f"{name!r} is given twice", "keep one of them"
            )
    for index, mount in enumerate(said.get("volumeMounts", ())):
        if mount["name"] not in names:
            hint = f"the volumes are {', '.join(names)}" if names else "name it under volumes"
            raise document.error_at(
                (*at, "volumeMounts", index, "name"), f"there is no volume {mount['name']!r}", hint
            )


def _json_value(document: YamlDocument, at: DocumentPath, typed: Any) -> Any:  # noqa: ANN401 - a piece of a Kubernetes object
    """The piece as JSON can hold it, which YAML's infinities, bytes and sets are not."""
    try:
        return json.loads(json.dumps(typed, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise document.error_at(
            at, f"it is nothing that Kubernetes takes: {error}", "quote what is text"
        ) from error

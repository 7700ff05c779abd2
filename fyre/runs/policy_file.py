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
from fyre.runs.profiles import Checkout, Profile
from fyre.runs.yaml_document import BadYamlError, Document, Keys

Pairs = tuple[tuple[str, str], ...]


def load(path: Path) -> Policy:
    """The policy in a file. Raises ``UserError``."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        hint = "deploy/policy.example.yaml shows what such a file holds"
        raise UserError(f"the policy can't be read: {path}: {error.strerror}", hint=hint) from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8", hint="save it as UTF-8") from error
    return read(text, str(path))


def chosen(
    path: Path | None, namespace: str = "", image: str = "", *, else_image: str = ""
) -> Policy:
    """The policy of a file, if there is one, with what options say instead; a cluster always has a default profile."""
    allowed = load(path) if path is not None else Policy()
    profiles = dict(allowed.profiles or {})
    default = profiles.get("default", Profile())
    profiles["default"] = replace(default, image=image or default.image or else_image)
    return replace(allowed, profiles=profiles, namespace=namespace or allowed.namespace)


def read(text: str, name: str = "policy.yaml") -> Policy:
    """The policy that a text holds; an empty one allows whatever the cluster does. Raises ``UserError``."""
    try:
        document = yaml_document.read(text)
        if document is None:
            return Policy(profiles={})
        document.hold_to(schema())
        return _policy(document)
    except BadYamlError as error:
        quote = "".join(text.splitlines()[error.line - 1 : error.line]).strip()[:100]
        key = f"{error.where}: " if error.where else ""
        raise UserError(
            f"{name} line {error.line}: {quote!r}: {key}{error.message}", hint=error.hint
        ) from error


@cache
def schema() -> dict[str, Any]:
    """The published JSON schema of the file."""
    text = (resources.files("fyre") / "schemas" / "policy.schema.json").read_text(encoding="utf-8")
    loaded: dict[str, Any] = json.loads(text)
    return loaded


def _policy(document: Document) -> Policy:
    said = document.said
    given = _bounds(document, (), {})
    overrides = tuple(
        (glob, _bounds(document, ("overrides", glob), given)) for glob in said.get("overrides", {})
    )
    given |= _durations(document, (), _KEEPING)
    given |= {key: said[key] for key in ("namespace", "namespaces") if key in said}
    if "repositories" in said:
        given["repositories"] = tuple(said["repositories"])
    if given.get("history", DAY) < DAY and any(
        "runs_per_day" in bounds for bounds in (given, *dict(overrides).values())
    ):
        raise document.wrong(
            ("history",),
            "runsPerDay counts the runs of 24 hours that Fyre remembers",
            "at least 1d",
        )
    profiles = {name: _profile(document, name) for name in said.get("profiles", {})}
    return Policy(profiles=profiles, overrides=overrides, **given)


def _bounds(document: Document, at: Keys, common: Mapping[str, Any]) -> dict[str, Any]:
    """What may be said of all repositories and, under ``overrides``, of some of them: fields of ``Policy``."""
    said, typed = _found(document.said, at), _found(document.typed, at)
    given = _durations(document, at, _TIMES)
    both = {**common, **given}
    if (both.get("timeout_default") or 0) > (both.get("timeout_max") or float("inf")):
        longest = f"at most {notation.written(both['timeout_max'])}"
        raise document.wrong((*at, "timeoutDefault"), "it is longer than timeoutMax", longest)
    given |= {field: int(typed[key]) for key, field in _NUMBERS.items() if key in typed}
    given |= {field: tuple(said[key]) for key, field in _LISTS.items() if key in said}
    given |= {field: typed[key] for key, field in _PLAIN.items() if key in typed}
    if "caps" in said:
        given["caps"] = _pairs(document, (*at, "caps"), _cap)
    return given


def _durations(document: Document, at: Keys, keys: Mapping[str, str]) -> dict[str, Any]:
    said = _found(document.said, at)
    return {
        field: document.at((*at, key), notation.duration, said[key])
        for key, field in keys.items()
        if key in said
    }


def _found(data: Any, at: Keys) -> Any:  # noqa: ANN401 - what YAML holds
    for key in at:
        data = data[key]
    return data


_TIMES = {"timeoutMax": "timeout_max", "timeoutDefault": "timeout_default"}
_KEEPING = {"history": "history", "queueLimit": "queue_limit", "imageGrace": "image_grace"}
_NUMBERS = {"retriesMax": "retries_max", "runsPerPush": "runs_per_push", "runsAtOnce": "runs_at_once",
            "runsPerDay": "runs_per_day", "logTail": "log_tail"}  # fmt: skip
_LISTS = {"refs": "refs", "teams": "teams", "images": "images"}
_PLAIN = {"permission": "permission", "approvedForks": "forks", "verifiedSignatures": "signed",
          "otherResources": "other_resources"}  # fmt: skip
"""Key of the file → field of ``Policy``."""


def _profile(document: Document, name: str) -> Profile:
    at: Keys = ("profiles", name)
    document.at(at, notation.profile, name)
    said, typed = document.said["profiles"][name], document.typed["profiles"][name]
    _check_mounts(document, at, said)
    given: dict[str, Any] = {field: said[key] for key, field in _WORDS.items() if key in said}
    given |= {
        field: _as_json(document, (*at, key), typed[key])
        for key, field in _OBJECTS.items()
        if key in typed
    }
    given |= {field: tuple(said[key]) for key, field in _NAMES.items() if key in said}
    if "image" in said:
        document.at((*at, "image"), notation.image, said["image"])
    return Profile(
        name=name,
        resources=_pairs(document, (*at, "resources"), notation.resource),
        env=_pairs(document, (*at, "env"), lambda key, value: notation.env(f"{key}={value}")),
        burst=typed.get("burst", False),
        checkout=_checkout(document, (*at, "checkout"), typed.get("checkout", {})),
        tolerations=tuple(typed.get("tolerations", ())),
        volumes=tuple(_as_json(document, (*at, "volumes"), typed.get("volumes", []))),
        volume_mounts=tuple(
            _as_json(document, (*at, "volumeMounts"), typed.get("volumeMounts", []))
        ),
        pull_secrets=tuple(secret["name"] for secret in said.get("imagePullSecrets", ())),
        grace=int(typed.get("terminationGracePeriodSeconds", 30)),
        **given,
    )


_WORDS = {"namespace": "namespace", "image": "image", "serviceAccountName": "service_account", "queue": "queue",
          "priorityClassName": "priority_class", "runtimeClassName": "runtime_class", "schedulerName": "scheduler",
          "nodeSelector": "node_selector"}  # fmt: skip
_NAMES = {"secrets": "secrets", "allowSecrets": "secrets_allowed"}
_OBJECTS = {
    "affinity": "affinity",
    "securityContext": "security",
    "containerSecurityContext": "container_security",
}
"""Key of the file → field of ``Profile``: taken as written, as lists, and as what YAML makes of it."""


def _checkout(document: Document, at: Keys, typed: Mapping[str, Any]) -> Checkout:
    image = typed.get("image", "")
    if image:
        document.at((*at, "image"), notation.image, image)
    return Checkout(
        image=image,
        depth=int(typed.get("depth", 1)),
        submodules={True: "1", False: ""}.get(typed.get("submodules", False), "recursive"),
        lfs=typed.get("lfs", False),
        sparse=tuple(typed.get("sparse", ())),
    )


def _pairs(document: Document, at: Keys, parse: Callable[[str, str], tuple[str, str]]) -> Pairs:
    """What stands at a path, a mapping, each value read with its key."""
    said = document.said
    for key in at:
        said = said.get(key, {})
    return tuple(document.at((*at, key), partial(parse, key), value) for key, value in said.items())


def _cap(key: str, quantity: str) -> tuple[str, str]:
    """A cap; nought, which nobody can ask for, is one as well."""
    if notation.quantity(quantity) == 0:
        return notation.resource(key, "1")[0], quantity
    return notation.resource(key, quantity)


def _check_mounts(document: Document, at: Keys, said: Mapping[str, Any]) -> None:
    names = [volume["name"] for volume in said.get("volumes", ())]
    for index, name in enumerate(names):
        if name in names[:index]:
            raise document.wrong(
                (*at, "volumes", index, "name"), f"{name!r} is given twice", "keep one of them"
            )
    for index, mount in enumerate(said.get("volumeMounts", ())):
        if mount["name"] not in names:
            hint = f"the volumes are {', '.join(names)}" if names else "name it under volumes"
            raise document.wrong(
                (*at, "volumeMounts", index, "name"), f"there is no volume {mount['name']!r}", hint
            )


def _as_json(document: Document, at: Keys, typed: Any) -> Any:  # noqa: ANN401 - a piece of a Kubernetes object
    """The piece as JSON can hold it, which YAML's infinities, bytes and sets are not."""
    try:
        return json.loads(json.dumps(typed, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise document.wrong(
            at, f"it is nothing that Kubernetes takes: {error}", "quote what is text"
        ) from error

"""What ``fyre serve`` is told: one YAML file, then the environment, then options; each goes before those before it.

All of it is checked once, here. An error says where the value was given, the key, the value and what is allowed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from fyre.apps.secret_file import Secret
from fyre.errors import UserError
from fyre.github.app_auth import signer
from fyre.message import credential_scan, notation
from fyre.runs import policy as policies
from fyre.runs import policy_file, yaml_document
from fyre.runs.policy import Policy
from fyre.runs.yaml_document import BadYamlError

SECRETS = {"tokenFile": "FYRE_TOKEN", "appPrivateKeyFile": "FYRE_APP_PRIVATE_KEY",
           "webhookSecretFile": "FYRE_WEBHOOK_SECRET", "keyFile": "FYRE_KEY"}  # fmt: skip
"""Key of a file → environment variable that may hold the secret instead."""

_WHAT = {"tokenFile": "the forge's token", "appPrivateKeyFile": "the App's private key",
         "webhookSecretFile": "the webhook's secret", "keyFile": "the key that receivers share"}  # fmt: skip
_OF_A_CLUSTER = ("kubeconfig", "context", "relay", "relayUrl", "logStore", "lease", "advertise")
_KEY_MIN = 32  # characters
_SWEEP_MIN = 10  # seconds; the forge is asked about each repository
_YES, _NO = ("true", "yes", "1"), ("false", "no", "0")


@dataclass(frozen=True, slots=True)
class Said:
    """A value and where it was said: ``fyre.yaml line 3``, ``FYRE_JOBS``, ``--jobs``, ``default``."""

    value: Any
    origin: str


@dataclass(frozen=True, slots=True)
class Config:
    """Everything, checked. Times are in seconds; exactly one of ``token`` and ``app_key`` is there."""

    said: Mapping[str, Said]
    policy: Policy
    token: Secret | None
    app_key: Secret | None
    webhook_secret: Secret | None  # None where no webhook is taken
    key: Secret | None  # None where our own secrets are kept under the state
    sweep_every: float
    backfill: float

    def get(self, key: str) -> Any:  # noqa: ANN401 - as the schema types it
        """The value of a key; None where it was not said and has no default."""
        return self.said[key].value if key in self.said else None

    @property
    def listen(self) -> tuple[str, int]:
        """Host and port."""
        host, _, port = self.get("listen").rpartition(":")
        return host.strip("[]"), int(port)

    @property
    def api(self) -> str:
        """The base URL of the forge's REST API, as GitHub, its data residency and its Enterprise Server have it."""
        return str(self.get("api") or api_of(self.get("forge"))).rstrip("/")


def api_of(forge: str) -> str:
    """Where a forge has its REST API."""
    host = forge.partition("://")[2].lower()
    return (
        f"https://api.{host}"
        if host == "github.com" or host.endswith(".ghe.com")
        else f"{forge}/api/v3"
    )


@cache
def schema() -> dict[str, Any]:
    """The published JSON schema of the file."""
    text = (resources.files("fyre") / "schemas" / "serve.schema.json").read_text(encoding="utf-8")
    loaded: dict[str, Any] = json.loads(text)
    return loaded


def variable(key: str) -> str:
    """The environment variable of a key. None of them is one that Kubernetes sets for a Service named fyre."""
    return "FYRE_" + re.sub(r"(?=[A-Z])", "_", key).upper()


def option(key: str) -> str:
    """The option of a key."""
    return "--" + re.sub(r"(?=[A-Z])", "-", key).lower()


def load(path: Path | None, env: Mapping[str, str], options: Mapping[str, str]) -> Config:
    """Everything that was said, checked. Raises ``UserError``, in which no secret is shown."""
    try:
        said = {
            key: Said(one["default"], "default")
            for key, one in schema()["properties"].items()
            if "default" in one
        }
        said |= _of_file(path) if path is not None else {}
        said |= _of_texts(
            {variable(key): (key, env.get(variable(key), "")) for key in schema()["properties"]}
        )
        said |= _of_texts({option(key): (key, text) for key, text in options.items()})
        return _settled(said, env)
    except UserError as error:
        raise UserError(
            credential_scan.masked(error.message), hint=error.hint, code=error.code
        ) from error.__cause__


def _of_file(path: Path) -> dict[str, Said]:
    try:
        document = yaml_document.read(path.read_text(encoding="utf-8"))
        if document is None:
            return {}
        document.hold_to(schema())
    except OSError as error:
        raise UserError(
            f"the configuration can't be read: {path}: {error.strerror}", hint="--config FILE"
        ) from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8", hint="save it as UTF-8") from error
    except BadYamlError as error:  # the line is not quoted: what stands there may be a secret
        key = f"{error.where}: " if error.where else ""
        raise UserError(
            f"{path} line {error.line}: {key}{error.message}", hint=error.hint
        ) from error
    texts = {key for key, value in document.typed.items() if isinstance(value, str)}
    for key in texts:
        if "\0" in document.typed[key]:  # no path, no address and no argument of anything has one
            raise UserError(
                f"{path} line {document.lines[key,]}: {key}: it has a NUL in it", hint="take it out"
            )
    return {
        key: Said(
            document.said[key] if key in texts else value, f"{path} line {document.lines[key,]}"
        )
        for key, value in document.typed.items()
    }


def _of_texts(given: Mapping[str, tuple[str, str]]) -> dict[str, Said]:
    """Values that came as text, by their origin; an empty one is none."""
    return {
        key: Said(_typed(origin, key, text), origin)
        for origin, (key, text) in given.items()
        if text
    }


def _typed(origin: str, key: str, text: str) -> Any:  # noqa: ANN401 - as the schema types it
    import jsonschema

    of_key = schema()["properties"][key]
    value: Any = text
    if of_key.get("type") == "integer" and re.fullmatch(r"[0-9]{1,18}", text):
        value = int(text)
    elif of_key.get("type") == "boolean" and text.lower() in _YES + _NO:
        value = text.lower() in _YES
    error = next(jsonschema.Draft202012Validator(of_key).iter_errors(value), None)
    if error is not None:
        raise _wrong(key, Said(text, origin), "is not taken")
    return value


def _wrong(key: str, said: Said, why: str) -> UserError:
    """The error for a value: ``FYRE_JOBS: jobs: 'many' is not taken``."""
    return UserError(
        f"{said.origin}: {key}: {said.value!r} {why}",
        hint=schema()["properties"][key]["description"],
    )


def _settled(said: Mapping[str, Said], env: Mapping[str, str]) -> Config:
    if "url" not in said:
        raise UserError(
            "url is not set", hint=f"{option('url')} or {variable('url')}: {_about('url')}"
        )
    for key in ("listen", "relay"):
        if key in said and int(said[key].value.rpartition(":")[2]) > 65535:
            raise _wrong(key, said[key], "has no such port: the last one is 65535")
    _check_engine(said)
    _check_image(said)
    policy = policy_file.load(Path(said["policy"].value)) if "policy" in said else Policy()
    if said["engine"].value == "local":
        policy = policies.without_profiles(policy)
    sweep_every, backfill = _seconds(said, "sweepEvery"), _seconds(said, "backfill")
    if sweep_every < _SWEEP_MIN:
        raise _wrong("sweepEvery", said["sweepEvery"], "is too often")
    if backfill > policy.history:
        raise _wrong(
            "backfill",
            said["backfill"],
            f"is longer than the policy's history, {_written(policy.history)}",
        )
    token, app_key = _credential(said, env)
    if said["checks"].value and app_key is None:
        raise _wrong(
            "checks", said["checks"], "needs a GitHub App: with a token no check run can be made"
        )
    secret = _secret(said, env, "webhookSecretFile")
    if secret is None and not said["poll"].value:
        hint = "webhookSecretFile or FYRE_WEBHOOK_SECRET; or poll: true, where no webhook is to be taken"
        raise UserError(
            "there is no webhook secret, and unsigned deliveries are never taken", hint=hint
        )
    shared = _secret(said, env, "keyFile")
    if shared is not None and len(shared.read()) < _KEY_MIN:
        raise UserError(
            f"{shared.origin}: {shared.what} is shorter than {_KEY_MIN} characters",
            hint="openssl rand -hex 32",
        )
    _check_lease(said, shared)
    return Config(
        said,
        policy,
        token,
        app_key,
        None if said["poll"].value else secret,
        shared,
        sweep_every,
        backfill,
    )


def _check_lease(said: Mapping[str, Said], key: Secret | None) -> None:
    """What several receivers need, each of them."""
    if "lease" in said and "advertise" not in said:
        raise _wrong("lease", said["lease"], "needs advertise: the others hand on to whoever leads")
    if "lease" in said and "logStore" not in said:
        hint = "a bucket's URL, or a folder on a volume that all have: logs on another's disk show no page"
        raise UserError(
            f"{said['lease'].origin}: lease: receivers must share a logStore, and there is none",
            hint=hint,
        )
    if "lease" in said and key is None:
        hint = "keyFile or FYRE_KEY: without it each receiver would take the others' runs for somebody else's"
        raise UserError(
            f"{said['lease'].origin}: lease: receivers must share a key, and there is none",
            hint=hint,
        )


def _check_engine(said: Mapping[str, Said]) -> None:
    """What is said of the other engine would be passed over in silence, and so is refused."""
    engine = said["engine"].value
    for key in ("jobs",) if engine == "kubernetes" else _OF_A_CLUSTER:
        if key in said:
            raise _wrong(key, said[key], f"is nothing for engine {engine}")
    if engine == "kubernetes" and "policy" not in said:
        hint = f"{option('policy')} or {variable('policy')}: {_about('policy')}"
        raise UserError("policy is not set, and engine kubernetes needs one", hint=hint)
    if "relayUrl" in said and "relay" not in said:
        raise _wrong("relayUrl", said["relayUrl"], "is of a relay, and relay is not set")


def _check_image(said: Mapping[str, Said]) -> None:
    """A name that is no image would fail each run, and not the start."""
    try:
        notation.image(said["checkoutImage"].value)
    except notation.BadValueError as error:
        raise _wrong("checkoutImage", said["checkoutImage"], "is not an image") from error


def _credential(
    said: Mapping[str, Said], env: Mapping[str, str]
) -> tuple[Secret | None, Secret | None]:
    """The token, or the App's key."""
    token, key = _secret(said, env, "tokenFile"), _secret(said, env, "appPrivateKeyFile")
    if token is None and key is None and "appId" not in said:
        hint = "tokenFile or FYRE_TOKEN; or appId and appPrivateKeyFile or FYRE_APP_PRIVATE_KEY"
        raise UserError("there is no credential for the forge", hint=hint)
    if token is not None and (key is not None or "appId" in said):
        other = key.origin if key is not None else said["appId"].origin
        raise UserError(
            f"a token ({token.origin}) and an App ({other}) are two credentials",
            hint="give one of them",
        )
    if token is None and key is None:
        raise _wrong("appId", said["appId"], "needs appPrivateKeyFile or FYRE_APP_PRIVATE_KEY")
    if key is not None and "appId" not in said:
        raise UserError(
            f"appId is not set, and there is a private key ({key.origin})", hint=_about("appId")
        )
    if key is not None:
        signer(said["appId"].value, key.read())
    if token is not None and len(token.read().split()) != 1:
        raise UserError(
            f"{token.origin}: the forge's token has blanks in it",
            hint="one token, and nothing else",
        )
    return token, key


def _secret(said: Mapping[str, Said], env: Mapping[str, str], key: str) -> Secret | None:
    """The secret of a key: from the file that the environment or an option names, the environment, the file."""
    direct, given = env.get(SECRETS[key], ""), said.get(key)
    if direct and given is not None and given.origin.startswith(("FYRE_", "--")):
        raise UserError(
            f"{SECRETS[key]} and {given.origin} are two of {_WHAT[key]}", hint="give one of them"
        )
    if direct:
        return Secret(_WHAT[key], SECRETS[key], value=direct)
    return Secret(_WHAT[key], given.origin, path=Path(given.value)) if given is not None else None


def _seconds(said: Mapping[str, Said], key: str) -> float:
    try:
        return float(notation.duration(said[key].value))
    except notation.BadValueError as error:
        raise UserError(f"{said[key].origin}: {key}: {error.args[0]}", hint=error.hint) from error


def _written(seconds: float) -> str:
    return notation.written(int(seconds))


def _about(key: str) -> str:
    return str(schema()["properties"][key]["description"])

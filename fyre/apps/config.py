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
from fyre.github.app_auth import create_app_auth
from fyre.message import credential_scan, notation
from fyre.runs import policy as policies
from fyre.runs import policy_file, yaml_document
from fyre.runs.policy import Policy
from fyre.runs.yaml_document import BadYamlError

SECRET_VARIABLES = {"tokenFile": "FYRE_TOKEN", "appPrivateKeyFile": "FYRE_APP_PRIVATE_KEY",
           "webhookSecretFile": "FYRE_WEBHOOK_SECRET", "keyFile": "FYRE_KEY"}  # fmt: skip
"""Key of a file → environment variable that may hold the secret instead."""

_SECRET_DESCRIPTIONS = {"tokenFile": "the forge's token", "appPrivateKeyFile": "the App's private key",
         "webhookSecretFile": "the webhook's secret", "keyFile": "the key that receivers share"}  # fmt: skip
_KUBERNETES_KEYS = ("kubeconfig", "context", "relay", "relayUrl", "logStore", "lease", "advertise")
_KEY_MIN_LENGTH = 32  # characters
_SWEEP_MIN_SECONDS = 10  # seconds; the forge is asked about each repository
_TRUE_WORDS, _FALSE_WORDS = ("true", "yes", "1"), ("false", "no", "0")


@dataclass(frozen=True, slots=True)
class Setting:
    """A value and where it was said: ``fyre.yaml line 3``, ``FYRE_JOBS``, ``--jobs``, ``default``."""

    value: Any
    origin: str


@dataclass(frozen=True, slots=True)
class Config:
    """Everything, checked. Times are in seconds; exactly one of ``token`` and ``app_key`` is there."""

    settings: Mapping[str, Setting]
    policy: Policy
    token: Secret | None
    app_key: Secret | None
    webhook_secret: Secret | None  # None where no webhook is taken
    shared_key: Secret | None  # None where our own secrets are kept under the state
    sweep_every: float
    backfill: float

    def get(self, key: str) -> Any:  # noqa: ANN401 - as the schema types it
        """The value of a key; None where it was not said and has no default."""
        return self.settings[key].value if key in self.settings else None

    @property
    def listen_address(self) -> tuple[str, int]:
        """Host and port."""
        host, _, port = self.get("listen").rpartition(":")
        return host.strip("[]"), int(port)

    @property
    def api_url(self) -> str:
        """The base URL of the forge's REST API, as GitHub, its data residency and its Enterprise Server have it."""
        return str(self.get("api") or default_api_url(self.get("forge"))).rstrip("/")


def default_api_url(forge_url: str) -> str:
    """Where a forge has its REST API."""
    host = forge_url.partition("://")[2].lower()
    return (
        f"https://api.{host}"
        if host == "github.com" or host.endswith(".ghe.com")
        else f"{forge_url}/api/v3"
    )


@cache
def load_schema() -> dict[str, Any]:
    """The published JSON schema of the file."""
    text = (resources.files("fyre") / "schemas" / "serve.schema.json").read_text(encoding="utf-8")
    loaded: dict[str, Any] = json.loads(text)
    return loaded


def variable_name(key: str) -> str:
    """The environment variable of a key. None of them is one that Kubernetes sets for a Service named fyre."""
    return "FYRE_" + re.sub(r"(?=[A-Z])", "_", key).upper()


def option_name(key: str) -> str:
    """The option of a key."""
    return "--" + re.sub(r"(?=[A-Z])", "-", key).lower()


def load_config(
    path: Path | None, environ: Mapping[str, str], options: Mapping[str, str]
) -> Config:
    """Everything that was said, checked. Raises ``UserError``, in which no secret is shown."""
    try:
        said = {
            key: Setting(one["default"], "default")
            for key, one in load_schema()["properties"].items()
            if "default" in one
        }
        said |= _settings_from_file(path) if path is not None else {}
        said |= _settings_from_texts(
            {
                variable_name(key): (key, environ.get(variable_name(key), ""))
                for key in load_schema()["properties"]
            }
        )
        said |= _settings_from_texts(
            {option_name(key): (key, text) for key, text in options.items()}
        )
        return _build_config(said, environ)
    except UserError as error:
        raise UserError(
            credential_scan.mask_credentials(error.message),
            hint=error.hint,
            exit_code=error.exit_code,
        ) from error.__cause__


def _settings_from_file(path: Path) -> dict[str, Setting]:
    try:
        document = yaml_document.read_document(path.read_text(encoding="utf-8"))
        if document is None:
            return {}
        document.validate_schema(load_schema())
    except OSError as error:
        raise UserError(
            f"the configuration can't be read: {path}: {error.strerror}", hint="--config FILE"
        ) from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8", hint="save it as UTF-8") from error
    except BadYamlError as error:  # the line is not quoted: what stands there may be a secret
        key = f"{error.path_text}: " if error.path_text else ""
        raise UserError(
            f"{path} line {error.line}: {key}{error.message}", hint=error.hint
        ) from error
    texts = {key for key, value in document.values.items() if isinstance(value, str)}
    for key in texts:
        if "\0" in document.values[key]:  # no path, no address and no argument of anything has one
            raise UserError(
                f"{path} line {document.line_numbers[key,]}: {key}: it has a NUL in it",
                hint="take it out",
            )
    return {
        key: Setting(
            document.texts[key] if key in texts else value,
            f"{path} line {document.line_numbers[key,]}",
        )
        for key, value in document.values.items()
    }


def _settings_from_texts(given: Mapping[str, tuple[str, str]]) -> dict[str, Setting]:
    """Values that came as text, by their origin; an empty one is none."""
    return {
        key: Setting(_parse_value(origin, key, text), origin)
        for origin, (key, text) in given.items()
        if text
    }


def _parse_value(origin: str, key: str, text: str) -> Any:  # noqa: ANN401 - as the schema types it
    import jsonschema

    of_key = load_schema()["properties"][key]
    value: Any = text
    if of_key.get("type") == "integer" and re.fullmatch(r"[0-9]{1,18}", text):
        value = int(text)
    elif of_key.get("type") == "boolean" and text.lower() in _TRUE_WORDS + _FALSE_WORDS:
        value = text.lower() in _TRUE_WORDS
    error = next(jsonschema.Draft202012Validator(of_key).iter_errors(value), None)
    if error is not None:
        raise _setting_error(key, Setting(text, origin), "is not taken")
    return value


def _setting_error(key: str, setting: Setting, problem: str) -> UserError:
    """The error for a value: ``FYRE_JOBS: jobs: 'many' is not taken``."""
    return UserError(
        f"{setting.origin}: {key}: {setting.value!r} {problem}",
        hint=load_schema()["properties"][key]["description"],
    )


def _build_config(settings: Mapping[str, Setting], environ: Mapping[str, str]) -> Config:
    if "url" not in settings:
        raise UserError(
            "url is not set",
            hint=f"{option_name('url')} or {variable_name('url')}: {_key_description('url')}",
        )
    for key in ("listen", "relay"):
        if key in settings and int(settings[key].value.rpartition(":")[2]) > 65535:
            raise _setting_error(key, settings[key], "has no such port: the last one is 65535")
    _check_engine(settings)
    _check_checkout_image(settings)
    policy = (
        policy_file.load_policy(Path(settings["policy"].value))
        if "policy" in settings
        else Policy()
    )
    if settings["engine"].value == "local":
        policy = policies.without_profiles(policy)
    sweep_every, backfill = (
        _parse_seconds(settings, "sweepEvery"),
        _parse_seconds(settings, "backfill"),
    )
    if sweep_every < _SWEEP_MIN_SECONDS:
        raise _setting_error("sweepEvery", settings["sweepEvery"], "is too often")
    if backfill > policy.history:
        raise _setting_error(
            "backfill",
            settings["backfill"],
            f"is longer than the policy's history, {_format_seconds(policy.history)}",
        )
    token, app_key = _resolve_credential(settings, environ)
    if settings["checks"].value and app_key is None:
        raise _setting_error(
            "checks",
            settings["checks"],
            "needs a GitHub App: with a token no check run can be made",
        )
    secret = _resolve_secret(settings, environ, "webhookSecretFile")
    if secret is None and not settings["poll"].value:
        hint = "webhookSecretFile or FYRE_WEBHOOK_SECRET; or poll: true, where no webhook is to be taken"
        raise UserError(
            "there is no webhook secret, and unsigned deliveries are never taken", hint=hint
        )
    shared = _resolve_secret(settings, environ, "keyFile")
    if shared is not None and len(shared.read_secret()) < _KEY_MIN_LENGTH:
        raise UserError(
            f"{shared.origin}: {shared.description} is shorter than {_KEY_MIN_LENGTH} characters",
            hint="openssl rand -hex 32",
        )
    _check_lease(settings, shared)
    return Config(
        settings,
        policy,
        token,
        app_key,
        None if settings["poll"].value else secret,
        shared,
        sweep_every,
        backfill,
    )


def _check_lease(settings: Mapping[str, Setting], shared_key: Secret | None) -> None:
    """What several receivers need, each of them."""
    if "lease" in settings and "advertise" not in settings:
        raise _setting_error(
            "lease", settings["lease"], "needs advertise: the others hand on to whoever leads"
        )
    if "lease" in settings and "logStore" not in settings:
        hint = "a bucket's URL, or a folder on a volume that all have: logs on another's disk show no page"
        raise UserError(
            f"{settings['lease'].origin}: lease: receivers must share a logStore, and there is none",
            hint=hint,
        )
    if "lease" in settings and shared_key is None:
        hint = "keyFile or FYRE_KEY: without it each receiver would take the others' runs for somebody else's"
        raise UserError(
            f"{settings['lease'].origin}: lease: receivers must share a key, and there is none",
            hint=hint,
        )


def _check_engine(settings: Mapping[str, Setting]) -> None:
    """What is said of the other engine would be passed over in silence, and so is refused."""
    engine = settings["engine"].value
    for key in ("jobs",) if engine == "kubernetes" else _KUBERNETES_KEYS:
        if key in settings:
            raise _setting_error(key, settings[key], f"is nothing for engine {engine}")
    if engine == "kubernetes" and "policy" not in settings:
        hint = f"{option_name('policy')} or {variable_name('policy')}: {_key_description('policy')}"
        raise UserError("policy is not set, and engine kubernetes needs one", hint=hint)
    if "relayUrl" in settings and "relay" not in settings:
        raise _setting_error(
            "relayUrl", settings["relayUrl"], "is of a relay, and relay is not set"
        )


def _check_checkout_image(settings: Mapping[str, Setting]) -> None:
    """A name that is no image would fail each run, and not the start."""
    try:
        notation.parse_image(settings["checkoutImage"].value)
    except notation.BadValueError as error:
        raise _setting_error(
            "checkoutImage", settings["checkoutImage"], "is not an image"
        ) from error


def _resolve_credential(
    settings: Mapping[str, Setting], environ: Mapping[str, str]
) -> tuple[Secret | None, Secret | None]:
    """The token, or the App's key."""
    token, key = (
        _resolve_secret(settings, environ, "tokenFile"),
        _resolve_secret(settings, environ, "appPrivateKeyFile"),
    )
    if token is None and key is None and "appId" not in settings:
        hint = "tokenFile or FYRE_TOKEN; or appId and appPrivateKeyFile or FYRE_APP_PRIVATE_KEY"
        raise UserError("there is no credential for the forge", hint=hint)
    if token is not None and (key is not None or "appId" in settings):
        other = key.origin if key is not None else settings["appId"].origin
        raise UserError(
            f"a token ({token.origin}) and an App ({other}) are two credentials",
            hint="give one of them",
        )
    if token is None and key is None:
        raise _setting_error(
            "appId", settings["appId"], "needs appPrivateKeyFile or FYRE_APP_PRIVATE_KEY"
        )
    if key is not None and "appId" not in settings:
        raise UserError(
            f"appId is not set, and there is a private key ({key.origin})",
            hint=_key_description("appId"),
        )
    if key is not None:
        create_app_auth(settings["appId"].value, key.read_secret())
    if token is not None and len(token.read_secret().split()) != 1:
        raise UserError(
            f"{token.origin}: the forge's token has blanks in it",
            hint="one token, and nothing else",
        )
    return token, key


def _resolve_secret(
    settings: Mapping[str, Setting], environ: Mapping[str, str], key: str
) -> Secret | None:
    """The secret of a key: from the file that the environment or an option names, the environment, the file."""
    direct, given = environ.get(SECRET_VARIABLES[key], ""), settings.get(key)
    if direct and given is not None and given.origin.startswith(("FYRE_", "--")):
        raise UserError(
            f"{SECRET_VARIABLES[key]} and {given.origin} are two of {_SECRET_DESCRIPTIONS[key]}",
            hint="give one of them",
        )
    if direct:
        return Secret(_SECRET_DESCRIPTIONS[key], SECRET_VARIABLES[key], value=direct)
    return (
        Secret(_SECRET_DESCRIPTIONS[key], given.origin, path=Path(given.value))
        if given is not None
        else None
    )


def _parse_seconds(settings: Mapping[str, Setting], key: str) -> float:
    try:
        return float(notation.parse_duration(settings[key].value))
    except notation.BadValueError as error:
        raise UserError(
            f"{settings[key].origin}: {key}: {error.args[0]}", hint=error.hint
        ) from error


def _format_seconds(seconds: float) -> str:
    return notation.format_exact_duration(int(seconds))


def _key_description(key: str) -> str:
    return str(load_schema()["properties"][key]["description"])

"""Configuration of ``fyre serve``: options override variables, variables the YAML file.

All of it is checked once, here. An error names the place where the value was given, the key, the
value and what is allowed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fyre.apps.config_sources import (
    Setting,
    load_schema,
    option_name,
    setting_error,
    settings_from_file,
    settings_from_texts,
    variable_name,
)
from fyre.apps.engine_registry import find_engine, profile_sections
from fyre.apps.secret_file import Secret
from fyre.errors import UserError
from fyre.github.app_auth import create_app_auth
from fyre.message import credential_scan, value_parsers
from fyre.runs import policy_file
from fyre.runs.policy import Policy

SECRET_VARIABLES = {
    "tokenFile": "FYRE_TOKEN",
    "appPrivateKeyFile": "FYRE_APP_PRIVATE_KEY",
    "webhookSecretFile": "FYRE_WEBHOOK_SECRET",
    "keyFile": "FYRE_KEY",
}
"""By the key of a secret's file: the environment variable that may hold the secret instead."""

_SECRET_DESCRIPTIONS = {
    "tokenFile": "the forge's token",
    "appPrivateKeyFile": "the App's private key",
    "webhookSecretFile": "the webhook's secret",
    "keyFile": "the key that receivers share",
}
_KEY_CAPABILITIES = {
    "jobs": "slots",
    "kubeconfig": "cluster",
    "context": "cluster",
    "relay": "relay",
    "relayUrl": "relay",
    "logStore": "log_store",
    "lease": "cluster",
    "advertise": "cluster",
}
"""By a key that not every engine honours: the capability that it needs."""

_KEY_MIN_LENGTH = 32  # characters
_SWEEP_MIN_SECONDS = 10  # each sweep asks the forge about every repository


@dataclass(frozen=True, slots=True)
class Config:
    """The checked configuration.

    Times are in seconds. Exactly one of ``token`` and ``app_key`` is set.
    """

    settings: Mapping[str, Setting]
    policy: Policy
    token: Secret | None
    app_key: Secret | None
    webhook_secret: Secret | None  # None: no webhooks are accepted
    shared_key: Secret | None  # None: Fyre's own secrets are stored under ``state``
    sweep_every: float
    backfill: float

    def get(self, key: str) -> Any:  # noqa: ANN401 - as the schema types it
        """Return the value of a key; None if it was not given and has no default."""
        return self.settings[key].value if key in self.settings else None

    @property
    def listen_address(self) -> tuple[str, int]:
        """The host and the port to listen on."""
        host, _, port = self.get("listen").rpartition(":")
        return host.strip("[]"), int(port)

    @property
    def api_url(self) -> str:
        """The base URL of the forge's REST API."""
        return str(self.get("api") or default_api_url(self.get("forge"))).rstrip("/")


def default_api_url(forge_url: str) -> str:
    """Return the usual URL of a forge's REST API.

    It is that of GitHub, of GitHub with data residency, or of GitHub Enterprise Server.
    """
    host = forge_url.partition("://")[2].lower()
    return (
        f"https://api.{host}"
        if host == "github.com" or host.endswith(".ghe.com")
        else f"{forge_url}/api/v3"
    )


def load_config(
    path: Path | None, environ: Mapping[str, str], options: Mapping[str, str]
) -> Config:
    """Return the configuration from all sources; raise ``UserError``, which shows no secret."""
    try:
        settings = {
            key: Setting(schema_of_key["default"], "default")
            for key, schema_of_key in load_schema()["properties"].items()
            if "default" in schema_of_key
        }
        settings |= settings_from_file(path) if path is not None else {}
        settings |= settings_from_texts(
            {
                variable_name(key): (key, environ.get(variable_name(key), ""))
                for key in load_schema()["properties"]
            }
        )
        settings |= settings_from_texts(
            {option_name(key): (key, text) for key, text in options.items()}
        )
        return _build_config(settings, environ)
    except UserError as error:
        raise UserError(
            credential_scan.mask_credentials(error.message),
            hint=error.hint,
            exit_code=error.exit_code,
        ) from error.__cause__


def _build_config(settings: Mapping[str, Setting], environ: Mapping[str, str]) -> Config:
    if "url" not in settings:
        raise UserError(
            "url is not set",
            hint=f"{option_name('url')} or {variable_name('url')}: {_key_description('url')}",
        )
    for key in ("listen", "relay"):
        if key in settings and int(settings[key].value.rpartition(":")[2]) > 65535:
            raise setting_error(key, settings[key], "has no such port: the last one is 65535")
    _check_engine(settings)
    _check_checkout_image(settings)
    policy = (
        policy_file.load_policy(Path(settings["policy"].value), profile_sections())
        if "policy" in settings
        else Policy()
    )
    policy = find_engine(settings["engine"].value).capabilities.applicable_policy(policy)
    sweep_every, backfill = (
        _parse_seconds(settings, "sweepEvery"),
        _parse_seconds(settings, "backfill"),
    )
    if sweep_every < _SWEEP_MIN_SECONDS:
        raise setting_error("sweepEvery", settings["sweepEvery"], "is too often")
    if backfill > policy.history:
        raise setting_error(
            "backfill",
            settings["backfill"],
            f"is longer than the policy's history, {_format_seconds(policy.history)}",
        )
    token, app_key = _resolve_credential(settings, environ)
    if settings["checks"].value and app_key is None:
        raise setting_error(
            "checks",
            settings["checks"],
            "needs a GitHub App: with a token no check run can be made",
        )
    webhook_secret = _resolve_secret(settings, environ, "webhookSecretFile")
    if webhook_secret is None and not settings["poll"].value:
        hint = "webhookSecretFile or FYRE_WEBHOOK_SECRET; or poll: true, to accept no webhooks"
        raise UserError(
            "there is no webhook secret, and unsigned deliveries are never accepted", hint=hint
        )
    shared_key = _resolve_secret(settings, environ, "keyFile")
    if shared_key is not None and len(shared_key.read_secret()) < _KEY_MIN_LENGTH:
        raise UserError(
            f"{shared_key.origin}: {shared_key.description} is shorter than "
            f"{_KEY_MIN_LENGTH} characters",
            hint="openssl rand -hex 32",
        )
    _check_lease(settings, shared_key)
    return Config(
        settings,
        policy,
        token,
        app_key,
        None if settings["poll"].value else webhook_secret,
        shared_key,
        sweep_every,
        backfill,
    )


def _check_lease(settings: Mapping[str, Setting], shared_key: Secret | None) -> None:
    """Raise ``UserError`` if something is missing that each of several receivers needs."""
    if "lease" in settings and "advertise" not in settings:
        raise setting_error(
            "lease", settings["lease"], "needs advertise: the other replicas connect to the leader"
        )
    if "lease" in settings and "logStore" not in settings:
        hint = (
            "a bucket's URL, or a folder on a shared volume: "
            "run pages can't show logs on another replica's disk"
        )
        raise UserError(
            f"{settings['lease'].origin}: lease: receivers must share a logStore, "
            "and there is none",
            hint=hint,
        )
    if "lease" in settings and shared_key is None:
        hint = (
            "keyFile or FYRE_KEY: without it each receiver would take the runs of the others "
            "for somebody else's"
        )
        raise UserError(
            f"{settings['lease'].origin}: lease: receivers must share a key, and there is none",
            hint=hint,
        )


def _check_engine(settings: Mapping[str, Setting]) -> None:
    """Raise ``UserError`` for keys of other engines: they would be ignored silently."""
    engine = settings["engine"].value
    capabilities = find_engine(engine).capabilities
    for key, capability in _KEY_CAPABILITIES.items():
        if key in settings and not getattr(capabilities, capability):
            raise setting_error(key, settings[key], f"has no effect with engine {engine}")
    if capabilities.profiles and "policy" not in settings:
        hint = f"{option_name('policy')} or {variable_name('policy')}: {_key_description('policy')}"
        raise UserError(f"policy is not set, and engine {engine} needs one", hint=hint)
    if "relayUrl" in settings and "relay" not in settings:
        raise setting_error("relayUrl", settings["relayUrl"], "needs relay, which is not set")


def _check_checkout_image(settings: Mapping[str, Setting]) -> None:
    """Raise ``UserError`` if the checkout image is no image: each run would fail later."""
    try:
        value_parsers.parse_image(settings["checkoutImage"].value)
    except value_parsers.BadValueError as error:
        raise setting_error(
            "checkoutImage", settings["checkoutImage"], "is not an image"
        ) from error


def _resolve_credential(
    settings: Mapping[str, Setting], environ: Mapping[str, str]
) -> tuple[Secret | None, Secret | None]:
    """Return the token or the App's private key; raise ``UserError`` unless there is just one."""
    token, app_key = (
        _resolve_secret(settings, environ, "tokenFile"),
        _resolve_secret(settings, environ, "appPrivateKeyFile"),
    )
    if token is None and app_key is None and "appId" not in settings:
        hint = "tokenFile or FYRE_TOKEN; or appId and appPrivateKeyFile or FYRE_APP_PRIVATE_KEY"
        raise UserError("there is no credential for the forge", hint=hint)
    if token is not None and (app_key is not None or "appId" in settings):
        other = app_key.origin if app_key is not None else settings["appId"].origin
        raise UserError(
            f"a token ({token.origin}) and an App ({other}) are two credentials",
            hint="give one of them",
        )
    if token is None and app_key is None:
        raise setting_error(
            "appId", settings["appId"], "needs appPrivateKeyFile or FYRE_APP_PRIVATE_KEY"
        )
    if app_key is not None and "appId" not in settings:
        raise UserError(
            f"appId is not set, and there is a private key ({app_key.origin})",
            hint=_key_description("appId"),
        )
    if app_key is not None:
        create_app_auth(settings["appId"].value, app_key.read_secret())
    if token is not None and len(token.read_secret().split()) != 1:
        raise UserError(
            f"{token.origin}: the forge's token has blanks in it",
            hint="one token, and nothing else",
        )
    return token, app_key


def _resolve_secret(
    settings: Mapping[str, Setting], environ: Mapping[str, str], key: str
) -> Secret | None:
    """Return the secret of a key, if it is given.

    It is the variable for the secret, else the content of the file that the settings name. The
    variable goes before a file that is named in the YAML file; beside a file that is named by a
    variable or an option, it is an error.
    """
    value, setting = environ.get(SECRET_VARIABLES[key], ""), settings.get(key)
    if value and setting is not None and setting.origin.startswith(("FYRE_", "--")):
        raise UserError(
            f"{SECRET_VARIABLES[key]} and {setting.origin} are two of {_SECRET_DESCRIPTIONS[key]}",
            hint="give one of them",
        )
    if value:
        return Secret(_SECRET_DESCRIPTIONS[key], SECRET_VARIABLES[key], value=value)
    return (
        Secret(_SECRET_DESCRIPTIONS[key], setting.origin, path=Path(setting.value))
        if setting is not None
        else None
    )


def _parse_seconds(settings: Mapping[str, Setting], key: str) -> float:
    try:
        return float(value_parsers.parse_duration(settings[key].value))
    except value_parsers.BadValueError as error:
        raise UserError(
            f"{settings[key].origin}: {key}: {error.args[0]}", hint=error.hint
        ) from error


def _format_seconds(seconds: float) -> str:
    return value_parsers.format_exact_duration(int(seconds))


def _key_description(key: str) -> str:
    return str(load_schema()["properties"][key]["description"])

"""Configuration of ``fyre serve``: options override variables, variables the YAML file.

All of it is checked once, here: what goes together by ``config_checks``, and what is secret by
``config_secrets``. An error names the place where the value was given, the key, the
value and what is allowed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fyre.apps import config_checks, config_secrets
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
from fyre.message import credential_scan, value_parsers
from fyre.runs import policy_file
from fyre.runs.policy import Policy

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
    config_checks.check_settings(settings)
    policy = _load_policy(settings)
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
    token, app_key = config_secrets.resolve_credential(settings, environ)
    if settings["checks"].value and app_key is None:
        raise setting_error(
            "checks",
            settings["checks"],
            "needs a GitHub App: with a token no check run can be made",
        )
    webhook_secret = config_secrets.resolve_webhook_secret(settings, environ)
    shared_key = config_secrets.resolve_shared_key(settings, environ)
    config_checks.check_lease(settings, shared_key)
    return Config(
        settings,
        policy,
        token,
        app_key,
        webhook_secret,
        shared_key,
        sweep_every,
        backfill,
    )


def _load_policy(settings: Mapping[str, Setting]) -> Policy:
    """Return the policy of the file that is named, if any, for the engine that is named."""
    path = settings.get("policy")
    policy = (
        policy_file.load_policy(Path(path.value), profile_sections())
        if path is not None
        else Policy()
    )
    return find_engine(settings["engine"].value).capabilities.applicable_policy(policy)


def _parse_seconds(settings: Mapping[str, Setting], key: str) -> float:
    try:
        return float(value_parsers.parse_duration(settings[key].value))
    except value_parsers.BadValueError as error:
        raise UserError(
            f"{settings[key].origin}: {key}: {error.args[0]}", hint=error.hint
        ) from error


def _format_seconds(seconds: float) -> str:
    return value_parsers.format_exact_duration(int(seconds))

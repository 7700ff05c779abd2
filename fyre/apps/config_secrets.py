"""The secrets of ``fyre serve``: the forge's credential, the webhook's secret, the shared key.

Each comes from an environment variable, or from a file that the settings name. An error shows where
a secret was given, and never the secret.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from fyre.apps.config_sources import Setting, key_description, setting_error
from fyre.apps.secret_file import Secret
from fyre.errors import UserError
from fyre.github.app_auth import create_app_auth

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

_KEY_MIN_LENGTH = 32  # characters


def resolve_credential(
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
            hint=key_description("appId"),
        )
    if app_key is not None:
        create_app_auth(settings["appId"].value, app_key.read_secret())
    if token is not None and len(token.read_secret().split()) != 1:
        raise UserError(
            f"{token.origin}: the forge's token has blanks in it",
            hint="one token, and nothing else",
        )
    return token, app_key


def resolve_webhook_secret(
    settings: Mapping[str, Setting], environ: Mapping[str, str]
) -> Secret | None:
    """Return the webhook's secret, None if deliveries are not accepted; raise ``UserError``."""
    webhook_secret = _resolve_secret(settings, environ, "webhookSecretFile")
    if webhook_secret is None and not settings["poll"].value:
        hint = "webhookSecretFile or FYRE_WEBHOOK_SECRET; or poll: true, to accept no webhooks"
        raise UserError(
            "there is no webhook secret, and unsigned deliveries are never accepted", hint=hint
        )
    return None if settings["poll"].value else webhook_secret


def resolve_shared_key(
    settings: Mapping[str, Setting], environ: Mapping[str, str]
) -> Secret | None:
    """Return the key that receivers share, if it is given; raise ``UserError`` for a short one."""
    shared_key = _resolve_secret(settings, environ, "keyFile")
    if shared_key is not None and len(shared_key.read_secret()) < _KEY_MIN_LENGTH:
        raise UserError(
            f"{shared_key.origin}: {shared_key.description} is shorter than "
            f"{_KEY_MIN_LENGTH} characters",
            hint="openssl rand -hex 32",
        )
    return shared_key


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

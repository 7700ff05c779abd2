"""Check that the settings of ``fyre serve`` go together; an error names the one that does not."""

from __future__ import annotations

from collections.abc import Mapping

from fyre.apps.config_sources import (
    Setting,
    key_description,
    option_name,
    setting_error,
    variable_name,
)
from fyre.apps.engine_registry import find_engine
from fyre.apps.secret_file import Secret
from fyre.errors import UserError
from fyre.message import value_parsers

KEY_CAPABILITIES = {
    "jobs": "slots",
    "kubeconfig": "cluster",
    "context": "cluster",
    "relay": "relay",
    "relayUrl": "relay",
    "logStore": "log_store",
    "artifactStore": "outputs",
    "lease": "cluster",
    "advertise": "cluster",
}
"""By a key that not every engine honours: the capability that it needs."""


PORT_MAX = 65535


def check_settings(settings: Mapping[str, Setting]) -> None:
    """Raise ``UserError`` for the first setting that is missing, or does not go with another."""
    if "url" not in settings:
        raise UserError(
            "url is not set",
            hint=f"{option_name('url')} or {variable_name('url')}: {key_description('url')}",
        )
    for key in ("listen", "relay"):
        if key in settings and int(settings[key].value.rpartition(":")[2]) > PORT_MAX:
            raise setting_error(key, settings[key], f"has no such port: the last one is {PORT_MAX}")
    _check_engine(settings)
    _check_images(settings)


def _check_engine(settings: Mapping[str, Setting]) -> None:
    """Raise ``UserError`` for keys of other engines: they would be ignored silently."""
    engine = settings["engine"].value
    capabilities = find_engine(engine).capabilities
    for key, capability in KEY_CAPABILITIES.items():
        if key in settings and not getattr(capabilities, capability):
            raise setting_error(key, settings[key], f"has no effect with engine {engine}")
    if capabilities.profiles and "policy" not in settings:
        hint = f"{option_name('policy')} or {variable_name('policy')}: {key_description('policy')}"
        raise UserError(f"policy is not set, and engine {engine} needs one", hint=hint)
    if "relayUrl" in settings and "relay" not in settings:
        raise setting_error("relayUrl", settings["relayUrl"], "needs relay, which is not set")
    if "uploadImage" in settings and "relay" not in settings:
        raise setting_error("uploadImage", settings["uploadImage"], "needs relay, which is not set")


def _check_images(settings: Mapping[str, Setting]) -> None:
    """Raise ``UserError`` for what is no image: each run would fail later."""
    for key in ("checkoutImage", "uploadImage"):
        try:
            if key in settings:
                value_parsers.parse_image(settings[key].value)
        except value_parsers.BadValueError as error:
            raise setting_error(key, settings[key], "is not an image") from error


def check_lease(settings: Mapping[str, Setting], shared_key: Secret | None) -> None:
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

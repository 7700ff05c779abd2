"""``fyre serve``: run the receiver as a service; its options are the keys of its configuration."""

from __future__ import annotations

import argparse
import json
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from fyre.errors import UserError

if TYPE_CHECKING:
    from fyre.apps.config import Config


def main(argv: list[str]) -> int:
    """Read the configuration, check it, and serve until stopped."""
    from fyre.apps import config as configs
    from fyre.apps import log_format, serve

    options = _parse_options(argv)
    path, check = options.pop("config"), options.pop("check_config")
    config = configs.load_config(
        path, os.environ, {key: text for key, text in options.items() if text is not None}
    )
    if check:
        print(_format_config(config))
        return 0
    log_format.setup_logging(config.get("logFormat"), config.get("logLevel"))
    if config.get("lease"):
        from fyre.apps.replica import Replica

        Replica(config).serve()
        return 0
    fyre_serve = serve.FyreServe(config)
    # uvicorn stops on SIGTERM, and raises it again when it has stopped: a stop is no failure.
    signal.signal(signal.SIGTERM, lambda *_: None)
    fyre_serve.serve()
    return 0


def _parse_options(argv: list[str]) -> dict[str, Any]:
    """Return the options by their keys.

    Raises ``UserError``, which shows no value, as that may be a secret.
    """
    options, unknown = _build_parser().parse_known_args(argv)
    if unknown:
        first = next((word.partition("=")[0] for word in unknown if word.startswith("-")), "")
        problem = f"no such option: {first}" if first else "it takes options, and nothing else"
        raise UserError(problem, hint="see `fyre serve --help`", exit_code=2)
    return vars(options)


def _format_config(config: Config) -> str:
    """Return each value with its origin; for a secret, only the origin."""
    from fyre.apps.config_secrets import SECRET_VARIABLES

    lines = [
        f"{key}: {json.dumps(item.value)}  # {item.origin}" for key, item in config.settings.items()
    ]
    secrets = (config.token, config.app_key, config.webhook_secret, config.shared_key)
    lines += [
        f"# {item.description}: from {item.origin}"
        for item in secrets
        if item is not None and item.origin in SECRET_VARIABLES.values()
    ]
    return "\n".join([*lines, "# configuration OK"])


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError(message, hint="see `fyre serve --help`", exit_code=2)


def _build_parser() -> argparse.ArgumentParser:
    from fyre.apps.config_sources import load_schema, option_name, variable_name

    schema = load_schema()
    parser = _Parser(prog="fyre serve", description=schema["description"], allow_abbrev=False)
    parser.add_argument(
        "--config",
        type=Path,
        default=_default_config_path(),
        metavar="FILE",
        help="YAML; or FYRE_CONFIG",
    )
    parser.add_argument(
        "--check-config", action="store_true", help="say what would be used and why, and end"
    )
    for key, key_schema in schema["properties"].items():
        default = f", {key_schema['default']}" if "default" in key_schema else ""
        help_text = f"{key_schema['description']} [{variable_name(key)}{default}]"
        parser.add_argument(
            option_name(key), dest=key, metavar=key.upper(), help=help_text.replace("%", "%%")
        )
    return parser


def _default_config_path() -> Path | None:
    path = os.environ.get("FYRE_CONFIG")
    return Path(path) if path else None

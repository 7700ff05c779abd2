"""``fyre serve``: the receiver for GitHub, as a service. Its options are the keys of its configuration."""

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
    """Read what was said, check it, and serve until told to stop."""
    from fyre.apps import config as configs
    from fyre.apps import log_format, serve

    words = _parse_options(argv)
    path, check = words.pop("config"), words.pop("check_config")
    config = configs.load_config(
        path, os.environ, {key: text for key, text in words.items() if text is not None}
    )
    if check:
        print(_format_config(config))
        return 0
    log_format.setup_logging(config.get("logFormat"), config.get("logLevel"))
    if config.get("lease"):
        from fyre.apps.replica import Replica

        Replica(config).serve()
        return 0
    served = serve.FyreServe(config)
    # uvicorn stops on it, and raises it anew when it has stopped: that it did is no failure.
    signal.signal(signal.SIGTERM, lambda *_: None)
    served.serve()
    return 0


def _parse_options(argv: list[str]) -> dict[str, Any]:
    """The options, by their keys. Raises ``UserError``, which shows no value: it may be a secret."""
    known, unknown = _build_parser().parse_known_args(argv)
    if unknown:
        first = next((word.partition("=")[0] for word in unknown if word.startswith("-")), "")
        what = f"no such option: {first}" if first else "it takes options, and nothing else"
        raise UserError(what, hint="see `fyre serve --help`", exit_code=2)
    return vars(known)


def _format_config(config: Config) -> str:
    """Each value with where it was said; of a secret, where it is."""
    from fyre.apps.config import SECRET_VARIABLES

    lines = [
        f"{key}: {json.dumps(one.value)}  # {one.origin}" for key, one in config.settings.items()
    ]
    held = (config.token, config.app_key, config.webhook_secret, config.shared_key)
    lines += [
        f"# {one.description}: from {one.origin}"
        for one in held
        if one is not None and one.origin in SECRET_VARIABLES.values()
    ]
    return "\n".join([*lines, "# good"])


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError(message, hint="see `fyre serve --help`", exit_code=2)


def _build_parser() -> argparse.ArgumentParser:
    from fyre.apps.config import load_schema, option_name, variable_name

    known = load_schema()
    parser = _Parser(prog="fyre serve", description=known["description"], allow_abbrev=False)
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
    for key, one in known["properties"].items():
        told = f"{one['description']} [{variable_name(key)}{', ' + str(one['default']) if 'default' in one else ''}]"
        parser.add_argument(
            option_name(key), dest=key, metavar=key.upper(), help=told.replace("%", "%%")
        )
    return parser


def _default_config_path() -> Path | None:
    named = os.environ.get("FYRE_CONFIG")
    return Path(named) if named else None

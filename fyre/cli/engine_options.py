"""Refuse options that an engine has no use for: they would be ignored without a word."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from fyre.errors import UserError

if TYPE_CHECKING:
    from fyre.engines.capabilities import Capabilities

OPTION_CAPABILITIES = {
    "--jobs": "slots",
    "--keep-checkouts": "slots",
    "--kubeconfig": "cluster",
    "--context": "cluster",
    "--namespace": "cluster",
    "--image": "images",
    "--checkout-image": "cluster",
    "--upload-image": "relay",
    "--relay": "relay",
    "--log-store": "log_store",
    "--artifact-store": "outputs",
}
"""By an option that not every engine honours: the capability that it needs."""

# RFC 1123, as Kubernetes has it
_NAMESPACE_PATTERN = re.compile(r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?")


def reject_unused_options(
    engine: str, capabilities: Capabilities, given: Mapping[str, object], *, advice: str = ""
) -> None:
    """Raise ``UserError`` for the first option that was given and that the engine ignores.

    ``given`` has the values by option, false ones for those that were not given; ``advice`` is
    added to the hint, which names the engines that honour the option.
    """
    for option, value in given.items():
        if value and not getattr(capabilities, OPTION_CAPABILITIES[option]):
            hint = options_of_engines_with(OPTION_CAPABILITIES[option])
            raise UserError(
                f"{option} has no effect with engine {engine}",
                hint=f"{hint}{advice}",
                exit_code=2,
            )


def options_of_engines_with(capability: str) -> str:
    """Return the options that choose an engine with a capability: --engine a or --engine b."""
    from fyre.apps.engine_registry import find_engines_with

    return " or ".join(f"--engine {name}" for name in find_engines_with(capability))


def reject_lonely_options(needed: str, *, is_given: bool, given: Mapping[str, object]) -> None:
    """Raise ``UserError`` for an option that was given without the one that it belongs to."""
    for option, value in given.items():
        if value and not is_given:
            raise UserError(
                f"{option} goes with {needed}", hint=f"add {needed}, or leave it out", exit_code=2
            )


def validate_namespace(namespace: str) -> str:
    """Return the name of a namespace; raise ``UserError`` if no namespace can have that name."""
    if not _NAMESPACE_PATTERN.fullmatch(namespace):
        hint = "a namespace has lower-case letters, digits and '-', at most 63"
        raise UserError(f"{namespace!r} is not a namespace", hint=hint, exit_code=2)
    return namespace

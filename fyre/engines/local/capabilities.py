"""The capabilities of the local engine: a plain process here is given nothing but its code."""

from __future__ import annotations

from fyre.engines.capabilities import Capabilities

LOCAL_CAPABILITIES = Capabilities(slots=True, outputs=True)

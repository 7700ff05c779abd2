"""What the local engine can do: a plain process on this machine is given nothing but its code."""

from __future__ import annotations

from fyre.engines.capabilities import Capabilities

LOCAL_CAPABILITIES = Capabilities(slots=True)

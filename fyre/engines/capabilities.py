"""The capabilities of an engine: asked where a decision depends on the engine, never its name."""

from __future__ import annotations

from dataclasses import dataclass

from fyre.message.spec import RunSpec
from fyre.runs import policy as policies
from fyre.runs.policy import Policy


@dataclass(frozen=True, slots=True)
class Capabilities:
    """The abilities of an engine, and the options it has; what is not declared it can't do."""

    images: bool = False  # a run gets the image that it, or its profile, names
    resources: bool = False  # … the processors, memory and devices
    secrets: bool = False  # … the secrets of the cluster
    profiles: bool = False  # … a profile of the policy: without a policy there are none
    slots: bool = False  # runs at most ``jobs`` commands at once, and queues the others
    remote: bool = False  # runs elsewhere: runs go on when this machine is gone
    cluster: bool = False  # is reached by a kubeconfig; several receivers can share it, by a lease
    relay: bool = False  # commands can fetch their code from the git relay
    outputs: bool = False  # keeps what a run declares as outputs, and reads its metrics
    log_store: bool = False  # archives logs in a folder or under a URL

    def applicable_policy(self, policy: Policy) -> Policy:
        """Return the policy without bounds of what the engine gives to no run anyway."""
        if not self.profiles:
            return policies.without_profiles(policy)
        return policy if self.images else policies.without_images(policy)

    def unsupported_fields(self, spec: RunSpec) -> tuple[str, ...]:
        """Return the requests of a spec that the engine ignores, as a status names them."""
        supported = {
            "image": self.images,
            "resources": self.resources,
            "secrets": self.secrets,
            "profile": self.profiles,
            "outputs": self.outputs,
        }
        return tuple(name for name, can in supported.items() if getattr(spec, name) and not can)

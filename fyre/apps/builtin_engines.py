"""The two engines of Fyre itself, as ``pyproject.toml`` names them in ``fyre.engines``."""

from __future__ import annotations

from fyre.engines.capabilities import Capabilities
from fyre.engines.factory import EngineContext, EngineFactory, EngineRuntime
from fyre.engines.local.capabilities import LOCAL_CAPABILITIES
from fyre.runs.profile_file import ProfileSection


def _create_local(context: EngineContext) -> EngineRuntime:
    from fyre.engines.local import LocalEngine

    engine = LocalEngine(
        context.root / "engine",
        find_git_dir=context.find_git_dir,
        jobs=context.options.jobs,
        history=context.policy.history,
        keep_checkouts=context.options.keep_checkouts,
        command_umask=context.options.command_umask,
        artifacts=context.open_artifacts(),
    )
    return EngineRuntime(engine, engine.artifacts)


def _create_kubernetes(context: EngineContext) -> EngineRuntime:
    from fyre.apps.kubernetes_runtime import KubernetesCluster  # loads the client library

    return KubernetesCluster(context)


def _kubernetes_profile_section() -> ProfileSection:
    from fyre.engines.kubernetes import kubernetes_profile

    return kubernetes_profile.profile_section()


LOCAL = EngineFactory(LOCAL_CAPABILITIES, _create_local)
"""Commands as processes on this machine."""

KUBERNETES = EngineFactory(
    Capabilities(
        images=True,
        resources=True,
        secrets=True,
        profiles=True,
        remote=True,
        cluster=True,
        relay=True,
        outputs=True,
        log_store=True,
    ),
    _create_kubernetes,
    _kubernetes_profile_section,
)
"""Commands as Jobs of a cluster."""

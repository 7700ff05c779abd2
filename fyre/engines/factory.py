"""The interface of a kind of engine: what it can do, and how one is made.

A package adds a kind of engine by an entry point of the group ``fyre.engines``, which names an
``EngineFactory``.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fyre.artifacts.artifact_store import ArtifactStore, open_store
from fyre.engines.capabilities import Capabilities
from fyre.engines.protocol import Engine
from fyre.git.lfs import LfsObjectStore
from fyre.runs.policy import Policy
from fyre.runs.profile_file import ProfileSection
from fyre.runs.run import Repository, Run

SecretSource = Callable[[str], bytes]
"""A function from the name of a secret to hex digits, which are the same at every start."""


@dataclass(frozen=True)
class EngineOptions:
    """The options of the command line and the configuration; an engine reads those it has."""

    jobs: int = 1  # commands that run at once
    keep_checkouts: bool = False
    command_umask: int = -1  # of what runs on this machine; -1: that of this process
    kubeconfig: str | None = None
    context: str | None = None  # of the kubeconfig
    checkout_image: str = ""  # "": the image of the run
    upload_image: str = ""  # runs what uploads outputs; "": outputs are not kept
    # HOST:PORT to listen on for pods, or a socket that listens; "": code is streamed in by exec
    relay: str | socket.socket = ""
    relay_url: str = ""  # address of the relay for pods; "": http://HOST:PORT
    log_store: str = ""  # URL of the logs; "": in the state directory
    artifact_store: str = ""  # URL or folder of the outputs; "": in the state directory


@dataclass(frozen=True)
class EngineContext:
    """All that an engine can be made with."""

    root: Path  # an engine stores what it has in one directory below
    policy: Policy
    find_git_dir: Callable[[Repository], Path]
    find_code: Callable[[Run], Path]  # to a repository that has the commit
    find_git_dir_by_id: Callable[[int], Path | None]
    options: EngineOptions = field(default_factory=EngineOptions)
    secret_source: SecretSource | None = None  # None: secrets are stored with the engine's state
    lfs: LfsObjectStore | None = None  # for objects that the repositories lack
    fetch_commit: Callable[[int, str], None] | None = None  # that a repository lacks, by its id
    # What Jobs are signed with, b"" for nothing; None: a secret of the source above.
    job_secret: bytes | None = None

    def open_artifacts(self) -> ArtifactStore:
        """Return the store of outputs that the options name. Raises ``UserError``."""
        place = self.options.artifact_store
        if place:
            return open_store(place, self.policy)
        return ArtifactStore(self.root / "artifacts", self.policy)


class EngineRuntime:
    """An engine, and what runs beside it in this process; a subclass adds its own parts."""

    engine: Engine
    artifacts: ArtifactStore | None = None
    """The store of the outputs of its runs; None for an engine that keeps none."""

    def __init__(self, engine: Engine, artifacts: ArtifactStore | None = None) -> None:
        self.engine, self.artifacts = engine, artifacts

    def start(self) -> None:
        """Start what runs beside the engine. The engine itself runs from the beginning."""

    def stop(self) -> None:
        """Stop what runs beside the engine, which was closed before."""

    def connection_checks(self) -> Mapping[str, Callable[[], None]]:
        """Return what ``/readyz`` checks, by name.

        Each raises ``TransientError`` or ``UserError`` while the engine can't be used.
        """
        return {}

    def is_archived(self, key: str) -> bool:
        """Return True if nothing is left to do for a run, its log included."""
        record = self.engine.get_record(key)
        return record is not None and record.state.is_final


@dataclass(frozen=True)
class EngineFactory:
    """A kind of engine: what it can do, and a function that makes one.

    ``create`` raises ``UserError`` if the engine can't be used.
    """

    capabilities: Capabilities
    create: Callable[[EngineContext], EngineRuntime]

    profile_section: Callable[[], ProfileSection] | None = None
    """A function that returns the engine's own keys in a profile of the policy, which stand under
    the engine's name; None if it has none. It is called by every command that reads a policy with
    such a section, so it should load little. What the section's parser returns is in
    ``Profile.sections``, by the engine's name."""

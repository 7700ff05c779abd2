"""Engines that other packages add, found by the metadata of a distribution."""

from __future__ import annotations

import asyncio
import hashlib
import importlib
import os
import socket
import subprocess
import sys
import tomllib
from dataclasses import fields
from pathlib import Path

import pytest

from fyre.apps import config as configs
from fyre.apps import engine_registry
from fyre.apps import up as up_module
from fyre.apps.config_checks import KEY_CAPABILITIES
from fyre.apps.up import FyreUp
from fyre.cli import main
from fyre.engines.capabilities import Capabilities
from fyre.engines.factory import EngineContext, EngineFactory, EngineOptions, EngineRuntime
from fyre.errors import UserError
from fyre.git import lfs
from fyre.github.errors import NotFoundError
from fyre.message.spec import RunSpec
from fyre.runs import policy as policies
from fyre.runs import policy_file
from tests.conftest import git, one_at_a_time
from tests.support.ci_marks import long_case
from tests.support.person import NAME, Person

ROOT = Path(__file__).parents[3]

MODULE = '''\
"""An engine of another package: this machine, and a note of each launch."""

from fyre.engines.capabilities import Capabilities
from fyre.engines.factory import EngineFactory, EngineRuntime
from fyre.engines.local import LocalEngine
from fyre.runs import policy as policies
from fyre.runs.profile_file import ProfileSection

SECTION = ProfileSection(
    {"properties": {"title": {"description": "The head of a note: Quick.", "type": "string"}}},
    lambda section: section.texts.get("title", "untitled"),
)


class NotingEngine(LocalEngine):
    name = "noting"

    def __init__(self, root, context):
        self.notes, self.policy = root / "notes", context.policy
        super().__init__(root, find_git_dir=context.find_git_dir, jobs=context.options.jobs)

    def launch(self, run):
        profile = policies.select_profile(self.policy, run.spec)
        title = profile.sections.get("noting", "no section")
        with self.notes.open("a") as file:
            file.write(f"{title}: {run.spec.command}\\n")
        return super().launch(run)


class NotingRuntime(EngineRuntime):
    def start(self):
        self.engine.notes.write_text("started\\n")

    def stop(self):
        with self.engine.notes.open("a") as file:
            file.write("stopped\\n")


def create(context):
    return NotingRuntime(NotingEngine(context.root / "noting", context))


FACTORY = EngineFactory(Capabilities(slots=True, profiles=True), create, lambda: SECTION)
NO_SCHEMA = EngineFactory(Capabilities(), create, lambda: ProfileSection({"properties": 5}))
NO_FACTORY = "just a text"
'''
ENTRY_POINTS = """\
[fyre.engines]
noting = noting_engine:FACTORY
text = noting_engine:NO_FACTORY
unsound = noting_engine:NO_SCHEMA
broken = noting_engine.missing:FACTORY
local = noting_engine:NO_FACTORY
"""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of installed packages, with the distribution in it."""
    site = tmp_path / "site"
    metadata = site / "noting_engine-1.0.dist-info"
    metadata.mkdir(parents=True)
    (site / "noting_engine.py").write_text(MODULE)
    (metadata / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: noting-engine\nVersion: 1.0\nRequires-Dist: fyre\n"
    )
    (metadata / "entry_points.txt").write_text(ENTRY_POINTS)
    monkeypatch.syspath_prepend(str(site))
    importlib.invalidate_caches()
    monkeypatch.delitem(sys.modules, "noting_engine", raising=False)
    return site


def test_the_engine_of_another_package_runs_what_is_pushed(
    site: Path, tmp_path: Path, repo: Path
) -> None:
    root = tmp_path / "state"
    options = EngineOptions(jobs=1)
    with one_at_a_time() as start:
        up = start(lambda: FyreUp(root, "127.0.0.1", 0, engine="noting", options=options))
        git("remote", "add", "origin", f"{up.url}/{NAME}.git", cwd=repo)
        person = Person(up, repo)
        status = person.final(person.run("echo from elsewhere"))
        assert (status["state"], person.log(status)) == ("success", "from elsewhere\n")
        assert up.engine.name == "noting"
    notes = (root / "noting" / "notes").read_text().splitlines()
    assert notes == ["started", "no section: echo from elsewhere", "stopped"]


POLICY = """\
profiles:
  default: {}
  fast:
    noting: {title: Quick}
    kubernetes: {queue: fast}
    slurm: {partition: fast}
"""


def test_9_33_an_engine_of_up_gets_what_the_forge_took_of_lfs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    contexts: list[EngineContext] = []

    class StartedError(Exception):
        pass

    def create(context: EngineContext) -> EngineRuntime:
        contexts.append(context)
        raise StartedError

    monkeypatch.setattr(
        up_module, "find_engine", lambda _: EngineFactory(Capabilities(remote=True), create)
    )
    listener = socket.create_server(("127.0.0.1", 0))
    monkeypatch.setattr(up_module, "_bind_socket", lambda *_: listener)
    with listener, pytest.raises(StartedError):
        FyreUp(tmp_path, "127.0.0.1", 0)
    (context,) = contexts
    assert context.lfs
    lfs_object = lfs.LfsObject(hashlib.sha256(b"content").hexdigest(), 7)
    with pytest.raises(NotFoundError):
        asyncio.run(context.lfs.ensure_object(1, tmp_path, lfs_object))
    path = lfs.object_path(tmp_path, lfs_object)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"content")
    assert asyncio.run(context.lfs.ensure_object(1, tmp_path, lfs_object)) == path
    context.lfs.close()


def test_its_section_of_a_profile_reaches_it(site: Path, tmp_path: Path, repo: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(POLICY)
    capabilities = engine_registry.find_engine("noting").capabilities
    policy = capabilities.applicable_policy(
        policy_file.load_policy(path, engine_registry.profile_sections())
    )
    root = tmp_path / "state"
    with one_at_a_time() as start:
        up = start(lambda: FyreUp(root, "127.0.0.1", 0, engine="noting", policy=policy))
        git("remote", "add", "origin", f"{up.url}/{NAME}.git", cwd=repo)
        person = Person(up, repo)
        for options in ([], ["Fyre-Profile: fast"]):
            assert person.final(person.run("true", *options))["state"] == "success"
    notes = (root / "noting" / "notes").read_text().splitlines()
    assert notes == ["started", "no section: true", "Quick: true", "stopped"]


@pytest.mark.parametrize(
    ("section", "message", "hint"),
    [
        ("noting: {titel: Quick}", "noting.titel: unknown key 'titel'", "did you mean title?"),
        ("noting: {title: 5}", "noting.title: must be ", "The head of a note: Quick."),
        ("notign: {title: Quick}", "notign: unknown key 'notign'", "did you mean noting?"),
        ("broken: {}", "broken: engine 'broken' can't be loaded: ", "package noting-engine"),
        ("text: {}", "text: engine 'text' can't be used: ", "the package noting-engine"),
        ("unsound: {}", "the profile section of engine 'unsound' has no JSON schema", "noting-"),
    ],
)
def test_its_section_is_checked_where_it_is_installed(
    site: Path, tmp_path: Path, section: str, message: str, hint: str
) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(f"profiles:\n  fast:\n    {section}\n")
    with pytest.raises(UserError) as refused:
        policy_file.load_policy(path, engine_registry.profile_sections())
    assert refused.value.message.startswith(f"{path} line 3: {section!r}: profiles.fast.")
    assert message in refused.value.message
    assert hint in refused.value.hint


def test_a_package_that_is_broken_stops_no_policy_without_its_section(site: Path) -> None:
    text = "profiles: {fast: {noting: {title: Quick}}}"
    policy = policy_file.parse_policy(text, sections=engine_registry.profile_sections())
    assert (policy.profiles or {})["fast"].sections == {"noting": "Quick"}


@long_case
def test_the_command_line_knows_it(site: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "fyre", "up", "--engine", "noting", "--port", "0"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(site), str(ROOT)))}
    with subprocess.Popen(
        [*command, "--root", str(tmp_path / "state")],
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    ) as server:
        assert server.stderr is not None
        assert server.stderr.readline().startswith("ready http://127.0.0.1:")
        server.terminate()
    assert (tmp_path / "state" / "noting" / "notes").exists()


def test_the_configuration_of_a_receiver_knows_it(site: Path, tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text(POLICY)
    environment = {
        "FYRE_POLICY": str(tmp_path / "policy.yaml"),
        "FYRE_URL": "https://fyre.example",
        "FYRE_TOKEN": "token",
        "FYRE_POLL": "true",
        "FYRE_STATE": str(tmp_path),
    }
    config = configs.load_config(None, environment, {"engine": "noting", "jobs": "2"})
    assert (config.get("engine"), config.get("jobs")) == ("noting", 2)
    assert (config.policy.profiles or {})["fast"].sections["noting"] == "Quick"
    with pytest.raises(UserError) as refused:
        configs.load_config(None, environment, {"engine": "noting", "relay": "10.0.0.1:80"})
    assert refused.value.message == "--relay: relay: '10.0.0.1:80' has no effect with engine noting"
    assert "noting" not in configs.load_schema()["properties"]["engine"]["enum"]


@pytest.mark.parametrize("command", ["up", "dispatch"])
def test_an_unknown_engine_is_refused_with_those_that_there_are(
    command: str, capfd: pytest.CaptureFixture[str], site_or_none: list[str]
) -> None:
    assert main.main([command, "--engine", "slurm"]) == 2
    assert capfd.readouterr().err.splitlines() == [
        "error: there is no engine 'slurm'",
        "hint: " + " or ".join(f"--engine {name}" for name in site_or_none),
    ]


@pytest.fixture(params=["alone", "with another package"])
def site_or_none(request: pytest.FixtureRequest) -> list[str]:
    """The names of the engines, without and with the distribution."""
    if request.param == "alone":
        return ["local", "kubernetes"]
    request.getfixturevalue("site")
    return ["local", "kubernetes", "broken", "noting", "text", "unsound"]


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("broken", "engine 'broken' can't be loaded: ModuleNotFoundError: "),
        ("text", "engine 'text' can't be used: noting_engine:NO_FACTORY is no EngineFactory"),
    ],
)
def test_an_engine_that_is_broken_is_said_in_a_line(site: Path, name: str, problem: str) -> None:
    with pytest.raises(UserError) as refused:
        engine_registry.find_engine(name)
    assert refused.value.message.startswith(problem)
    assert refused.value.hint == (
        "the package noting-engine provides it: is it made for this version of Fyre?"
    )


def test_no_package_replaces_an_engine_of_fyre(site: Path) -> None:
    assert engine_registry.find_engine("local").capabilities == Capabilities(
        slots=True, outputs=True
    )


def test_the_project_declares_the_engines_that_the_registry_knows() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["entry-points"][engine_registry.GROUP] == engine_registry.BUILTIN_ENGINES
    schema = configs.load_schema()["properties"]["engine"]
    assert schema["enum"] == list(engine_registry.BUILTIN_ENGINES)


def test_every_key_of_the_configuration_needs_a_capability_that_there_is() -> None:
    known = {field.name for field in fields(Capabilities)}
    assert set(KEY_CAPABILITIES.values()) <= known
    assert set(KEY_CAPABILITIES) <= set(configs.load_schema()["properties"])


@pytest.mark.parametrize(
    ("capabilities", "ignored"),
    [
        (Capabilities(), ("image", "resources", "secrets", "profile")),
        (Capabilities(images=True, secrets=True), ("resources", "profile")),
        (Capabilities(images=True, resources=True, secrets=True, profiles=True), ()),
    ],
)
def test_what_an_engine_ignores_follows_from_what_it_can_do(
    capabilities: Capabilities, ignored: tuple[str, ...]
) -> None:
    spec = RunSpec("make", image="ruby", resources=(("cpu", "1"),), secrets=("key",), profile="gpu")
    assert capabilities.unsupported_fields(spec) == ignored
    assert capabilities.unsupported_fields(RunSpec("make")) == ()


@pytest.mark.parametrize(
    ("capabilities", "refused"),
    [
        (Capabilities(), ("", "")),
        (Capabilities(profiles=True), ("", "there is no profile")),
        (Capabilities(profiles=True, images=True), ("no image: neither", "there is no profile")),
    ],
)
def test_a_policy_bounds_what_the_engine_can_do(
    capabilities: Capabilities, refused: tuple[str, str]
) -> None:
    text = "images: []\nprofiles: {default: {}}"
    policy = policy_file.parse_policy(text, sections=engine_registry.profile_sections())
    applicable = capabilities.applicable_policy(policy)
    for spec, start in zip((RunSpec("make"), RunSpec("make", profile="x")), refused, strict=True):
        found = policies.find_violation(applicable, spec)
        assert found.startswith(start)
        assert bool(found) == bool(start)


def test_a_local_engine_starts_without_a_look_at_what_is_installed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def unasked(**_: object) -> None:
        pytest.fail("installed packages are scanned for an engine of Fyre's own")

    monkeypatch.setattr(engine_registry, "entry_points", unasked)
    for name in engine_registry.BUILTIN_ENGINES:
        assert engine_registry.find_engine(name).capabilities.slots is (name == "local")

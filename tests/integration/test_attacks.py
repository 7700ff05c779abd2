"""Try attacks seen elsewhere against a whole ``fyre serve``.

SECURITY.md names the rule that each of them meets.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import requests

from tests.support import apps
from tests.support.ci_marks import LONG_CASE
from tests.support.forge_troubles import Asked
from tests.support.serve_fixture import Make, World, make, world
from tests.support.waiting import until

pytestmark = [*LONG_CASE]

__all__ = ["make", "world"]  # fixtures

ROOT = Path(__file__).parents[2]


@contextmanager
def thief() -> Iterator[tuple[str, list[str]]]:
    """Run a server that asks for a password; yield its address and the credentials it received."""
    stolen: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            stolen.append(self.headers.get("Authorization") or "")
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="forge"')
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_POST = answer  # noqa: N815 - the names that http.server calls

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://localhost:{server.server_address[1]}", stolen
        server.shutdown()
        thread.join()


def secrets(world: World) -> list[str]:
    """Everything that nobody but the receiver may know."""
    return [
        *world.secrets,
        *world.front.github.tokens,
        apps.pem(apps.private_key()).splitlines()[5],
    ]


def test_names_and_texts_that_would_be_commands_stay_texts(
    world: World, make: Make, tmp_path: Path
) -> None:
    lab, bad = make(), f"touch${{IFS}}{tmp_path}/pwned"
    evil = f"x;{bad};`{bad}`$({bad})"
    (lab.path / "$(touch pwned);`touch pwned`{{x}}").write_text("")
    lab.git("add", "-A")
    lab.git("config", "user.name", f"$({bad})")
    lab.git("checkout", "-q", "-b", evil.replace("/", "//").replace("//", "/"))
    sha = lab.commit(
        f"::set-output name=x::y ##vso[task.setvariable]$({bad})",
        "",
        'Fyre-Run: printf "%s" "$FYRE_REF"',
        "Fyre-Env: X=$(touch pwned)`touch pwned`",
    )
    lab.git("push", "-q", "origin", "HEAD")
    assert lab.final(sha).startswith("exit 0")
    assert lab.log(sha) == f"refs/heads/{evil}"
    assert [str(path) for path in tmp_path.rglob("pwned")] == []


def test_a_page_or_figure_is_for_nobody_who_only_says_that_he_may(world: World, make: Make) -> None:
    lab = make()
    sha = lab.run("echo private")
    assert lab.final(sha).startswith("exit 0")
    page = lab.statuses(sha)[0]["target_url"].rpartition("/")[2]
    paths = [
        "/",
        "/runs",
        "/runs.json",
        "/api",
        "/api/user",
        "/git/1.git/info/refs",
        "/openapi.json",
        "/docs",
    ]
    guesses = [
        page[:-1] + ("0" if page[-1] != "0" else "1"),
        page.partition("-")[0],
        page[::-1],
        "%2e%2e%2f" + page,
    ]
    paths += [f"/runs/{guess}{suffix}" for guess in guesses for suffix in ("", ".json", "/log")]
    for shown in ("", "Bearer nothing", "Bearer null", "Basic Og==", "token ", f"Bearer {page}"):
        with requests.Session() as session:
            session.headers["Authorization"] = shown
            assert {session.get(world.serve.listen_url + path).status_code for path in paths} == {
                404
            }
            assert session.post(world.serve.listen_url + "/webhook", b"{}").status_code == 401
            told = "".join(
                session.get(f"{world.serve.listen_url}/{open_}").text
                for open_ in ("healthz", "readyz", "metrics")
            )
        assert not [one for one in (lab.name, sha, page, *secrets(world)) if one in told]


@pytest.mark.parametrize("late", [False, True], ids=["at-once", "once-it-is-shown"])
def test_no_credential_goes_where_a_redirect_or_a_link_leads(
    world: World, make: Make, caplog: pytest.LogCaptureFixture, *, late: bool
) -> None:
    lab = make()
    with thief() as (away, stolen):

        def trouble(asked: Asked) -> tuple[int, object, dict[str, str]] | None:
            if not asked.of(lab.name) or (late and not asked.token):
                return None
            if asked.path.endswith("/activity"):
                return 200, [], {"Link": f'<{away}/api/repos/x/y/activity>; rel="next"'}
            reads = asked.git or asked.method == "GET"
            return 301 if reads else 307, {}, {"Location": f"{away}{asked.path}{asked.query}"}

        with world.front.trouble(trouble):
            sha = lab.run("true")
            world.sweep()
            until(lambda: stolen and {asked.git for asked in world.front.met} == {True, False})
            until(lambda: "tried again" in caplog.text)
        assert set(stolen) == {""}
    world.sweep()
    assert lab.final(sha).startswith("exit 0")
    assert not [one for one in secrets(world) if one in caplog.text]


def test_a_run_finds_no_credential_and_no_log_goes_to_the_forge(world: World, make: Make) -> None:
    lab = make()
    sha = lab.run(
        "env; git config --list; cat .git/config .git/FETCH_HEAD; git remote -v; "
        "cat /proc/$$/environ; echo hunter2-in-a-log; exit 3"
    )
    assert lab.final(sha).startswith("exit 3 · ")
    log = lab.log(sha)
    assert f"FYRE_SHA={sha}" in log
    assert not [one for one in secrets(world) if one in log]
    assert not re.search(
        r"(?i)authorization|x-access-token|askpass|FYRE_(FORGE_)?TOKEN|FYRE_APP", log
    )
    assert not [one for one in lab.statuses(sha) if "hunter2" in str(one)]


def test_no_credential_is_in_a_command_line_or_a_file_while_git_fetches(
    world: World, make: Make
) -> None:
    lab, shown = make(), list[str]()

    def look(asked: Asked) -> None:
        if asked.git and asked.of(lab.name):
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    shown.append(path.read_bytes().decode(errors="replace"))
                except OSError:  # it ended meanwhile
                    continue
            shown.extend(
                path.read_bytes().decode(errors="replace") for path in world.mirrors.rglob("config")
            )

    with world.front.trouble(look):
        assert lab.final(lab.run("true")).startswith("exit 0")
    assert any("fetch" in one and lab.name in one for one in shown)
    assert not [one for one in secrets(world) for text in shown if one in text]


def test_nobody_reaches_for_a_pods_spec(world: World, make: Make, tmp_path: Path) -> None:
    lab = make()
    trailers = (
        "Fyre-Podspec: {hostNetwork: true}",
        "Fyre-Service-Account: admin",
        "Fyre-Volume: /:/host",
    )
    shas = [lab.commit(f"Fyre-Run: touch {tmp_path}/ran", trailer) for trailer in trailers]
    for text in (
        "podSpec: {hostPID: true}",
        "securityContext: {privileged: true}",
        "env: {A: {valueFrom: x}}",
    ):
        (lab.path / ".fyre.yaml").write_text(text)
        lab.git("add", "-A")
        shas.append(lab.commit(f"Fyre-Run: touch {tmp_path}/ran"))
    lab.git("push", "-q", "origin", "main")
    assert {lab.final(sha).partition(":")[0] for sha in shas} == {"not launched"}
    assert not (tmp_path / "ran").exists()


def test_what_crashed_a_receiver_once_would_not_crash_it_for_ever(
    world: World, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab, executor = make(), world.serve.controller.executor
    poison = lab.commit("Fyre-Run: true", "Fyre-Name: poison")
    good = lab.commit("Fyre-Run: true")
    read = executor.commit_reader.read_commit

    def commit(repository: object, sha: str) -> object:
        if sha == poison:
            raise RecursionError("what nobody thought of")
        return read(repository, sha)  # type: ignore[arg-type] # as it was given

    monkeypatch.setattr(executor.commit_reader, "read_commit", commit)
    lab.git("push", "-q", "origin", "main")
    assert lab.final(good).startswith("exit 0")
    world.sweep(anew=True)
    until(lambda: not world.serve.controller.queue_length())
    assert lab.final(poison).startswith("not launched: it can't be read")
    assert requests.get(f"{world.serve.listen_url}/healthz").status_code == 200
    assert lab.final(lab.run("true")).startswith("exit 0")


def test_every_row_of_the_threat_model_points_at_tests_that_are_there() -> None:
    text = (ROOT / "SECURITY.md").read_text()
    rows = [
        line
        for line in text.splitlines()
        if line.startswith("| ") and not line.startswith(("| ---", "| Threat"))
    ]
    attacks = [line for line in rows if "`tests/" in line]
    assert len(attacks) >= 40
    named = re.findall(r"`(tests/[\w/.]+\.py)(?:::(\w+))?`", "\n".join(attacks))
    assert len(named) >= len(attacks)
    assert [f"{file}::{test}" for file, test in named if not _has(file, test)] == []


def _has(file: str, test: str) -> bool:
    path = ROOT / file
    return path.is_file() and (not test or f"def {test}(" in path.read_text())

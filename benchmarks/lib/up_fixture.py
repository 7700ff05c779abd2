"""Run a ``fyre up`` for a benchmark, make repositories to push to it, and read its state back."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.lib.versions import CURRENT, Version

HEADERS = {"Authorization": "token benchmark"}
FYRE = (sys.executable, "-m", "fyre")


class Server:
    """A ``fyre up`` as a process of its own.

    It can be killed, and started again on the same root and port.
    """

    def __init__(
        self,
        root: Path,
        jobs: int = 2,
        options: Sequence[str] = (),
        program: Sequence[str] = FYRE,
        *,
        version: Version = CURRENT,
    ) -> None:
        self.root, self.jobs, self.port = root, jobs, 0
        self.options, self.program, self.version = options, program, version
        self.process: subprocess.Popen[str] | None = None
        self.url = ""

    def start(self) -> None:
        """Start the process and wait until it serves; raise RuntimeError if it ends instead."""
        command = [
            *self.program,
            "up",
            "--root",
            str(self.root),
            "--port",
            str(self.port),
            *([] if "kubernetes" in self.options else ["--jobs", str(self.jobs)]),
            *self.options,
        ]
        errors = (self.root.parent / "server.log").open("a")
        env, cwd = os.environ | self.version.environment, self.version.source
        self.process = subprocess.Popen(
            command, stderr=subprocess.PIPE, text=True, env=env, cwd=cwd
        )
        assert self.process.stderr is not None
        for line in self.process.stderr:
            if match := re.fullmatch(r"ready (http://[^:]+:(\d+))\n", line):
                self.url, self.port = match[1], int(match[2])
                break
            errors.write(line)
        else:
            raise RuntimeError(f"fyre up did not start; see {errors.name}")
        subprocess.Popen(["cat"], stdin=self.process.stderr, stdout=errors)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Start the process, and end it when the block ends."""
        self.start()
        try:
            yield
        finally:
            self.stop()

    def stop(self, signal_number: signal.Signals = signal.SIGTERM) -> None:
        """Send the process a signal and wait for its end."""
        if self.process is not None:
            self.process.send_signal(signal_number)
            self.process.wait()
            self.process = None

    def get(self, path: str) -> Any:  # noqa: ANN401 - what JSON holds
        """Return the JSON of a GET of its REST API."""
        with urllib.request.urlopen(
            urllib.request.Request(f"{self.url}/api{path}", headers=HEADERS), timeout=30
        ) as answer:
            return json.load(answer)

    def runs(self) -> list[dict[str, Any]]:
        """Return the runs that its first page lists."""
        with urllib.request.urlopen(f"{self.url}/runs.json", timeout=30) as answer:
            found: list[dict[str, Any]] = json.load(answer)
        return found

    def memory_mb(self) -> float:
        """Return the peak of its resident memory, in megabytes."""
        assert self.process is not None
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) / 1024  # type: ignore[index] # Linux has it


@contextmanager
def run_up(
    jobs: int = 2, version: Version = CURRENT, options: Sequence[str] = ()
) -> Iterator[tuple[Server, Path]]:
    """Run a server; yield it and the folder that it and the benchmark keep everything in."""
    with temporary_folder() as place, run_up_in(place, jobs, version, options) as running:
        yield running, place


@contextmanager
def run_up_in(
    place: Path, jobs: int, version: Version, options: Sequence[str] = ()
) -> Iterator[Server]:
    """Run a server of a version, in a folder of its own below the benchmark's."""
    root = place / "servers" / version.name / "state"
    running = Server(root, jobs, options, version=version)
    running.root.mkdir(parents=True)
    with running.running():
        yield running


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Create a folder for all state, and set a git that reads no configuration of this machine."""
    with tempfile.TemporaryDirectory(prefix="fyre-bench-", ignore_cleanup_errors=True) as name:
        os.environ.update(isolated_git(Path(name)))
        Path(name, "state").mkdir()
        yield Path(name)


def isolated_git(place: Path) -> dict[str, str]:
    """Return variables for a git that reads no configuration of this machine."""
    config = place / "gitconfig"
    config.write_text(
        "[user]\n name = Ada\n email = ada@example.org\n"
        "[init]\n defaultBranch = main\n[gc]\n auto = 0\n"
    )
    return {
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": str(config),
        "HOME": str(place),
        "GIT_TERMINAL_PROMPT": "0",
    }


def git(*args: str, cwd: Path, stdin: bytes | None = None) -> str:
    """Run git and return what it prints; raise CalledProcessError if it fails."""
    return (
        subprocess.run(["git", *args], cwd=cwd, input=stdin, check=True, capture_output=True)
        .stdout.decode()
        .strip()
    )


def create_repository(place: Path, name: str, files: int = 150) -> Path:
    """Create a repository of a usual size with one commit."""
    path = place / name
    git("init", "-q", str(path), cwd=place)
    for number in range(files):
        file = path / f"package{number % 12}" / f"module{number}.py"
        file.parent.mkdir(exist_ok=True)
        file.write_text(
            f'"""Module {number}."""\n'
            + "".join(f"def f{n}() -> int:\n    return {n}\n\n" for n in range(60))
        )
    git("add", ".", cwd=path)
    git("commit", "-q", "-m", "Code", cwd=path)
    return path


def create_commits(path: Path, messages: list[str]) -> list[str]:
    """Create a commit for each message on main, each changing a file, by one ``git fast-import``.

    Return their SHAs, oldest first.
    """
    base, now = git("rev-parse", "HEAD", cwd=path), int(time.time())
    stream = bytearray()
    for number, message in enumerate(messages):
        data, content = message.encode(), f"{number}\n".encode()
        committer = f"committer Ada <ada@example.org> {now} +0000"
        stream += f"commit refs/heads/main\n{committer}\ndata {len(data)}\n".encode() + data
        stream += (f"\nfrom {base}" if number == 0 else "").encode()
        stream += b"\nM 100644 inline counter\ndata %d\n" % len(content) + content + b"\n"
    git("fast-import", "--quiet", cwd=path, stdin=bytes(stream))
    git("reset", "--hard", "--quiet", cwd=path)
    return git("rev-list", "--reverse", f"{base}..main", cwd=path).split()

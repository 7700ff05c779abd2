"""The programs of a node or a cluster: started under one folder, and ended by their ids."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from tests.cluster import settings


class Programs:
    """Programs that write under ``home`` alone, whose name must be short (sockets)."""

    def __init__(self, home: Path, binary: Path) -> None:
        self.home, self._binary = home, binary
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        for folder in (home / "logs", home / "cni"):
            folder.mkdir(parents=True, exist_ok=True)

    def start_program(self, name: str, *args: str) -> None:
        """One of the programs in the binary; its output goes to ``logs/NAME.log``."""
        self._start(name, [str(self._binary), name, *args])

    def kill(self, name: str) -> None:
        """kill -9."""
        process = self._processes.pop(name)
        process.kill()
        process.wait()

    def pid(self, name: str) -> int:
        """The process of a program."""
        return self._processes[name].pid

    def end_program(self, name: str) -> None:
        """End a program, by TERM if it hears that, if it runs."""
        process = self._processes.pop(name, None)
        if process is not None:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def await_there(self, what: str, there: Callable[[], object], seconds: float = 120) -> None:
        """Wait until it is there; an error means not yet, a program that ended means never."""
        deadline = time.monotonic() + seconds
        while True:
            with suppress(urllib.error.URLError, OSError, KeyError, subprocess.SubprocessError):
                if there():
                    return
            ended = [
                name for name, process in self._processes.items() if process.poll() is not None
            ]
            if ended or time.monotonic() > deadline:
                raise TimeoutError(f"{what}: not there; ended: {ended}; see the logs")
            time.sleep(0.1)

    def start_containerd(self, archives: Iterable[Path]) -> None:
        """Start the containers' own program, with these images; it knows no others."""
        (self.home / "containerd.toml").write_text(settings.containerd(self.home))
        (self.home / "cni" / "pods.conflist").write_text(json.dumps(settings.network()))
        self._start("containerd", ["containerd", "--config", str(self.home / "containerd.toml")])
        self.await_there("containerd", lambda: self._ctr("version"))
        for archive in archives:
            self._ctr("images", "import", str(archive), check=True)

    def stop_containerd(self) -> None:
        """End it with all of its containers, and leave nothing mounted."""
        if "containerd" in self._processes:
            for kind, force in (("tasks", ["-f"]), ("containers", [])):
                for each in self._ctr(kind, "list", "-q").split():
                    self._ctr(kind, "rm", *force, each)
        self.end_program("containerd")
        self._end_shims()
        self._unmount()

    def _ctr(self, *args: str, check: bool = False) -> str:
        command = ["ctr", f"--address={self.home}/containerd.sock", "--namespace=k8s.io", *args]
        return subprocess.run(
            command, check=check, capture_output=True, text=True, timeout=120
        ).stdout

    def _end_shims(self) -> None:
        """A shim outlives its containerd; ours name our socket."""
        for entry in Path("/proc").iterdir():
            with suppress(OSError):
                words = (entry / "cmdline").read_bytes().split(b"\0")
                if (
                    b"containerd-shim" in words[0]
                    and f"{self.home}/containerd.sock".encode() in words
                ):
                    os.kill(int(entry.name), signal.SIGKILL)

    def _unmount(self) -> None:
        points = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
        for point in sorted((p for p in points if p.startswith(f"{self.home}/")), reverse=True):
            run_command("umount", "--lazy", point, check=False)

    def _start(self, name: str, command: list[str]) -> None:
        with (self.home / "logs" / f"{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )


def run_command(*command: str, check: bool = True) -> None:
    """Run a command to its end; what it prints goes to stderr."""
    subprocess.run(
        command, check=check, stderr=None if check else subprocess.DEVNULL, stdout=sys.stderr
    )

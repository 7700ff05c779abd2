"""Build the few images that the tests run: a folder becomes a docker-archive; no registry."""

from __future__ import annotations

import fcntl
import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

from tests.support.foreign_program import FOREIGN_ELF

ROOT = Path(__file__).parents[2]
SERVER = "fyre.test/fyre"
"""What deploy/Dockerfile makes of this repository; the tag says of which state of it."""

# the base image of the Dockerfile in the tests: Debian's own Python, as there is no registry
_BASE = "fyre.test/base:1"
BUILT_OF = (".dockerignore", "LICENSE", "README.md", "deploy/Dockerfile", "fyre", "pyproject.toml")

PAUSE, SMALL, GIT = "fyre.test/pause:1", "fyre.test/small:1", "fyre.test/git:2"
"""Holds a pod's namespaces · a shell and nothing else to speak of · Debian with git and Python."""

FOREIGN = "fyre.test/foreign:1"

_PAUSE_C = """
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>
static void end(int number) { (void)number; _exit(0); }
static void reap(int number) { (void)number; while (waitpid(-1, 0, WNOHANG) > 0) {} }
int main(void) {
  signal(SIGINT, end); signal(SIGTERM, end); signal(SIGCHLD, reap); for (;;) pause();
}
"""


def make_all(cache: Path) -> list[Path]:
    """Return the archives of all images; build those that the cache does not hold.

    The server's is built only if it never was, which takes minutes; its test builds later states.
    """
    made = make_small(cache)
    if shutil.which("buildah") and not any(cache.glob("fyre-*.tar")):
        made.append(server(cache)[1])
    return made


def make_small(cache: Path) -> list[Path]:
    """Return the archives of the images that runs need."""
    makers = {PAUSE: _pause, SMALL: _small, GIT: _git}
    return [_cached(cache, name, make) for name, make in makers.items()]


def foreign(cache: Path) -> tuple[str, Path]:
    """Return an image whose shell is for another architecture, and its archive."""
    return FOREIGN, _cached(cache, FOREIGN, _foreign)


def server(cache: Path, root: Path = ROOT, kind: str = "fyre") -> tuple[str, Path]:
    """Return the image of the server and its archive.

    buildah builds it of what is in ``root`` if the cache does not hold this state of it. One state
    of each kind is kept.
    """
    with (cache / "server.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        image = f"{SERVER}:{_state(root)}"
        archive = cache / f"{kind}-{image.rpartition(':')[2]}.tar"
        if not archive.exists():
            for old in cache.glob(f"{kind}-*.tar"):
                old.unlink()
            _base(cache)
            dockerfile = root / "deploy" / "Dockerfile"
            flags = ("--quiet", "--layers", "--pull-never", f"--build-arg=BASE={_BASE}")
            _buildah(cache, "build", *flags, f"--file={dockerfile}", f"--tag={image}", root)
            draft = archive.with_suffix(".new")
            draft.unlink(missing_ok=True)  # of a build that was killed: buildah adds to no archive
            _buildah(cache, "push", "--quiet", image, f"docker-archive:{draft}:{image}")
            draft.rename(archive)
        return image, archive


def _state(root: Path) -> str:
    """A digest of all that the image is built of."""
    files = [file for name in BUILT_OF for file in (root / name, *(root / name).rglob("*"))]
    digest = hashlib.sha256(_BASE.encode())
    for file in sorted(
        file for file in files if file.is_file() and "__pycache__" not in file.parts
    ):
        digest.update(
            f"{file.relative_to(root)}\0{file.stat().st_size}\0".encode() + file.read_bytes()
        )
    return digest.hexdigest()[:16]


def _base(cache: Path) -> None:
    """As python:3-slim is: a Debian with Python and venv."""
    if _buildah(cache, "images", "--quiet", "--filter", f"reference={_BASE}").strip():
        return
    image = _buildah(
        cache, "pull", "--quiet", f"docker-archive:{_cached(cache, GIT, _git)}"
    ).strip()
    container = _buildah(cache, "from", "--pull-never", image).strip()
    install = "apt-get update -qq && apt-get install -y -qq --no-install-recommends python3-venv"
    _buildah(cache, "run", container, "--", "sh", "-c", f"{install} && rm -rf /var/lib/apt/lists/*")
    # The build trusts the certificates of this machine: there may be a proxy before registries.
    _buildah(
        cache, "copy", "--quiet", container, "/etc/ssl/certs/ca-certificates.crt", "/etc/ssl/certs/"
    )
    _buildah(cache, "commit", "--quiet", "--rm", "--squash", container, _BASE)


def _buildah(cache: Path, *words: str | Path) -> str:
    """Run buildah and return what it prints.

    It keeps its layers in the cache, and needs neither a daemon nor namespaces of its own.
    """
    store = (f"--root={cache}/buildah", f"--runroot={cache}/buildah-run")
    done = subprocess.run(
        ["buildah", *store, *words],
        env={**os.environ, "BUILDAH_ISOLATION": "chroot"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, (
        f"buildah {words[0]}:\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    )
    return done.stdout


def _cached(cache: Path, name: str, make) -> Path:
    archive = cache / f"{name.rpartition('/')[2].replace(':', '-')}.tar"
    if not archive.exists():
        root = cache / f"{archive.stem}.root"
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir(parents=True)
        command = make(root)
        _archive(root, name, command, archive)
        shutil.rmtree(root)
    return archive


def _pause(root: Path) -> list[str]:
    subprocess.run(
        ["gcc", "-static", "-O2", "-x", "c", "-o", root / "pause", "-"],
        input=_PAUSE_C.encode(),
        check=True,
    )
    return ["/pause"]


def _small(root: Path) -> list[str]:
    """Debian's busybox, which is a single static file."""
    (root / "bin").mkdir()
    (root / "tmp").mkdir(mode=0o1777)
    shutil.copy("/bin/busybox", root / "bin" / "busybox")
    applets = subprocess.run(
        ["/bin/busybox", "--list"], check=True, capture_output=True, text=True
    ).stdout.split()
    for applet in set(applets) - {"busybox"}:
        (root / "bin" / applet).symlink_to("busybox")
    (root / "etc").mkdir()
    (root / "etc" / "passwd").write_text("root:x:0:0::/:/bin/sh\n")
    return ["/bin/sh"]


def _foreign(root: Path) -> list[str]:
    (root / "bin").mkdir()
    (root / "bin" / "sh").write_bytes(FOREIGN_ELF)
    (root / "bin" / "sh").chmod(0o755)
    return ["/bin/sh"]


def _git(root: Path) -> list[str]:
    packages = "git,ca-certificates,python3,procps"
    subprocess.run(
        ["debootstrap", "--variant=minbase", f"--include={packages}", "bookworm", root],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    for waste in (
        "var/cache/apt",
        "var/lib/apt/lists",
        "usr/share/doc",
        "usr/share/locale",
        "usr/share/man",
    ):
        shutil.rmtree(root / waste, ignore_errors=True)
    return ["/bin/sh"]


def _archive(root: Path, name: str, command: list[str], archive: Path) -> None:
    """What ``docker save`` would write of an image with one layer."""
    layer = archive.with_suffix(".layer")
    with tarfile.open(layer, "w") as tar:
        tar.add(root, arcname=".")
    digest = hashlib.sha256(layer.read_bytes()).hexdigest()
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {
            "Cmd": command,
            "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
        },
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}]
    draft = archive.with_suffix(".new")
    with tarfile.open(draft, "w") as tar:
        tar.add(layer, arcname="layer.tar")
        for file, content in (("config.json", config), ("manifest.json", manifest)):
            text = json.dumps(content).encode()
            info = tarfile.TarInfo(file)
            info.size = len(text)
            tar.addfile(info, io.BytesIO(text))
    layer.unlink()
    draft.rename(archive)

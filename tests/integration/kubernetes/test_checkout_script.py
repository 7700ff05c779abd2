"""The init container's script, by real shells, against a real relay."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from fyre.engines.kubernetes import code_bundle
from fyre.github.errors import NotFoundError
from tests.support import shells
from tests.support.ci_marks import long_case
from tests.support.relaying import NOW, Cut, Relayed, relaying
from tests.support.waiting import until

SCRIPT = Path(__file__).parents[3] / "fyre/engines/kubernetes/checkout.sh"
TOOLS = ["cat", "cut", "head", "mkdir", "mktemp", "mv", "rm", "sed", "sleep", "tail"]
NOWHERE = "0123456789abcdef" * 2 + "01234567"

Git = Callable[..., str]


@dataclass
class Pod:
    """What the init container has: an environment, an empty directory, a home."""

    place: Path
    shell: str
    env: dict[str, str] = field(default_factory=dict)

    @property
    def top(self) -> Path:
        return self.place / "top"

    @property
    def said(self) -> str:
        return (self.place / "message").read_text()

    def start(
        self, *args: str, stdin: int = subprocess.DEVNULL, **env: str
    ) -> subprocess.Popen[bytes]:
        words = ["busybox", "sh"] if self.shell == "busybox" else [self.shell]
        path = f"{self.place}/tools:{os.environ['PATH']}"
        own = {
            "PATH": path,
            "HOME": f"{self.place}/home",
            "FYRE_TOP": str(self.top),
            "FYRE_NET_PAUSE": "0",
        }
        own |= {"FYRE_MESSAGE": f"{self.place}/message", **self.env, **env}
        errors = (self.place / "stderr").open("ab")
        with errors:
            return subprocess.Popen(
                [*words, str(SCRIPT), *args], env=own, stdin=stdin, stderr=errors
            )

    def run(self, **env: str) -> int:
        return self.start(**env).wait()

    def git(self, *args: str) -> str:
        return subprocess.run(
            ["git", *args], cwd=self.top, check=True, capture_output=True, text=True
        ).stdout.removesuffix("\n")


@pytest.fixture(params=shells.params("dash", "busybox"))
def shell(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def repository(repo: Path, tmp_path: Path, git: Git) -> Path:
    """Two commits, directories, as ``7.git`` on the relay; the second commit is the one to check
    out.
    """
    for name in ("a/b/one", "a/two", "c/d/three", "é/four", "run.sh"):
        (repo / name).parent.mkdir(parents=True, exist_ok=True)
        (repo / name).write_text(f"{name}\n")
    (repo / "run.sh").chmod(0o755)
    git("add", ".", cwd=repo)
    git("commit", "-q", "-m", "Second", cwd=repo)
    publish(repo, tmp_path, 7, git)
    return repo


def publish(repo: Path, place: Path, number: int, git: Git) -> None:
    git("clone", "-q", "--mirror", str(repo), str(place / f"bare/{number}.git"), cwd=place)


@pytest.fixture(scope="module")
def running_relay() -> Iterator[Relayed]:
    """One server for all tests: it takes longer to stop than a checkout does."""
    with relaying(Path("/nonexistent")) as relayed:
        yield relayed


@pytest.fixture
def relay(running_relay: Relayed, repository: Path, tmp_path: Path) -> Relayed:
    running_relay.root = tmp_path / "bare"
    running_relay.broken.clear()
    return running_relay


@pytest.fixture
def sha(repository: Path, git: Git) -> str:
    return git("rev-parse", "HEAD", cwd=repository)


@pytest.fixture
def make_pod(tmp_path: Path, shell: str) -> Callable[..., Pod]:
    count = iter(range(1000))

    def make(**env: str) -> Pod:
        place = tmp_path / f"pod-{next(count)}"
        for name in ("top", "home", "tools"):
            (place / name).mkdir(parents=True)
        for tool in TOOLS if shell == "busybox" else ():
            (place / "tools" / tool).symlink_to(shutil.which("busybox"))
        return Pod(place, shell, env)

    return make


@pytest.fixture
def pod(make_pod: Callable[..., Pod], relay: Relayed, sha: str) -> Pod:
    """A pod that has everything it needs."""
    return make_pod(FYRE_URL=relay.repository(), FYRE_KEY=relay.key(), FYRE_SHA=sha)


def everything_in(folder: Path) -> bytes:
    return b"".join(
        path.read_bytes() for path in folder.rglob("*") if path.is_file() and not path.is_symlink()
    )


def test_checks_out_that_commit_alone(pod: Pod, sha: str) -> None:
    assert pod.run() == 0
    assert pod.git("rev-parse", "HEAD") == sha
    assert pod.git("rev-list", "HEAD") == sha
    assert pod.git("status", "--porcelain", "--ignored") == ""
    assert pod.git("fsck", "--strict") == ""
    assert (pod.top / "a/b/one").read_text() == "a/b/one\n"
    assert os.access(pod.top / "run.sh", os.X_OK)


def test_leaves_no_key_no_helper_and_nothing_in_the_home(pod: Pod) -> None:
    assert pod.run() == 0
    left = everything_in(pod.top)
    assert pod.env["FYRE_KEY"].encode() not in left
    assert b"helper" not in (pod.top / ".git/config").read_bytes()
    assert pod.env["FYRE_URL"].encode() not in left
    assert list((pod.place / "home").iterdir()) == []
    assert pod.env["FYRE_KEY"] not in (pod.place / "stderr").read_text()


def test_every_user_may_read_and_write_all_of_it(pod: Pod) -> None:
    assert pod.run() == 0
    for path in pod.top.rglob("*"):
        wanted = 0o777 if path.is_dir() else 0o444 if "objects" in path.parts else 0o666
        assert path.stat().st_mode & wanted == wanted, path


def test_another_user_finds_a_repository_that_git_trusts(pod: Pod, sha: str) -> None:
    assert pod.run() == 0
    env = {
        "GIT_TEST_ASSUME_DIFFERENT_OWNER": "1",
        "PATH": os.environ["PATH"],
        "HOME": str(pod.place / "home"),
    }
    ask = ["git", "rev-parse", "HEAD"]
    refused = subprocess.run(ask, cwd=pod.top, env=env, capture_output=True, text=True, check=False)
    assert "dubious ownership" in refused.stderr
    env["GIT_CONFIG_SYSTEM"] = str(pod.top / ".git/fyre/gitconfig")
    assert (
        subprocess.run(ask, cwd=pod.top, env=env, capture_output=True, text=True, check=True).stdout
        == f"{sha}\n"
    )


def test_history_as_deep_as_asked(pod: Pod, make_pod: Callable[..., Pod]) -> None:
    assert pod.run(FYRE_DEPTH="0") == 0
    assert pod.git("rev-list", "--count", "HEAD") == "2"
    assert pod.git("rev-parse", "--is-shallow-repository") == "false"
    other = make_pod(**pod.env)
    assert other.run(FYRE_DEPTH="2") == 0
    assert other.git("rev-list", "--count", "HEAD") == "2"


def test_the_origin_is_the_forge_for_whoever_looks_later(pod: Pod) -> None:
    assert pod.run(FYRE_ORIGIN="https://forge.example/ada/engine") == 0
    assert pod.git("remote", "get-url", "origin") == "https://forge.example/ada/engine"


def test_only_the_directories_asked_for(pod: Pod) -> None:
    assert pod.run(FYRE_SPARSE="a/b\né\n--stdin") == 0
    files = {
        str(path.relative_to(pod.top)) for path in pod.top.rglob("*") if ".git" not in path.parts
    }
    assert files - {"a", "a/b", "é"} == {"README", "run.sh", "a/two", "a/b/one", "é/four"}
    assert pod.git("status", "--porcelain") == ""


def test_9_33_the_checkout_says_which_submodules_it_left_out(
    make_pod: Callable[..., Pod], relay: Relayed, repository: Path, tmp_path: Path, git: Git
) -> None:
    paths = ("a/d", "a part", "ö", "z" * 60, "c/d/e")
    words = [word for path in paths for word in ("--cacheinfo", f"160000,{'1' * 40},{path}")]
    (repository / ".gitattributes").write_text("*.bin filter=lfs\n")
    (repository / "a/whole.bin").write_bytes(b"\0\n")
    (repository / "a/b/pointer.bin").write_text("version https://git-lfs.github.com/spec/v1\n")
    git("add", ".", cwd=repository)
    git("update-index", "--add", *words, cwd=repository)
    git("commit", "-q", "-m", "Parts", cwd=repository)
    shutil.rmtree(tmp_path / "bare/7.git")
    publish(repository, tmp_path, 7, git)
    wanted = git("rev-parse", "HEAD", cwd=repository)
    pod = make_pod(FYRE_URL=relay.repository(), FYRE_KEY=relay.key(), FYRE_SHA=wanted)
    assert pod.run() == 0
    pointers = ", Git LFS files (a/b/pointer.bin)"
    assert pod.said == "not checked out: submodules (a part, a/d, c/d/e and 2 more)" + pointers
    sparse = make_pod(**pod.env)
    assert sparse.run(FYRE_SPARSE="c/d") == 0
    assert sparse.said == f"not checked out: submodules (a part, c/d/e, {'z' * 40} and 1 more)"


def test_submodules_come_through_the_relay_and_nowhere_else(  # noqa: PLR0917 - fixtures
    pod: Pod,
    make_pod: Callable[..., Pod],
    relay: Relayed,
    repository: Path,
    tmp_path: Path,
    git: Git,
) -> None:
    inner, library = tmp_path / "inner", tmp_path / "library"
    for path, theirs in (
        (inner, None),
        (library, "https://forge.example/ada/inner.git"),
        (repository, "../library"),
    ):
        if not path.exists():
            git("clone", "-q", str(repository), str(path), cwd=tmp_path)
        if theirs:
            below = inner if path == library else library
            git(
                "-c",
                "protocol.file.allow=always",
                "submodule",
                "--quiet",
                "add",
                str(below),
                "sub",
                cwd=path,
            )
            git("config", "--file=.gitmodules", "submodule.sub.url", theirs, cwd=path)
            git("commit", "-qam", "With a submodule", cwd=path)
    (tmp_path / "bare/7.git").rename(tmp_path / "before.git")
    for number, path in ((7, repository), (8, library), (9, inner)):
        publish(path, tmp_path, number, git)
    wanted = pod.env | {
        "FYRE_SHA": git("rev-parse", "HEAD", cwd=repository),
        "FYRE_KEY": relay.key(7, 8, 9),
    }
    wanted |= {
        "FYRE_ORIGIN": "https://forge.example/ada/engine",
        "FYRE_SUBMODULES": "recursive",
        "FYRE_SUBMODULE_URLS": f"https://forge.example/ada/library {relay.repository(8)}\n"
        f"https://forge.example/ada/inner.git {relay.repository(9)}",
    }
    pod = make_pod(**wanted)
    assert pod.run() == 0
    assert (pod.top / "sub/sub/run.sh").exists()
    assert pod.git("submodule", "status", "--recursive").count("\n ") == 1
    assert wanted["FYRE_KEY"].encode() not in everything_in(pod.top)
    for path in pod.top.rglob("*"):
        assert path.stat().st_mode & 0o444 == 0o444, path
    assert not (pod.place / "message").exists()
    without = make_pod(**wanted)
    assert without.run(FYRE_SUBMODULES="") == 0
    assert without.said == "not checked out: submodules (sub)"

    direct = make_pod(**wanted)
    assert direct.run(FYRE_SUBMODULES="1") == 0
    assert (direct.top / "sub/run.sh").exists()
    assert not (direct.top / "sub/sub/run.sh").exists()
    assert direct.said == "not checked out: submodules (sub/sub)"

    denied = make_pod(**wanted)
    assert denied.run(FYRE_KEY=relay.key(7, 8)) == 90
    assert "submodules: no such repository for this key" in denied.said
    elsewhere = make_pod(**wanted)
    assert (
        elsewhere.run(FYRE_ORIGIN="", FYRE_SUBMODULE_URLS=f"https://forge.example/ {tmp_path}/")
        == 90
    )


@pytest.mark.parametrize(
    ("change", "code", "why"),
    [
        ({"FYRE_SHA": NOWHERE}, 90, "the server does not have it"),
        ({"FYRE_SHA": "main"}, 90, "not a commit SHA"),
        ({"FYRE_SHA": "--upload-pack=touch /tmp/x"}, 90, "not a commit SHA"),
        ({"FYRE_SHA": ""}, 90, "not a commit SHA"),
        ({"FYRE_KEY": "wrong"}, 90, "the key is refused"),
        ({"FYRE_KEY": ""}, 90, "the key is refused"),
        ({"FYRE_KEY": "a\nb"}, 90, "no relay key"),
        ({"FYRE_URL": "ext::sh -c true"}, 90, "neither http nor https"),
        ({"FYRE_URL": "/tmp/7.git"}, 90, "neither http nor https"),
        ({"FYRE_URL": "http://a:b@127.0.0.1/"}, 90, "holds a credential"),
        ({"FYRE_URL": 'http://127.0.0.1/"x'}, 90, "characters that no URL has"),
        (
            {"FYRE_URL": "http://127.0.0.1:9/git/7.git", "FYRE_WAIT": "2"},
            91,
            "gave up after 2 s",
        ),
        ({"FYRE_TOP": "relative"}, 90, "no absolute path"),
        ({"FYRE_TOP": "/dev/null/x"}, 90, "no directory"),
        ({"FYRE_DEPTH": "1; x"}, 90, "whole numbers"),
        ({"FYRE_LFS": "1", "PATH": "/usr/bin:/bin"}, 90, "no git-lfs"),
        ({"HOME": "/dev/null/x"}, 91, "HOME is not writable"),
        ({"FYRE_URL": "", "FYRE_WAIT": "0"}, 91, "no pack was sent within 0 s"),
    ],
)
def test_says_why_it_failed(pod: Pod, change: dict[str, str], code: int, why: str) -> None:
    if change.get("FYRE_LFS") and shutil.which("git-lfs"):
        pytest.skip("git-lfs is installed here")
    assert pod.run(**change) == code
    assert why in pod.said
    assert pod.said.startswith(f"commit {change.get('FYRE_SHA', pod.env['FYRE_SHA'])[:12]}: ")
    assert pod.said.count("\n") == 1
    assert not (pod.top / "README").exists()


def test_keys_of_other_repositories_and_expired_ones_are_refused(pod: Pod, relay: Relayed) -> None:
    assert pod.run(FYRE_KEY=relay.key(8)) == 90
    assert "no such repository for this key" in pod.said
    assert pod.run(FYRE_KEY=relay.key(expires=NOW - 1)) == 90
    assert "the key is refused" in pod.said
    assert (
        pod.run(FYRE_URL=relay.repository(9), FYRE_KEY=relay.key(9), FYRE_WAIT="2") == 91
    )  # it may yet come


def test_trouble_that_passes_is_waited_out_and_other_is_not_repeated(
    pod: Pod, relay: Relayed
) -> None:
    relay.broken[:] = [503, 502]
    assert pod.run() == 0
    relay.broken[:] = [403, 503]
    assert pod.run() == 90
    assert relay.broken == [503]


WHOLE = Cut(1 << 30)  # an answer that comes whole


@long_case
@pytest.mark.parametrize("shell", ["sh"], indirect=True)
@pytest.mark.parametrize(
    "troubles",
    [
        [404, 500, 502, 503, 504] * 2,  # 404: a proxy's, whose relay is away
        [Cut(0), Cut(2), WHOLE, Cut(0), WHOLE, Cut(20), WHOLE, WHOLE, Cut(0)],
        [WHOLE, WHOLE, Cut(300_000), 503, WHOLE, WHOLE, Cut(100), WHOLE, WHOLE, Cut(600_000)],
    ],
    ids=["away", "before the pack", "in the pack"],
)
def test_9_30d_a_checkout_outlives_kills_of_the_receiver(  # noqa: PLR0917 - fixtures
    troubles: list[int | Cut], pod: Pod, relay: Relayed, repository: Path, tmp_path: Path, git: Git
) -> None:
    (repository / "large").write_bytes(os.urandom(1 << 20))
    git("add", ".", cwd=repository)
    git("commit", "-q", "-m", "Third", cwd=repository)
    git("push", "-q", str(tmp_path / "bare/7.git"), "main", cwd=repository)
    sha = git("rev-parse", "HEAD", cwd=repository)
    relay.broken[:] = troubles
    assert pod.run(FYRE_SHA=sha) == 0, pod.said
    assert relay.broken == []
    assert pod.git("rev-parse", "HEAD") == sha
    assert pod.git("status", "--porcelain") == ""
    assert list((pod.top / ".git").rglob("*tmp_*")) == []


def test_9_30d_a_receiver_that_is_away_is_waited_for_and_not_for_so_many_tries(
    pod: Pod, relay: Relayed
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    waiting = pod.start(FYRE_URL=f"http://127.0.0.1:{port}/git/7.git")
    errors = pod.place / "stderr"
    until(lambda: errors.read_text().count("Failed to connect") > 8)
    with relaying(relay.root, port=port):
        assert waiting.wait() == 0


def test_9_30d_a_receiver_that_never_sends_all_of_it_is_given_up(pod: Pod, relay: Relayed) -> None:
    relay.broken[:] = [WHOLE, WHOLE, Cut(250)] * 2
    assert pod.run(FYRE_NET_BREAKS="1") == 91
    assert "broke off again and again" in pod.said
    relay.broken[:] = [503] * 9
    assert pod.run(FYRE_WAIT="3") == 91
    assert "gave up after 3 s" in pod.said


def test_what_is_no_commit_is_not_taken_for_one(
    pod: Pod, make_pod: Callable[..., Pod], repository: Path, tmp_path: Path, git: Git
) -> None:
    git("tag", "-a", "-m", "x", "v1", cwd=repository)
    git("push", "-q", str(tmp_path / "bare/7.git"), "v1", cwd=repository)
    assert pod.run(FYRE_SHA=git("rev-parse", "v1", cwd=repository)) == 90
    assert "verification" in pod.said
    blob = make_pod(**pod.env)
    assert blob.run(FYRE_SHA=git("rev-parse", "HEAD:README", cwd=repository)) == 90


def test_a_second_start_begins_anew_and_strange_files_are_not_removed(
    pod: Pod, make_pod: Callable[..., Pod]
) -> None:
    assert pod.run() == 0
    (pod.top / "a/b/one").write_text("changed")
    (pod.top / ".more").write_text("left over")
    assert pod.run() == 0
    assert pod.git("status", "--porcelain") == ""
    other = make_pod(**pod.env)
    (other.top / ".precious").touch()
    assert other.run() == 90
    assert "not empty" in other.said
    assert [path.name for path in other.top.iterdir()] == [".precious"]


def test_settings_of_the_image_and_of_the_repository_run_nothing(pod: Pod, tmp_path: Path) -> None:
    home, trap = pod.place / "home", tmp_path / "trap"
    trap.mkdir()
    for hook in ("post-checkout", "reference-transaction", "post-index-change"):
        (trap / hook).write_text(f"#!/bin/sh\ntouch {tmp_path}/sprung\n")
        (trap / hook).chmod(0o755)
    (home / ".gitconfig").write_text(
        f"[core]\n\thooksPath = {trap}\n[init]\n\ttemplateDir = {trap}\n"
    )
    bad = {
        "GIT_CONFIG_GLOBAL": str(home / ".gitconfig"),
        "GIT_DIR": str(trap),
        "GIT_TEMPLATE_DIR": str(trap),
    }
    bad |= {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "core.hooksPath",
        "GIT_CONFIG_VALUE_0": str(trap),
    }
    assert pod.run(**bad) == 0
    assert not (tmp_path / "sprung").exists()


@long_case
def test_twenty_at_once(make_pod: Callable[..., Pod], pod: Pod, sha: str) -> None:
    pods = [make_pod(**pod.env) for _ in range(20)]
    running = [one.start() for one in pods]
    assert [one.wait() for one in running] == [0] * 20
    assert {one.git("rev-parse", "HEAD") for one in pods} == {sha}


def test_told_to_stop_it_stops_at_once(pod: Pod) -> None:
    waiting = pod.start(FYRE_URL="")
    until((pod.top / ".git/fyre/waiting").exists)
    waiting.send_signal(signal.SIGTERM)
    assert waiting.wait() == 91
    assert "told to stop" in pod.said
    assert list((pod.place / "home").iterdir()) == []


@pytest.fixture
def stream(sha: str, repository: Path, tmp_path: Path) -> bytes:
    return b"".join(code_bundle.pack_commit(tmp_path / "bare/7.git", sha))


def send(pod: Pod, data: bytes, *, close: bool = True) -> int:
    """`checkout.sh receive` with that as its stdin; its end comes only after it is done unless
    ``close`` is set.
    """
    receiver = pod.start("receive", stdin=subprocess.PIPE)
    assert receiver.stdin is not None
    receiver.stdin.write(data)
    receiver.stdin.flush()
    if close:
        receiver.stdin.close()
    code = receiver.wait()
    receiver.stdin.close()
    return code


def test_a_pack_by_exec(make_pod: Callable[..., Pod], sha: str, stream: bytes) -> None:
    pod = make_pod(FYRE_SHA=sha)
    waiting = pod.start()
    assert send(pod, stream, close=False) == 0
    assert waiting.wait() == 0
    assert pod.git("rev-list", "HEAD") == sha
    assert pod.git("fsck", "--strict") == ""
    assert pod.git("status", "--porcelain") == ""


def test_a_pack_of_a_first_commit_is_whole_history(
    make_pod: Callable[..., Pod], repository: Path, tmp_path: Path, git: Git
) -> None:
    first = git("rev-parse", "HEAD^", cwd=repository)
    pod = make_pod(FYRE_SHA=first)
    waiting = pod.start()
    assert send(pod, b"".join(code_bundle.pack_commit(tmp_path / "bare/7.git", first))) == 0
    assert waiting.wait() == 0
    assert pod.git("rev-parse", "--is-shallow-repository") == "false"


@pytest.mark.parametrize("shell", ["sh"], indirect=True)
@pytest.mark.parametrize(("depth", "count"), [(0, 4), (2, 3), (3, 4), (9, 4)])
def test_9_28_a_streamed_pack_has_the_history_that_was_asked_for(
    depth: int, count: int, make_pod: Callable[..., Pod], repository: Path, git: Git
) -> None:
    git("checkout", "-qb", "side", "HEAD^", cwd=repository)
    git("commit", "-q", "--allow-empty", "-m", "Side", cwd=repository)
    git("merge", "-q", "--no-edit", "main", cwd=repository)  # a merge of two, each on the first
    sha = git("rev-parse", "HEAD", cwd=repository)
    pod = make_pod(FYRE_SHA=sha)
    waiting = pod.start()
    assert send(pod, b"".join(code_bundle.pack_commit(repository / ".git", sha, depth))) == 0
    assert waiting.wait() == 0
    assert pod.git("rev-list", "--count", "HEAD") == str(count)
    assert pod.git("fsck", "--strict") == ""


def test_9_29_files_have_the_modes_that_git_has_of_them(pod: Pod) -> None:
    assert pod.run(FYRE_UMASK="022") == 0
    modes = {name: (pod.top / name).stat().st_mode & 0o777 for name in ("README", "run.sh", "a")}
    assert modes == {"README": 0o644, "run.sh": 0o755, "a": 0o755}


def test_a_truncated_pack_is_sent_again_and_a_second_whole_one_does_no_harm(
    make_pod: Callable[..., Pod], sha: str, stream: bytes
) -> None:
    pod = make_pod(FYRE_SHA=sha)
    waiting = pod.start()
    assert send(pod, stream[:-30]) == 91
    assert "did not arrive whole" in pod.said
    assert send(pod, b"12\n") == 91
    assert send(pod, b"x\n\n") == 90
    assert waiting.poll() is None
    waiting.send_signal(signal.SIGSTOP)  # so that it is still there for the second one
    assert send(pod, stream) == 0
    assert send(pod, stream) == 0
    waiting.send_signal(signal.SIGCONT)
    assert waiting.wait() == 0
    assert pod.git("rev-parse", "HEAD") == sha


def test_a_pack_is_never_given_to_one_that_is_gone(
    make_pod: Callable[..., Pod], sha: str, stream: bytes
) -> None:
    pod = make_pod(FYRE_SHA=sha, FYRE_WAIT="1")
    assert pod.run(FYRE_WAIT="0") == 91
    assert send(pod, stream) == 91
    assert "nobody waits" in pod.said


def test_the_wrong_pack_is_found_out(
    make_pod: Callable[..., Pod], repository: Path, tmp_path: Path, stream: bytes, git: Git
) -> None:
    pod = make_pod(FYRE_SHA=git("rev-parse", "HEAD^", cwd=repository))
    waiting = pod.start()
    assert send(pod, stream) == 0
    assert waiting.wait() == 90
    with pytest.raises(NotFoundError, match=NOWHERE[:12]):
        next(code_bundle.pack_commit(tmp_path / "bare/7.git", NOWHERE))


def test_9_15_files_that_take_for_ever_to_write_end_the_checkout(pod: Pod, tmp_path: Path) -> None:
    hanging = tmp_path / "hanging"
    hanging.mkdir()
    script = '#!/bin/sh\ncase " $* " in *" checkout "*) exec sleep 60 ;; esac\n'
    (hanging / "git").write_text(f'{script}exec {shutil.which("git")} "$@"\n')
    (hanging / "git").chmod(0o755)
    path = f"{hanging}:{os.environ['PATH']}"
    assert pod.run(PATH=path, FYRE_TIMEOUT="1") == 90
    assert "checkout: not done within 1 s" in pod.said
    assert pod.run(FYRE_TIMEOUT="60") == 0

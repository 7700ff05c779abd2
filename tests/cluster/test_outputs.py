"""The way back on a real cluster: outputs and metrics of a pod, in the receiver's store."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
from kubernetes import client

from fyre.apps.up import FyreUp
from fyre.runs.run import RunRecord
from fyre.runs.run_query import ALL_RUNS
from fyre.runs.state import RunState
from tests.cluster import access
from tests.cluster.conftest import RELAY_HOST, somebody
from tests.support.person import Person
from tests.support.waiting import until

pytestmark = pytest.mark.cluster


@pytest.fixture
def person(start_up: Callable[..., FyreUp], repo: Path) -> Person:
    return somebody(start_up(f"{RELAY_HOST}:0", upload_image=access.IMAGE), repo)


def record_of(person: Person, sha: str) -> RunRecord:
    return next(one for one in person.up.engine.query_runs(ALL_RUNS) if one.run.sha == sha)


def is_answering(url: str) -> bool:
    with contextlib.suppress(requests.ConnectionError):
        return bool(requests.get(url, timeout=30).status_code)
    return False


def is_state(person: Person, sha: str, state: RunState) -> bool:
    records = person.up.engine.query_runs(ALL_RUNS)
    return any(one.run.sha == sha and one.state is state for one in records)


def kept(person: Person, status: dict[str, str]) -> dict[str, bytes]:
    """Return the content of each output of a run, as its page serves it."""
    listing = requests.get(f"{status['target_url']}/outputs.json").json()
    return {
        one["path"]: requests.get(f"{status['target_url']}/blobs/{one['sha256']}").content
        for one in listing["artifacts"]
    }


def test_10_outputs_and_metrics_come_back(person: Person) -> None:
    command = (
        "echo model > model.pt; mkdir -p plots; echo png > plots/a.png; chmod 750 model.pt; "
        'echo x > "$FYRE_OUTPUTS/x"; head -c 20000000 /dev/zero > "$FYRE_OUTPUTS/large"; '
        """for value in 0.5 0.25; do echo '{"val_acc": '$value'}' >> "$FYRE_METRICS"; done"""
    )
    sha = person.run(command, "Fyre-Output: model.pt", "Fyre-Output: plots/")
    status = person.final(sha)
    assert status["state"] == "success", status
    contents = kept(person, status)
    assert contents == {
        "model.pt": b"model\n",
        "plots/a.png": b"png\n",
        "x": b"x\n",
        "large": bytes(20_000_000),
    }
    results = record_of(person, sha).results
    assert results is not None
    assert results.last_values() == {"val_acc": 0.25}
    assert results.best_values({}) == {"val_acc": 0.5}


def test_10_a_run_that_leaves_nothing_ends_as_before(person: Person) -> None:
    sha = person.run("echo done")
    status = person.final(sha)
    assert status["state"] == "success"
    assert record_of(person, sha).results is None


def test_10_what_failed_keeps_what_it_wrote(person: Person) -> None:
    sha = person.run('echo half > "$FYRE_OUTPUTS/half"; exit 3', "Fyre-Output: never.pt")
    status = person.final(sha)
    assert status["description"].startswith("exit 3")
    assert kept(person, status) == {"half": b"half\n"}
    record = record_of(person, sha)
    assert record.results is not None
    assert record.results.is_partial


def test_10_a_declared_output_that_is_not_there_is_a_failure(person: Person) -> None:
    sha = person.run("true", "Fyre-Output: never.pt")
    status = person.final(sha)
    assert (status["state"], record_of(person, sha).state) == ("failure", RunState.FAILED)
    assert "wrote no never.pt" in status["description"]


ATTACK = r"""
set -e
for environ in /proc/[0-9]*/environ; do
  token=$(tr '\0' '\n' <$environ 2>/dev/null | sed -n 's/^FYRE_UPLOAD_TOKEN=//p') || continue
  [ -n "$token" ] || continue
  pod=$(tr '\0' '\n' <$environ | sed -n 's/^FYRE_POD=//p')
  url=$(tr '\0' '\n' <$environ | sed -n 's/^FYRE_UPLOAD_URL=//p')
  break
done
cat >attack.py <<'END'
import sys, urllib.request, urllib.error, json
url, pod, token = sys.argv[1:]
def ask(method, url, body, token=token):
    request = urllib.request.Request(url, body, {"Authorization": "Bearer " + token}, method=method)
    try:
        return urllib.request.urlopen(request).status
    except urllib.error.HTTPError as error:
        return error.code
listing = {"artifacts": [], "problems": ["forged"], "links": ""}
empty = json.dumps(listing).encode()
other = url.rpartition("/")[0] + "/" + "0" * 26
stolen = json.dumps({"artifacts": [{"path": "x", "size": 6, "mode": 420,
  "sha256": "a" * 64}]}).encode()
print("early", ask("PUT", f"{url}/{pod}/listing", empty))
print("stolen", ask("PUT", f"{url}/{pod}/listing", stolen))
print("other run", ask("PUT", f"{other}/{pod}/listing", empty))
print("other pod", ask("PUT", f"{url}/no-such-pod/listing", empty))
print("code", ask("GET", url.rpartition("/uploads/")[0] + "/git/1.git/info/refs", None))
END
python3 attack.py "$url" "$pod" "$token"
echo mine >"$FYRE_OUTPUTS/mine"
"""


def test_10_a_command_that_has_the_agents_token_can_change_its_own_run_alone(
    person: Person,
) -> None:
    sha = person.commit("Fyre-Run: sh attack.sh", files={"attack.sh": ATTACK})
    person.push()
    status = person.final(sha)
    log = person.log(status)
    answers = dict(line.rsplit(" ", 1) for line in log.splitlines())
    assert answers == {
        "early": "503",  # nothing is listed while the command runs
        "stolen": "503",
        "other run": "401",
        "other pod": "503",
        "code": "401",
    }
    assert status["state"] == "success", status
    assert kept(person, status) == {"mine": b"mine\n"}


def pods_of(admin: access.Admin, namespace: str, sha: str) -> list[Any]:
    selector = f"fyre.dev/sha={sha}"
    return list(admin.core.list_namespaced_pod(namespace, label_selector=selector).items)


def command_state(admin: access.Admin, namespace: str, sha: str) -> Any:
    for pod in pods_of(admin, namespace, sha):
        for container in pod.status.container_statuses or []:
            return container.state
    return None


def await_command_end(admin: access.Admin, namespace: str, sha: str) -> None:
    until(lambda: (state := command_state(admin, namespace, sha)) and state.terminated)


def stop_taking_uploads(person: Person) -> Path:
    """Have the store fail, as on a full disk; return what to remove to mend it."""
    folder = person.up.local_forge.root / "artifacts"
    folder.write_text("")
    return folder


def test_10_a_pod_that_is_evicted_while_it_uploads_goes_on_to_its_end(
    person: Person, admin: access.Admin, namespace: str
) -> None:
    broken = stop_taking_uploads(person)
    sha = person.run('echo ran; echo x > "$FYRE_OUTPUTS/x"', "Fyre-Retries: 2")
    await_command_end(admin, namespace, sha)
    until(lambda: is_state(person, sha, RunState.UPLOADING))
    (pod,) = pods_of(admin, namespace, sha)
    eviction = client.V1Eviction(metadata=client.V1ObjectMeta(name=pod.metadata.name))
    admin.core.create_namespaced_pod_eviction(pod.metadata.name, namespace, eviction)
    broken.unlink()
    status = person.final(sha)
    assert status["state"] == "success", status
    assert kept(person, status) == {"x": b"x\n"}
    assert person.log(status) == "ran\n"


def kill_agent(pod_uid: str) -> None:
    """Kill the agent of a pod, as the kernel does where a node has no memory left."""
    if not Path("/run/containerd").exists() and os.geteuid():
        pytest.skip("needs the cluster of `python -m tests.cluster`, on this machine")
    killed = 0
    for environ in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if f"FYRE_POD={pod_uid}\0".encode() in environ.read_bytes():
                os.kill(int(environ.parent.name), signal.SIGKILL)
                killed += 1
    assert killed


def test_10_an_upload_that_is_killed_is_an_error_that_says_so(
    person: Person, admin: access.Admin, namespace: str
) -> None:
    stop_taking_uploads(person)
    sha = person.run('echo ran; echo x > "$FYRE_OUTPUTS/x"', "Fyre-Retries: 2")
    await_command_end(admin, namespace, sha)
    until(lambda: is_state(person, sha, RunState.UPLOADING))
    (pod,) = pods_of(admin, namespace, sha)
    kill_agent(pod.metadata.uid)
    status = person.final(sha)
    assert status["state"] == "error"
    assert status["description"].startswith("outputs lost: ")
    assert len(pods_of(admin, namespace, sha)) == 1
    assert person.log(status) == "ran\n"


def test_10_uploads_outlive_a_restart_of_the_receiver(
    start_up: Callable[..., FyreUp], repo: Path, admin: access.Admin, namespace: str
) -> None:
    with socket.create_server((RELAY_HOST, 0)) as free:
        relay = f"{RELAY_HOST}:{free.getsockname()[1]}"
    person = somebody(start_up(relay, upload_image=access.IMAGE), repo)
    sha = person.run(
        'while ! [ -e "$FYRE_OUTPUTS/x" ]; do sleep 1; echo x > "$FYRE_OUTPUTS/x"; done; sleep 2'
    )
    until(lambda: (state := command_state(admin, namespace, sha)) and state.running)
    person.up.stop()
    await_command_end(admin, namespace, sha)
    person.up = start_up(relay, upload_image=access.IMAGE)
    status = person.final(sha)
    assert status["state"] == "success", status
    assert kept(person, status) == {"x": b"x\n"}


@pytest.mark.parametrize("trailers", [["Fyre-Timeout: 4s"], []], ids=["timed out", "cancelled"])
def test_10_what_is_ended_keeps_what_it_wrote(person: Person, trailers: list[str]) -> None:
    save = """trap 'echo saved > "$FYRE_OUTPUTS/ckpt"; exit 1' TERM; echo up; sleep 600 & wait"""
    sha = person.run(save, *trailers)
    if not trailers:
        until(lambda: is_state(person, sha, RunState.RUNNING))
        until(lambda: b"up" in b"".join(person.up.engine.read_log(record_of(person, sha).run.key)))
        person.up.engine.cancel(record_of(person, sha).run.key, "ada")
    status = person.final(sha)
    assert kept(person, status) == {"ckpt": b"saved\n"}
    results = record_of(person, sha).results
    assert results is not None
    assert results.is_partial


def test_10_a_command_that_ignores_its_end_is_killed_after_its_own_grace(person: Person) -> None:
    """The pod's grace is longer, for the upload; the test's profile gives commands 2 s."""
    stubborn = """trap '' TERM; echo x > "$FYRE_OUTPUTS/x"; while :; do sleep 1; done"""
    sha = person.run(stubborn)
    until(lambda: is_state(person, sha, RunState.RUNNING))
    person.up.engine.cancel(record_of(person, sha).run.key, "ada")
    assert person.final(sha)["description"].startswith("cancelled")


def test_10_only_the_last_try_counts(person: Person) -> None:
    command = 'echo $FYRE_TRY > "$FYRE_OUTPUTS/try-$FYRE_TRY"; [ "$FYRE_TRY" = 2 ]'
    sha = person.run(command, "Fyre-Retries: 3")
    until(lambda: is_state(person, sha, RunState.SUCCEEDED), 120)  # pauses between tries
    status = person.final(sha)
    assert status["state"] == "success", status
    assert kept(person, status) == {"try-2": b"2\n"}


def test_10_a_cancelled_run_has_its_own_time_for_the_upload(person: Person) -> None:
    """Longer than a pod may take whose node does not answer."""
    broken = stop_taking_uploads(person)
    save = """trap 'echo saved > "$FYRE_OUTPUTS/ckpt"; exit 1' TERM; echo up; sleep 600 & wait"""
    sha = person.run(save)
    until(lambda: is_state(person, sha, RunState.RUNNING))
    key = record_of(person, sha).run.key
    until(lambda: b"up" in b"".join(person.up.engine.read_log(key)))
    person.up.engine.cancel(key, "ada")
    time.sleep(80)
    assert not record_of(person, sha).state.is_final
    broken.unlink()
    until(lambda: record_of(person, sha).state.is_final)
    status = person.final(sha)
    assert status["description"].startswith("cancelled")
    assert kept(person, status) == {"ckpt": b"saved\n"}


def test_10_a_listing_is_sealed_also_after_its_pod_is_gone(
    start_up: Callable[..., FyreUp],
    person: Person,
    admin: access.Admin,
    namespace: str,
) -> None:
    manifests = person.up.local_forge.root / "artifacts" / "manifests"
    manifests.parent.mkdir(exist_ok=True)
    manifests.write_text("")  # contents can be stored, and no manifest
    sha = person.run("echo weights > model.pt", "Fyre-Output: model.pt")
    until(lambda: is_state(person, sha, RunState.UPLOADING))
    uploads = person.up.local_forge.root / "uploads"
    until(lambda: list(uploads.glob("*/*/listing.json")))
    person.up.stop()
    admin.core.delete_collection_namespaced_pod(namespace)
    until(lambda: not pods_of(admin, namespace, sha))
    until(lambda: not is_answering(person.up.url))
    manifests.unlink()
    person.up = start_up(f"{RELAY_HOST}:0", upload_image=access.IMAGE)
    status = person.final(sha)
    assert status["state"] == "success", status
    assert kept(person, status) == {"model.pt": b"weights\n"}

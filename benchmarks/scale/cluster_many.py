"""Thousands of finished runs in a namespace: time of a start, memory, requests.

The Jobs are those of commits that are in the forge, as Fyre leaves them: ended, reported, settled;
no controller of Kubernetes handles them (``managedBy``), and some have their pods. The start is
counted from the process's own, over the first sweep and the redelivery of every push, until there
is nothing to do. Then some real runs, for the requests that each of them takes. ``python
benchmarks/scale/cluster_many.py [JOBS] [PODS] [RUNS]`` prints JSON.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.lib import cluster, up_fixture
from fyre.engines.kubernetes import job_labels, job_manifest, run_status
from fyre.engines.kubernetes.api_client import RAW_RESPONSE
from fyre.git.commit_reader import LocalCommitReader
from fyre.local_forge.forge import LocalForge
from fyre.message import request
from fyre.runs import plan
from fyre.runs.policy import Policy
from fyre.runs.profiles import Profile
from fyre.runs.run import Repository, Run, RunRecord
from fyre.runs.state import RunState
from fyre.runs.trigger import Trigger, TriggerKind

if TYPE_CHECKING:
    from tests.cluster.access import Admin

NAME, PER_PUSH, AT_ONCE = "bench/many", 500, 4
INSTANCE = secrets.token_hex(4)


def create_runs(folder: Path, url: str, count: int, image: str) -> Iterator[Run]:
    """Create commits in the forge, through the file system; yield the run that each requests."""
    forge = LocalForge(folder / "state", base_url=url)
    bare = forge.repositories.get_or_create(NAME)
    forge.stop()
    path = up_fixture.create_repository(folder, "many", files=10)
    repository = Repository(f"{url}/api", bare.id, NAME)
    mirrors = LocalCommitReader(lambda _: bare.git_dir)
    up_fixture.git("remote", "add", "origin", str(bare.git_dir), cwd=path)
    up_fixture.git("push", "-q", "origin", "main", cwd=path)
    policy = Policy(profiles={"default": Profile(image=image)}, merged_forks=True)
    for first in range(0, count, PER_PUSH):
        numbers = range(first, min(first + PER_PUSH, count))
        shas = up_fixture.create_commits(
            path, [f"Change {n}\n\nFyre-Run: python train.py --seed {n}\n" for n in numbers]
        )
        up_fixture.git("push", "-q", "origin", "main", cwd=path)
        for sha in shas:
            commit = mirrors.read_commit(repository, sha)
            trigger = Trigger(TriggerKind.PUSH, "ada", "refs/heads/main", sha)
            event = plan.CommitEvent(
                repository, commit, trigger, request.parse_message(commit.message)
            )
            decision = plan.plan(event, plan.ObservedState(own_statuses={}), policy, time.time())
            assert isinstance(decision, plan.Decision)
            (launch,) = decision.actions
            assert isinstance(launch, plan.Launch)
            yield launch.run
    mirrors.close()


def build_finished_job(run: Run, namespace: str, image: str) -> dict[str, Any]:
    """Return the Job of a finished run as Fyre leaves it."""
    spot = job_manifest.JobContext(
        f"fyre-{INSTANCE}", namespace, image, "http://10.0.0.1:8021/git/1.git", "k" * 80
    )
    body = job_manifest.build_job(run, Profile(image=image), spot)
    ended = RunRecord(
        run,
        RunState.SUCCEEDED,
        1,
        run.created_at + 3,
        run.created_at + 63,
        0,
        image_id="sha256:" + "a" * 64,
    )
    body["metadata"]["annotations"] |= {
        job_labels.OUTCOME_ANNOTATION: run_status.format_outcome(ended),
        job_labels.REPORTED_ANNOTATION: json.dumps({run.sha: str(RunState.SUCCEEDED)}),
        job_labels.SETTLED_ANNOTATION: "true",
    }
    body["spec"] |= {"managedBy": "example.org/benchmark", "ttlSecondsAfterFinished": 7 * 86400}
    return body


class ObjectCreator:
    """Creates finished Jobs and pods, as the cluster's admin."""

    def __init__(self, admin: Admin, namespace: str) -> None:
        self._batch, self._core, self._namespace = admin.batch, admin.core, namespace
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        done = {
            "status": "True",
            "reason": "CompletionsReached",
            "lastTransitionTime": now,
            "lastProbeTime": now,
        }
        conditions = [{"type": "SuccessCriteriaMet", **done}, {"type": "Complete", **done}]
        self._job_status = {
            "status": {
                "startTime": now,
                "completionTime": now,
                "succeeded": 1,
                "conditions": conditions,
            }
        }
        ran = {"exitCode": 0, "startedAt": now, "finishedAt": now, "reason": "Completed"}
        self._pod_status = {"status": {
            "phase": "Succeeded",
            "initContainerStatuses": [_container(job_labels.CHECKOUT_CONTAINER, ran)],
            "containerStatuses": [_container(job_labels.COMMAND_CONTAINER, ran)],
        }}  # fmt: skip

    def create_job(self, body: dict[str, Any]) -> None:
        """Create a Job that is complete."""
        self._batch.create_namespaced_job(self._namespace, body, **RAW_RESPONSE)
        self._batch.patch_namespaced_job_status(
            body["metadata"]["name"], self._namespace, self._job_status, **RAW_RESPONSE
        )

    def create_pod(self, job: dict[str, Any]) -> None:
        """Create the ended pod of a Job; no scheduler handles it."""
        name, template = job["metadata"]["name"] + "-abcde", job["spec"]["template"]
        spec = {**template["spec"], "schedulerName": "nobody"}
        body = {"metadata": {"name": name, "labels": template["metadata"]["labels"]}, "spec": spec}
        self._core.create_namespaced_pod(self._namespace, body, **RAW_RESPONSE)
        self._core.patch_namespaced_pod_status(
            name, self._namespace, self._pod_status, **RAW_RESPONSE
        )


def _container(name: str, terminated: dict[str, Any]) -> dict[str, Any]:
    image = {"image": "example.org/image:1", "imageID": "sha256:" + "a" * 64}
    return {
        "name": name,
        "ready": False,
        "restartCount": 0,
        "state": {"terminated": terminated},
        **image,
    }


def main(jobs: int, pods: int, more: int) -> None:
    """Create the Jobs, start Fyre, then run some more."""
    with cluster.create_namespace() as (admin, namespace), up_fixture.temporary_folder() as folder:
        from tests.cluster.access import IMAGE

        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        (folder / "state/kubernetes").mkdir(parents=True)
        (folder / "state/kubernetes/instance").write_text(INSTANCE + "0" * 56)
        bodies = [
            build_finished_job(r, namespace, IMAGE)
            for r in create_runs(folder, f"http://127.0.0.1:{port}", jobs, IMAGE)
        ]
        creator = ObjectCreator(admin, namespace)
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(creator.create_job, bodies))
            list(pool.map(creator.create_pod, bodies[:pods]))
        os.environ["FYRE_BENCH_SEEN"] = str(folder / "seen.jsonl")
        relay = cluster.relay_address()
        server = up_fixture.Server(
            folder / "state", 2, cluster.up_options(namespace, relay), cluster.INSTRUMENTED_FYRE
        )
        server.port = port
        began = time.time_ns()
        with server.running():
            idle = wait_for_record(folder, "idle", 400)
            run_some(server, folder, more)
            server.stop(signal.SIGINT)
        whole = wait_for_record(folder, "requests", 10)
    report(
        began,
        idle,
        {"jobs": jobs, "pods": pods},
        requests_per_run(idle["requests"], whole["requests"], more),
        relay,
    )


def wait_for_record(folder: Path, what: str, seconds: float) -> dict[str, Any]:
    """Return the first record of that kind; raise RuntimeError after so many seconds."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        for line in (folder / "seen.jsonl").read_text().splitlines():
            if (found := json.loads(line))["what"] == what:
                return dict(found)
        time.sleep(0.2)
    raise RuntimeError(f"no {what} within {seconds} s")


def run_some(server: up_fixture.Server, folder: Path, count: int) -> None:
    """Run some commands, each until its status is final; then wait for the last Job."""
    path = folder / "many"
    for number in range(count):
        (sha,) = up_fixture.create_commits(path, [f"More\n\nFyre-Run: echo {number}; sleep 0.5\n"])
        up_fixture.git("push", "-q", f"{server.url}/{NAME}.git", "main", cwd=path)
        while server.get(f"/repos/{NAME}/commits/{sha}/status")["state"] == "pending":
            time.sleep(0.1)
    time.sleep(3)


def requests_per_run(before: dict[str, int], after: dict[str, int], count: int) -> dict[str, float]:
    """Return the requests that each of the runs took, by verb and resource."""
    return {
        what: round((after[what] - before.get(what, 0)) / count, 2)
        for what in sorted(after)
        if after[what] > before.get(what, 0)
    }


def report(
    began: int, idle: dict[str, Any], there: dict[str, int], each: dict[str, float], relay: str
) -> None:
    """Print the figures."""
    seconds = (idle["since"] - began) / 1e9
    print(json.dumps({
        **there,
        "runs_known": idle["known"],
        "start_to_nothing_to_do_seconds": round(seconds, 2),
        "start_to_nothing_to_do_seconds_target": 10,
        "memory_mb_most": round(idle["memory_mb"], 1),
        "memory_mb_target": 300,
        "requests_at_the_start": idle["requests"],
        "requests_per_finished_run": each,
        "requests_per_finished_run_sum": round(sum(each.values()), 2),
        "code_comes_by": "relay" if relay else "exec",
    }, indent=2))  # fmt: skip
    sys.exit(idle["known"] != there["jobs"])


if __name__ == "__main__":
    numbers = [int(word) for word in sys.argv[1:]]
    main(*(numbers + [5000, 1000, 10][len(numbers) :]))

"""From a webhook to the Job that the API server has accepted, beside bare POSTs of the same Job.

``python benchmarks/latency/cluster_launch.py [ROUNDS] [DELIVERIES] [--against CHECKOUT]`` prints
JSON. Fyre: a signed delivery over HTTP, webhook endpoint, plan, engine, from the moment its sender
begins to send. Bare: the client library's ``create_namespaced_job`` with the finished object, a
kept connection and a response that is not parsed, in one thread, as the controller has one.

Cached or left out: the forge responds from memory (no status on the SHA, every POST taken);
commits are read from a bare repository on this disk. Not left out: the reporter's notes on each
Job and the watches run beside. The Jobs are suspended, so that no container takes part.

``--against`` runs this benchmark of another checkout in turn with this one, each on its own code,
and prints both and the ratio: the internals that it drives have other names in other versions.
"""

from __future__ import annotations

import argparse
import copy
import hmac
import http.client
import json
import multiprocessing
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.lib import cluster, up_fixture, versions
from benchmarks.lib.versions import Version
from fyre.engines.kubernetes.api_client import KubernetesClient
from fyre.engines.kubernetes.pod_facts import KubeObject
from fyre.github.client import GitHubClient, PostedStatus, RefUpdates
from fyre.github.rate_limit import RateLimitHeaders
from fyre.runs.commit_status import CommitStatus
from fyre.runs.run import Repository

SECRET = b"benchmark"
REPOSITORY = Repository("http://forge/api", 7, "bench/launch")
REST = 0.2
"""Seconds between two measurements: the reporter's notes on the Job before are written by then."""


class SuspendingClient(KubernetesClient):
    """Suspends every Job that it creates.

    Sends the time at which each was accepted through ``pipe``, with the first Job itself.
    """

    def __init__(self, kubeconfig: str, pipe: Connection) -> None:
        super().__init__(kubeconfig)
        self._pipe = pipe
        self._sent = False

    def create_job(self, namespace: str, job: KubeObject, *, dry_run: bool = False) -> KubeObject:
        """Create a suspended Job, and send the time."""
        job["spec"]["suspend"] = True
        given = None if self._sent else copy.deepcopy(job)
        made = super().create_job(namespace, job, dry_run=dry_run)
        self._pipe.send((time.monotonic_ns(), given))
        self._sent = True
        return made


class InstantForge(GitHubClient):
    """A forge that responds at once: no status on any commit, and every POST accepted."""

    def own_login(self) -> str:
        """Return Fyre's own login."""
        return "fyre"

    def list_repositories(self) -> list[Repository]:
        """Return the one repository."""
        return [REPOSITORY]

    def list_statuses(self, repository: Repository, sha: str) -> list[PostedStatus]:  # noqa: ARG002
        """Return no status."""
        return []

    def create_status(
        self,
        repository: Repository,  # noqa: ARG002
        sha: str,  # noqa: ARG002
        status: CommitStatus,  # noqa: ARG002
    ) -> RateLimitHeaders:
        """Keep nothing, and report no rate limit."""
        return RateLimitHeaders()

    def list_ref_updates(
        self,
        repository: Repository,  # noqa: ARG002
        since: float,  # noqa: ARG002
        etag: str = "",
    ) -> RefUpdates:
        """Return no update."""
        return RefUpdates((), etag)


def run_controller(
    pipe: Connection, kubeconfig: str, namespace: str, git_dir: str, state: str
) -> None:
    """Run the controller on the cluster, in a process of its own.

    It sends its port, then the time at which each Job was accepted.
    """
    import uvicorn
    from starlette.applications import Starlette

    from fyre.controller.executor import Executor
    from fyre.controller.loop import Controller
    from fyre.engines.kubernetes import KubernetesEngine
    from fyre.engines.kubernetes.code_delivery import RelayDelivery
    from fyre.engines.run_index import RunIndex
    from fyre.git.commit_reader import LocalCommitReader
    from fyre.reporter.status_reporter import StatusReporter
    from fyre.runs.policy import Policy
    from fyre.runs.profiles import Profile
    from fyre.server.webhook_endpoint import WebhookEndpoint

    profiles = {"default": Profile(image="example.org/image:1")}
    # There is no forge to be asked whose text a commit is.
    policy = Policy(namespace=namespace, profiles=profiles, merged_forks=True)
    api = SuspendingClient(kubeconfig, pipe)
    delivery = RelayDelivery("http://10.0.0.1:8021", lambda: SECRET, 3600)
    engine = KubernetesEngine(
        api, Path(state), policy=policy, delivery=delivery, checkout_image="example.org/git:1"
    )
    forge, index = InstantForge(REPOSITORY.forge, lambda: ""), RunIndex(engine)
    ledger = StatusReporter(forge, engine, index, lambda key: f"http://pages/{key}")
    controller = Controller(
        Executor(forge, LocalCommitReader(lambda _: Path(git_dir)), engine, index, ledger, policy)
    )
    controller.start()
    endpoint = WebhookEndpoint(forge.url, lambda: [SECRET], controller.enqueue_event)
    listening = socket.create_server(("127.0.0.1", 0))
    pipe.send(listening.getsockname()[1])
    app = Starlette(routes=list(endpoint.routes()))
    config = uvicorn.Config(
        app,
        http="httptools",
        lifespan="off",
        access_log=False,
        log_config=None,
        timeout_keep_alive=600,
    )
    threading.Thread(target=uvicorn.Server(config).run, args=([listening],), daemon=True).start()
    pipe.recv()  # until the other process sends the end
    controller.stop()
    engine.close()


@dataclass
class ControllerProcess:
    """The controller's process: send it deliveries, and receive the times of its Jobs."""

    pipe: Connection
    sender: http.client.HTTPConnection
    job: KubeObject = field(default_factory=dict)  # the first one, as it was sent

    def deliver(self, sha: str) -> int:
        """Send one delivery; return the time when sending began, in nanoseconds."""
        body = payload(sha)
        signature = "sha256=" + hmac.new(SECRET, body, "sha256").hexdigest()
        headers = {
            "X-GitHub-Event": "push",
            "X-Hub-Signature-256": signature,
            "Content-Type": "application/json",
        }
        began = time.monotonic_ns()
        self.sender.request("POST", "/webhook", body, headers)
        answer = self.sender.getresponse()
        answer.read()
        assert answer.status == 202, answer.status
        return began

    def wait_for_jobs(self, count: int = 1) -> int:
        """Wait for so many Jobs; return the time when the last was accepted, in nanoseconds."""
        for _ in range(count):
            at, job = self.pipe.recv()
            self.job = job or self.job
        return int(at)


@contextmanager
def start_controller(namespace: str, git_dir: Path, state: Path) -> Iterator[ControllerProcess]:
    """Run a controller in a process of its own."""
    own_end, other_end = multiprocessing.get_context("spawn").Pipe()
    kubeconfig = os.environ["FYRE_TEST_KUBECONFIG"]
    arguments = (other_end, kubeconfig, namespace, str(git_dir), str(state))
    process = multiprocessing.get_context("spawn").Process(target=run_controller, args=arguments)
    process.start()
    try:
        yield ControllerProcess(own_end, http.client.HTTPConnection("127.0.0.1", own_end.recv()))
    finally:
        own_end.send("end")
        process.join(30)
        process.kill()


def payload(sha: str) -> bytes:
    """Return the payload of a push of one commit, as far as it is read."""
    told = {"id": REPOSITORY.id, "full_name": REPOSITORY.name, "default_branch": "main"}
    return json.dumps({
        "ref": "refs/heads/main", "before": "1" * 40, "after": sha, "deleted": False,
        "commits": [{"id": sha}], "sender": {"login": "ada"}, "repository": told,
    }).encode()  # fmt: skip


class BareClient:
    """The floor: creates the same Job under another name and another instance.

    The controller's watches do not select that instance.
    """

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace
        self._api = KubernetesClient(os.environ["FYRE_TEST_KUBECONFIG"])
        self._number = 0

    def copy_job(self, job: KubeObject) -> KubeObject:
        """Return a copy of that Job under the next name."""
        self._number += 1
        other = copy.deepcopy(job)
        other["metadata"]["name"] = f"bare-{self._number}"
        for labels in (
            other["metadata"]["labels"],
            other["spec"]["template"]["metadata"]["labels"],
        ):
            labels["app.kubernetes.io/instance"] = "bare"
        return other

    def post(self, body: KubeObject) -> float:
        """Create the Job; return the seconds that the POST took."""
        began = time.monotonic_ns()
        self._api.create_job(self._namespace, body)
        return (time.monotonic_ns() - began) / 1e9


def latency(
    fyre: ControllerProcess, bare: BareClient, shas: list[str]
) -> tuple[list[float], list[float]]:
    """Return the milliseconds of both, measured in turn."""
    webhook_to_job, floor = [], []
    for sha in shas:
        began = fyre.deliver(sha)
        webhook_to_job.append((fyre.wait_for_jobs() - began) / 1e6)
        time.sleep(REST)
        floor.append(bare.post(bare.copy_job(fyre.job)) * 1e3)
        time.sleep(REST)
    return webhook_to_job[2:], floor[2:]


def rates(fyre: ControllerProcess, bare: BareClient, shas: list[str]) -> tuple[float, float]:
    """Return the Jobs a second of both.

    Deliveries are sent without waiting for their Jobs, and POSTs one after the other.
    """
    began = fyre.deliver(shas[0])
    sender = threading.Thread(target=lambda: [fyre.deliver(sha) for sha in shas[1:]])
    sender.start()
    fyre_rate = len(shas) / ((fyre.wait_for_jobs(len(shas)) - began) / 1e9)
    sender.join()
    time.sleep(len(shas) / 40)  # for the reporter and the cluster to become idle
    bodies = [bare.copy_job(fyre.job) for _ in shas]
    began = time.monotonic_ns()
    for body in bodies:
        bare.post(body)
    bare_rate = len(shas) / ((time.monotonic_ns() - began) / 1e9)
    time.sleep(len(shas) / 80)
    return fyre_rate, bare_rate


def main(rounds: int, deliveries: int, repeats: int = 9) -> None:
    """Measure the latency first, then the rate."""
    with (
        cluster.create_namespace() as (_, namespace),
        tempfile.TemporaryDirectory(prefix="fyre-bench-") as folder,
    ):
        os.environ.update(up_fixture.isolated_git(Path(folder)))
        path = up_fixture.create_repository(Path(folder), "launch", files=10)
        messages = [
            f"Launch {n}\n\nFyre-Run: echo {n}\n" for n in range(rounds + 2 + repeats * deliveries)
        ]
        shas = up_fixture.create_commits(path, messages)
        with start_controller(namespace, path / ".git", Path(folder) / "state") as process:
            bare = BareClient(namespace)
            fyre, floor = latency(process, bare, shas[: rounds + 2])
            rest = shas[rounds + 2 :]
            pairs = [
                rates(process, bare, rest[n * deliveries :][:deliveries]) for n in range(repeats)
            ]
    report(fyre, floor, pairs)


def report(fyre: list[float], floor: list[float], pairs: list[tuple[float, float]]) -> None:
    """Print the figures of both, and their ratios."""
    ratio = {
        share: cluster.percentile(fyre, share) / cluster.percentile(floor, share)
        for share in (0.5, 0.99)
    }
    rate = statistics.median(fyre_rate / bare_rate for fyre_rate, bare_rate in pairs)
    print(json.dumps({
        "rounds": len(fyre),
        "webhook_to_job_ms": cluster.p50_and_p99(fyre),
        "bare_post_ms": cluster.p50_and_p99(floor),
        "ratio_p50": round(ratio[0.5], 2),
        "ratio_p50_target": 3,
        "ratio_p99": round(ratio[0.99], 2),
        "ratio_p99_target": 4,
        "deliveries_a_second": [round(fyre_rate, 1) for fyre_rate, _ in pairs],
        "bare_posts_a_second": [round(bare, 1) for _, bare in pairs],
        "rate_ratio": round(rate, 2),
        "rate_ratio_target": 0.6,
        "threads": 1,
        "left_out": "the forge responds from memory; commits are read from this disk; "
        "Jobs are suspended",
    }, indent=2))  # fmt: skip


def compare(rounds: int, deliveries: int, against: Path) -> None:
    """Run this benchmark of both versions in turn, three times each; print medians and ratios."""
    compared = versions.select_versions(against)
    reports: dict[str, list[dict[str, Any]]] = {version.name: [] for version in compared}
    for number in range(3):
        for version in versions.in_turn(compared, number):
            reports[version.name].append(run_benchmark(version, rounds, deliveries))
    latencies = {
        name: [one["webhook_to_job_ms"]["p50"] for one in found] for name, found in reports.items()
    }
    rates = {
        name: [statistics.median(one["deliveries_a_second"]) for one in found]
        for name, found in reports.items()
    }
    print(json.dumps({
        "rounds": rounds,
        "repeats": 3,
        "webhook_to_job_p50_ms": {k: round(statistics.median(v), 1) for k, v in latencies.items()},
        "deliveries_a_second": {k: round(statistics.median(v), 1) for k, v in rates.items()},
        "latency_fyre_over_against": versions.median_ratio(latencies["fyre"], latencies["against"]),
        "rate_fyre_over_against": versions.median_ratio(rates["fyre"], rates["against"]),
    }, indent=2))  # fmt: skip


def run_benchmark(version: Version, rounds: int, deliveries: int) -> dict[str, Any]:
    """Run a version's own ``cluster_launch.py``; return what it prints."""
    (script,) = (version.source / "benchmarks").rglob("cluster_launch.py")
    done = subprocess.run(
        [sys.executable, str(script), str(rounds), str(deliveries)],
        cwd=version.source,
        env=os.environ | version.environment,
        stdout=subprocess.PIPE,
        check=False,
    )
    if done.returncode:
        sys.exit(done.returncode)  # it has said why
    figures: dict[str, Any] = json.loads(done.stdout)
    return figures


if __name__ == "__main__":
    arguments = argparse.ArgumentParser()
    arguments.add_argument("rounds", type=int, nargs="?", default=200)
    arguments.add_argument("deliveries", type=int, nargs="?", default=100)
    versions.add_option(arguments)
    options = vars(arguments.parse_args())
    if options["against"]:
        compare(**options)
    else:
        main(options["rounds"], options["deliveries"])

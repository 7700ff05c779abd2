"""What the cluster and its admin do to runs, and what a person may ask for that can't be: on a
real cluster.
"""

from __future__ import annotations

import os
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from kubernetes.client import ApiException

from fyre.errors import TransientError, UserError
from fyre.runs import commit_status
from fyre.runs.policy import Policy
from fyre.runs.state import RunState
from tests.cluster import access
from tests.conftest import git
from tests.contract.engine import await_end, await_state, make_run
from tests.support import waiting
from tests.support.cluster_profiles import cluster_profile
from tests.support.run_endings import end, launched, own_lines, until, until_log

if TYPE_CHECKING:
    from fyre.engines.kubernetes import KubernetesEngine
    from fyre.runs.run import Run
    from tests.support.engine_fixtures import MakeOnCluster

pytestmark = pytest.mark.cluster

HUGE = (("cpu", "1000"),)
QUOTA = {"metadata": {"name": "quota"}, "spec": {"hard": {"pods": "0"}}}
LOOPS = "echo on; while :; do sleep 0.2; done"


@pytest.fixture
def engine(on_cluster: MakeOnCluster) -> KubernetesEngine:
    return on_cluster()


@pytest.fixture
def own(admin: access.Admin) -> Iterator[str]:
    """A namespace of the test's own."""
    with admin.namespace() as name:
        yield name


@pytest.fixture
def as_admin(
    admin: access.Admin, repo: Path, tmp_path: Path
) -> Iterator[Callable[[str], KubernetesEngine]]:
    """Makes an engine that may do everything, in a namespace that may not even be there."""
    from fyre.engines.kubernetes import KubernetesEngine
    from fyre.engines.kubernetes.api_client import KubernetesClient
    from fyre.engines.kubernetes.code_delivery import ExecDelivery

    made: list[KubernetesEngine] = []

    def new(namespace: str) -> KubernetesEngine:
        api = KubernetesClient(access.KUBECONFIG)
        policy = Policy(
            namespace=namespace,
            profiles={"default": cluster_profile(image=access.IMAGE, termination_grace_seconds=2)},
        )
        delivery = ExecDelivery(api, lambda _: repo / ".git")
        made.append(KubernetesEngine(api, tmp_path / "admin", policy=policy, delivery=delivery))
        return made[-1]

    yield new
    for engine in made:
        engine.close()


def patch_job(admin: access.Admin, namespace: str, run: Run, spec: dict[str, object]) -> None:
    admin.batch.patch_namespaced_job(f"fyre-{run.key}", namespace, {"spec": spec})


def until_over(admin: access.Admin, namespace: str, run: Run) -> None:
    """Wait for the Job to have failed or to be complete."""
    deadline = time.monotonic() + 60
    while not {"Failed", "Complete"} & {
        c.type for c in job_of(admin, namespace, run).status.conditions or []
    }:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def job_of(admin: access.Admin, namespace: str, run: Run):
    return admin.batch.read_namespaced_job(f"fyre-{run.key}", namespace)


# What is not let in.


def test_9_33_a_status_names_the_submodules_that_a_pod_lacks(
    engine: KubernetesEngine, repo: Path
) -> None:
    git("update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},vendor/part", cwd=repo)
    git("commit", "-q", "-m", "Part", cwd=repo)
    run = make_run(git("rev-parse", "HEAD", cwd=repo), "true")
    engine.launch(run)
    text = commit_status.status_from_record(await_end(engine, run.key)).description
    assert text.endswith(" · not checked out: submodules (vendor/part)")


def test_a_quota_is_waited_for(
    on_cluster: MakeOnCluster, admin: access.Admin, own: str, sha: str
) -> None:
    engine = on_cluster(Policy(namespace=own, image_grace=1.0))
    admin.core.create_namespaced_resource_quota(own, QUOTA)
    run = launched(engine, sha, "echo on")
    before = until(engine, run, lambda r: "quota" in r.reason)
    assert before.state is RunState.QUEUED
    assert (
        before.reason == "exceeded quota: quota, requested: pods=1, used: pods=0, limited: pods=0"
    )
    admin.core.delete_namespaced_resource_quota("quota", own)
    record, log = end(engine, run)
    assert (record.state, record.reason, log) == (RunState.SUCCEEDED, "", "on\n")


def test_a_quota_of_jobs_is_waited_for(
    on_cluster: MakeOnCluster, admin: access.Admin, own: str, sha: str
) -> None:
    engine = on_cluster(Policy(namespace=own))
    hard = {"count/jobs.batch": "0"}
    admin.core.create_namespaced_resource_quota(
        own, {"metadata": {"name": "jobs"}, "spec": {"hard": hard}}
    )
    deadline = time.monotonic() + 20
    while not (admin.core.read_namespaced_resource_quota("jobs", own).status.used or {}):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    run = make_run(sha, "true")
    with pytest.raises(TransientError, match="exceeded quota: jobs"):
        engine.launch(run)
    admin.core.delete_namespaced_resource_quota("jobs", own)
    while not _is_let_in(engine, run):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert end(engine, run)[0].state is RunState.SUCCEEDED


def _is_let_in(engine: KubernetesEngine, run: Run) -> bool:
    with suppress(TransientError):
        return engine.launch(run)
    return False


def test_what_pod_security_denies(on_cluster: MakeOnCluster, sha: str) -> None:
    engine = on_cluster(
        profile=cluster_profile(
            image=access.IMAGE, security_context={"runAsUser": 0, "runAsNonRoot": False}
        )
    )
    record, log = end(engine, launched(engine, sha, "echo on"))
    assert (record.state, record.tries, log) == (RunState.ERROR, 0, "")
    assert 'violates PodSecurity "restricted' in record.reason
    assert "runAsNonRoot" in record.reason


def test_a_namespace_that_is_missing(as_admin: Callable[[str], KubernetesEngine], sha: str) -> None:
    with pytest.raises(UserError, match='namespaces "fyre-not-there" not found'):
        as_admin("fyre-not-there").launch(make_run(sha, "true"))


def test_a_namespace_that_is_going(
    as_admin: Callable[[str], KubernetesEngine], admin: access.Admin, sha: str
) -> None:
    name = f"fyre-going-{os.getpid()}"
    admin.core.create_namespace({"metadata": {"name": name}})
    admin.core.create_namespaced_config_map(
        name, {"metadata": {"name": "held", "finalizers": ["fyre.test/hold"]}}
    )
    admin.core.delete_namespace(name)
    try:
        with pytest.raises(TransientError, match="being terminated"):
            as_admin(name).launch(make_run(sha, "true"))
    finally:
        admin.core.patch_namespaced_config_map("held", name, {"metadata": {"finalizers": None}})


def test_a_job_that_is_still_going(
    engine: KubernetesEngine, admin: access.Admin, namespace: str, sha: str
) -> None:
    run = make_run(sha, "echo on")
    name = f"fyre-{run.key}"
    container = {"name": "c", "image": access.IMAGE}
    admin.batch.create_namespaced_job(
        namespace,
        {
            "metadata": {"name": name, "finalizers": ["fyre.test/hold"]},
            "spec": {
                "suspend": True,
                "template": {"spec": {"restartPolicy": "Never", "containers": [container]}},
            },
        },
    )
    with pytest.raises(UserError, match="is not this run's"):
        engine.launch(run)
    admin.batch.delete_namespaced_job(name, namespace, propagation_policy="Foreground")
    with pytest.raises(TransientError, match="being deleted"):
        engine.launch(run)
    admin.batch.patch_namespaced_job(name, namespace, {"metadata": {"finalizers": None}})
    with suppress(ApiException):
        while True:
            admin.batch.read_namespaced_job(name, namespace)
            time.sleep(0.05)
    assert engine.launch(run)
    assert end(engine, run)[0].state is RunState.SUCCEEDED


# Cancel, whatever it is doing.


def test_cancel_where_no_node_is_large_enough(engine: KubernetesEngine, sha: str) -> None:
    run = launched(engine, sha, "true", resources=HUGE)
    until(engine, run, lambda r: r.reason.startswith("unschedulable"))
    assert engine.cancel(run.key, "bob")
    record, log = end(engine, run)
    assert (record.state, record.cancelled_by, record.tries, log) == (
        RunState.CANCELLED,
        "bob",
        0,
        "",
    )


def test_cancel_where_no_pod_was_let_in(
    on_cluster: MakeOnCluster, admin: access.Admin, own: str, sha: str
) -> None:
    engine = on_cluster(Policy(namespace=own))
    admin.core.create_namespaced_resource_quota(own, QUOTA)
    run = launched(engine, sha, "true")
    assert engine.cancel(run.key, "bob")
    record, log = end(engine, run)
    assert (record.state, record.cancelled_by, log) == (RunState.CANCELLED, "bob", "")


@pytest.mark.parametrize("trap", ["trap '' TERM", "trap 'echo saved; exit 0' TERM"])
def test_cancel_of_what_ends_its_own_way(engine: KubernetesEngine, sha: str, trap: str) -> None:
    run = launched(engine, sha, f"{trap}; {LOOPS}")
    until_log(engine, run, "on")
    assert engine.cancel(run.key, "bob")
    record, log = end(engine, run)
    assert (record.state, record.exit_code, record.cancelled_by) == (
        RunState.CANCELLED,
        None,
        "bob",
    )
    told = ["saved"] if "saved" in trap else []
    assert own_lines(log) == ["on", *told]


def test_cancel_of_what_waits_in_a_queue(
    engine: KubernetesEngine, admin: access.Admin, namespace: str, sha: str
) -> None:
    run = launched(engine, sha, "true", resources=HUGE)
    patch_job(admin, namespace, run, {"suspend": True})
    until(engine, run, lambda r: r.reason == "suspended")
    assert engine.cancel(run.key, "bob")
    record, _ = end(engine, run)
    assert (record.state, record.cancelled_by) == (RunState.CANCELLED, "bob")
    patch_job(admin, namespace, run, {"suspend": False})
    until_over(admin, namespace, run)
    assert not job_of(admin, namespace, run).status.active


# Logs.


def test_a_log_of_thirty_megabytes(engine: KubernetesEngine, sha: str) -> None:
    run = launched(engine, sha, "python3 -c 'for i in range(300000): print(str(i).zfill(99))'")
    _, log = end(engine, run)
    lines = log.splitlines()
    assert [int(lines[0]), int(lines[-1])] == [0, 299_999]
    assert len(lines) == 300_000 or any(
        line.startswith("[fyre: some output was lost") for line in lines
    )


def test_a_log_beyond_its_bounds_has_its_head_and_its_tail(
    on_cluster: MakeOnCluster, sha: str, tmp_path: Path
) -> None:
    engine = on_cluster(log_max_bytes=100_000, log_store_url=str(tmp_path / "kept"))
    run = launched(engine, sha, "python3 -c 'for i in range(20000): print(str(i).zfill(99))'")
    end(engine, run)  # whoever follows a log may see what is not kept of it
    waiting.until((tmp_path / "kept" / f"{run.key}.zst").exists)
    log = end(engine, run)[1]
    assert log.startswith(f"{0:099d}\n{1:099d}\n")
    assert log.endswith(f"{19_999:099d}\n")
    assert len(log) < 110_000
    assert re.search(r"\n\[fyre: [0-9,]+ bytes are left out here\]\n", log)


def test_secrets_are_struck_out(
    on_cluster: MakeOnCluster, admin: access.Admin, namespace: str, sha: str
) -> None:
    value = "correct-horse-battery"
    admin.core.create_namespaced_secret(
        namespace, {"metadata": {"name": "keys"}, "stringData": {"KEY": value}}
    )
    engine = on_cluster(profile=cluster_profile(image=access.IMAGE, secrets=("keys",)))
    run = launched(
        engine, sha, 'echo "a $KEY b"; printf %.9s "$KEY"; sleep 1; echo "${KEY#?????????}"; echo c'
    )
    followed = b"".join(engine.read_log(run.key, follow=True)).decode()
    _, kept = end(engine, run)
    assert followed == kept == f"a {'*' * len(value)} b\n{'*' * len(value)}\nc\n"


# What a person may ask for.


def test_a_long_command(engine: KubernetesEngine, sha: str) -> None:
    command = f"echo ${{#A}} \\\n# {'$(HOME) $$ é ' * 7500}\nA={'x' * 1000}; echo ${{#A}}"
    assert len(command.encode()) > 100_000
    record, log = end(engine, launched(engine, sha, command, env=(("A", "12"),)))
    assert (record.state, log) == (RunState.SUCCEEDED, "2\n1000\n")


def test_an_environment_of_odd_values(engine: KubernetesEngine, sha: str) -> None:
    values = (
        "one\ntwo\n",
        "\"'\\",
        "$(A0)",
        "$$(A0)",
        "$$$(A0)",
        "`$HOME`",
        "$HOME ${HOME}",
        " ",
        "é\t",
    )
    env = tuple((f"A{number}", value) for number, value in enumerate(values))
    command = (
        "python3 -c 'import os; print([v for k, v in sorted(os.environ.items()) if k[0] == \"A\"])'"
    )
    record, log = end(engine, launched(engine, sha, command, env=env))
    assert (record.state, log) == (RunState.SUCCEEDED, f"{list(values)}\n")


@pytest.mark.parametrize(("spec", "named"), [
    ({"resources": (("cpu", "lots"),)}, "quantities must match"),
    ({"env": (("A=B", "1"),)}, "A=B"),
    ({"secrets": ("No Such",)}, "No Such"),
])  # fmt: skip
def test_what_no_cluster_takes(
    engine: KubernetesEngine, sha: str, spec: dict[str, object], named: str
) -> None:
    run = make_run(sha, "true", **spec)
    with pytest.raises(UserError, match=f"the cluster refused it: .*{named}"):
        engine.launch(run)
    assert engine.get_record(run.key) is None


@pytest.mark.parametrize(
    "spec", [{"command": "echo \udcff"}, {"command": "true", "env": (("A", "\udcff"),)}]
)
def test_bytes_that_are_no_utf_8(
    engine: KubernetesEngine, sha: str, spec: dict[str, object]
) -> None:
    run = make_run(sha, **spec)
    with pytest.raises(UserError, match="no UTF-8"):
        engine.launch(run)
    assert engine.get_record(run.key) is None


# Another engine takes over.


@pytest.fixture(params=["the same state", "an empty state"])
def takes_over(
    request: pytest.FixtureRequest, on_cluster: MakeOnCluster, tmp_path: Path
) -> Callable[[KubernetesEngine], KubernetesEngine]:
    def next_one(engine: KubernetesEngine) -> KubernetesEngine:
        engine.close()
        if request.param == "an empty state":
            shutil.rmtree(tmp_path / "state")
        return on_cluster()

    return next_one


TakesOver = Callable[["KubernetesEngine"], "KubernetesEngine"]


def test_the_engine_is_restarted_while_it_waits(
    engine: KubernetesEngine, takes_over: TakesOver, sha: str
) -> None:
    run = launched(engine, sha, "true", resources=HUGE)
    until(engine, run, lambda r: r.reason.startswith("unschedulable"))
    then = takes_over(engine)
    assert not then.launch(run)
    assert until(then, run, lambda r: r.reason.startswith("unschedulable")).state is RunState.QUEUED
    assert then.cancel(run.key, "bob")
    assert end(then, run)[0].state is RunState.CANCELLED


def test_the_engine_is_restarted_while_it_runs(
    engine: KubernetesEngine, takes_over: TakesOver, sha: str
) -> None:
    run = launched(engine, sha, "echo one; sleep 3; echo two")
    until_log(engine, run, "one")
    then = takes_over(engine)
    assert not then.launch(run)
    record, log = end(then, run)
    assert (record.state, record.tries, log) == (RunState.SUCCEEDED, 1, "one\ntwo\n")
    assert record.run == run


def test_the_engine_is_restarted_after_its_end(
    engine: KubernetesEngine, takes_over: TakesOver, admin: access.Admin, namespace: str, sha: str
) -> None:
    run = launched(engine, sha, "echo one; sleep 1; echo two; exit 3")
    await_state(engine, run.key, RunState.RUNNING)
    engine.close()
    until_over(admin, namespace, run)
    record, log = end(takes_over(engine), run)
    assert (record.state, record.exit_code, record.tries, log) == (
        RunState.FAILED,
        3,
        1,
        "one\ntwo\n",
    )


def test_the_engine_is_closed_while_it_reads_the_log_of_what_has_ended(
    engine: KubernetesEngine, on_cluster: MakeOnCluster, sha: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half a log is not kept as if it were all; the next engine reads on."""
    ask, close, halfway, closing = (
        engine._cluster.stream_container_log,
        engine._log_collector.close,
        threading.Event(),
        threading.Event(),
    )

    def slowly(*where: str, follow: bool) -> Iterator[bytes]:
        for piece in ask(*where, follow=follow):
            yield piece[:4]
            halfway.set()
            closing.wait(60)
            yield piece[4:]

    monkeypatch.setattr(engine._cluster, "stream_container_log", slowly)
    monkeypatch.setattr(engine._log_collector, "close", lambda: (close(), closing.set()))
    run = launched(engine, sha, "echo one; echo two")
    await_state(engine, run.key, RunState.SUCCEEDED)
    assert halfway.wait(60)
    engine.close()
    assert end(on_cluster(), run)[1] == "one\ntwo\n"


# Who we are.


@contextmanager
def raises(kind: type[Exception], *words: str) -> Iterator[None]:
    """One line with these words in it."""
    with pytest.raises(kind) as caught:
        yield
    for word in words:
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 250


def test_a_role_without_the_right_to_create(
    on_cluster: MakeOnCluster, admin: access.Admin, namespace: str, sha: str
) -> None:
    engine = on_cluster()
    found = admin.rbac.list_namespaced_role(namespace).items
    role = max(found, key=lambda r: int(r.metadata.resource_version))
    rules = admin.api.sanitize_for_serialization(role.rules)
    narrower = [
        rule | {"verbs": [verb for verb in rule["verbs"] if verb != "create"]} for rule in rules
    ]
    admin.rbac.patch_namespaced_role(role.metadata.name, namespace, {"rules": narrower})
    deadline = time.monotonic() + 20
    with raises(TransientError, "create jobs", namespace, "fyre manifests"):
        while time.monotonic() < deadline:  # the authorizer hears of it in its own time
            engine.launch(make_run(sha, "true"))


def test_a_wrong_token(admin: access.Admin, tmp_path: Path) -> None:
    from fyre.engines.kubernetes.api_client import KubernetesClient

    config = admin.write_kubeconfig(tmp_path / "config", {"token": "wrong"})
    with raises(TransientError, "does not take our credentials", "expired"):
        KubernetesClient(str(config)).get_job("default", "any")


def test_an_expired_certificate(admin: access.Admin, tmp_path: Path) -> None:
    import base64

    from cryptography import x509
    from cryptography.hazmat.primitives import serialization

    from fyre.engines.kubernetes.api_client import KubernetesClient
    from tests.cluster.certificates import Authority

    known = Path(admin.settings.ssl_ca_cert)
    if not (known.parent / "ca.key").exists():
        pytest.skip("needs the cluster's own key, which only the tests' own cluster shows")
    key = serialization.load_pem_private_key((known.parent / "ca.key").read_bytes(), None)
    Authority(tmp_path, key, x509.load_pem_x509_certificate(known.read_bytes())).issue(
        "old", "bob", days=-1
    )
    shown = {
        kind: base64.b64encode((tmp_path / f"old.{end}").read_bytes()).decode()
        for kind, end in (("client-certificate-data", "crt"), ("client-key-data", "key"))
    }
    time.sleep(1.1)  # until it is over: it can't be issued for less than a second
    with raises(TransientError, "does not take our credentials", "expired"):
        KubernetesClient(str(admin.write_kubeconfig(tmp_path / "config", shown))).get_job(
            "default", "any"
        )


def test_no_kubeconfig(tmp_path: Path) -> None:
    from fyre.engines.kubernetes.api_client import KubernetesClient

    with raises(UserError, "no cluster: ", "nowhere"):
        KubernetesClient(str(tmp_path / "nowhere"))


def test_nobody_listens(admin: access.Admin, tmp_path: Path) -> None:
    from fyre.engines.kubernetes.api_client import KubernetesClient

    config = admin.write_kubeconfig(
        tmp_path / "config", {"token": "any"}, server="https://127.0.0.1:1"
    )
    with raises(TransientError, "the API server can't be reached", "Connection refused"):
        KubernetesClient(str(config)).get_job("default", "any")

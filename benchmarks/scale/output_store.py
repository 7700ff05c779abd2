"""Outputs to a bucket and back, beside rclone with the same data and the same S3 server.

Some large files and many small ones are stored by the local engine's own way (a hash each, the
manifest last) and pulled from a receiver; ``rclone copy`` copies them there and back. rclone hashes
nothing that Fyre does not, so its own SHA-256 of the same files is timed too, and added in
``of_rclone_with_hashes``. A second store of the same must send nothing.

``python benchmarks/scale/output_store.py [--quick | --long]`` prints JSON. It needs rclone, and Go
for the server. Exits 1 if a content is wrong, or is sent again.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.lib import up_fixture
from fyre.artifacts.artifact_store import ArtifactStore, StoredBlob, open_store
from fyre.artifacts.manifest import Artifact, RunManifest
from fyre.client.outputs import OutputDownload, fetch_outputs
from fyre.runs.results import RunResults
from fyre.runs.run import Repository
from fyre.server import run_links
from tests.support import s3_server

RUN_KEY = "ab" * 13
TARGET = 0.8


@dataclass(frozen=True)
class DataSet:
    """Files of one kind."""

    name: str
    count: int
    size: int  # bytes of each

    @property
    def megabytes(self) -> float:
        """All bytes together."""
        return self.count * self.size / 1e6


QUICK = (DataSet("large", 5, 40_000_000), DataSet("small", 2_000, 10_000))
SHORT = (DataSet("large", 10, 100_000_000), DataSet("small", 10_000, 10_000))
LONG = (DataSet("large", 10, 500_000_000), DataSet("small", 100_000, 10_000))


def main(data_sets: Sequence[DataSet]) -> None:
    """Measure each kind of files, and print all figures."""
    results = {}
    with up_fixture.temporary_folder() as folder, s3_server.run_server(folder / "s3") as server:
        os.environ |= server.environment()
        for data in data_sets:
            results[data.name] = measure(data, folder, server)
    print(json.dumps({"target": TARGET, **results}, indent=2))
    sys.exit(any(one["sent_again"] for one in results.values()))


def measure(data: DataSet, folder: Path, server: s3_server.S3Server) -> dict[str, object]:
    """Return the figures of one kind of files."""
    source = make_files(data, folder / data.name)
    for bucket in ("fyre", "rclone"):
        server.make_bucket(f"{bucket}-{data.name}")
    remote = f":s3:rclone-{data.name}"
    rclone = ["rclone", "--config=", *RCLONE_S3, "--transfers=8"]
    rclone += [f"--s3-endpoint={os.environ['AWS_ENDPOINT_URL']}"]
    rclone_store = timed(lambda: run(*rclone, "copy", str(source), remote))
    rclone_hash = timed(lambda: run(*rclone, "hashsum", "sha256", str(source)))
    url = f"s3://fyre-{data.name}/outputs"
    store = open_store(url)
    fyre_store = timed(lambda: store_run(store, source))
    before = stored_times(store)
    again = timed(lambda: store_run(store, source))
    sent_again = stored_times(store) != before
    rclone_pull = timed(lambda: run(*rclone, "copy", remote, str(folder / "by-rclone")))
    fyre_pull = pull(url, folder / "root", folder / "by-fyre")
    same = subprocess.run(["diff", "-r", source, folder / "by-fyre"], check=False).returncode == 0
    for each in (source, folder / "by-rclone", folder / "by-fyre", folder / "root"):
        shutil.rmtree(each)
    if not same:
        raise SystemExit("what was pulled is not what was stored")
    return {
        "files": data.count,
        "megabytes": round(data.megabytes),
        "store": compared(data, fyre_store, rclone_store, rclone_hash),
        "pull": compared(data, fyre_pull, rclone_pull, rclone_hash),
        "store_again_seconds": round(again, 2),
        "sent_again": sent_again,
    }


RCLONE_S3 = (
    "--s3-provider=Other",
    "--s3-env-auth",
    "--s3-no-check-bucket",
    "--checkers=8",
    "--retries=1",
)


def compared(data: DataSet, ours: float, theirs: float, hashing: float) -> dict[str, float]:
    """Return both rates, and their ratio: over 1 is faster than rclone."""
    return {
        "fyre_seconds": round(ours, 2),
        "rclone_seconds": round(theirs, 2),
        "rclone_hash_seconds": round(hashing, 2),
        "fyre_mb_per_second": round(data.megabytes / ours, 1),
        "of_rclone": round(theirs / ours, 2),
        "of_rclone_with_hashes": round((theirs + hashing) / ours, 2),
    }


def make_files(data: DataSet, folder: Path) -> Path:
    """Write files of random bytes, a hundred a folder."""
    for number in range(data.count):
        path = folder / f"{number // 100:03}" / f"{number:06}.bin"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(data.size))
    return folder


def store_run(store: ArtifactStore, source: Path) -> None:
    """Store files and their manifest, as the local engine does."""
    paths = sorted(path for path in source.rglob("*") if path.is_file())
    artifacts = []
    for path, blob in zip(paths, store.add_files(paths), strict=True):
        if not isinstance(blob, StoredBlob):
            raise SystemExit(f"{path}: {blob}")
        name = str(path.relative_to(source))
        artifacts.append(Artifact(name, blob.size, blob.sha256, 0o644))
    total = sum(one.size for one in artifacts)
    store.put_manifest(
        RunManifest(
            RUN_KEY,
            Repository("http://forge", 1, "bench/lab", "main"),
            "a1" * 20,
            "run",
            1,
            time.time(),
            tuple(artifacts),
            RunResults(len(artifacts), total),
        )
    )


def stored_times(store: ArtifactStore) -> dict[str, float]:
    """Return when each content was stored."""
    return {one.key: one.stored_at for one in store.storage.list_objects("blobs/")}


def pull(url: str, root: Path, target: Path) -> float:
    """Return the seconds in which a run's outputs come from a receiver of its own."""
    server = up_fixture.Server(root, 1, options=("--artifact-store", url))
    with server.running():
        token = run_links.run_token((root / "pages.secret").read_bytes(), RUN_KEY)
        outputs = fetch_outputs(f"{server.url}/runs/{token}")
        if outputs is None:
            raise SystemExit("the receiver has no such outputs")
        return timed(lambda: OutputDownload(outputs, target).run(outputs.select([])))


def timed(action: Callable[[], object]) -> float:
    """Return the seconds that something takes, with all that was written before on the disk."""
    os.sync()
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def run(*command: str) -> None:
    """Run rclone to its end; Debian's takes no bundle of certificates from the environment."""
    env = {name: value for name, value in os.environ.items() if name != "AWS_CA_BUNDLE"}
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=env)


if __name__ == "__main__":
    main({"--quick": QUICK, "--long": LONG}.get(" ".join(sys.argv[1:]), SHORT))

"""The outputs of a run: their list, and their content, from the receiver that stored them."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from io import BufferedRandom
from pathlib import Path
from typing import TYPE_CHECKING

from fyre import http_session
from fyre.artifacts import manifest as manifests
from fyre.artifacts.manifest import Artifact, RunManifest
from fyre.errors import TransientError, UserError
from fyre.stored_form import UnreadableError

if TYPE_CHECKING:
    from requests import Response, Session

DOWNLOADS_AT_ONCE = 6
_TIMEOUT = 30  # seconds for the next piece of an answer
_LIST_SECONDS = 600.0  # for the whole list, which may be of 10,000s of files
_CHUNK_SIZE = 1024 * 1024  # bytes
_SMALL = 256 * 1024  # bytes of a file that is fetched with others
_BATCH_FILES, _BATCH_BYTES = 250, 4 * 1024 * 1024
_ATTEMPTS = 5
"""Requests for one file whose connection breaks off; each goes on where the last one ended."""


@dataclass(frozen=True, slots=True)
class RunOutputs:
    """The outputs of one run. ``page_url`` is the address of its page."""

    page_url: str
    manifest: RunManifest

    def select(self, patterns: Sequence[str]) -> list[Artifact]:
        """Return the outputs with one of these paths, or below one; all without a path.

        Raises ``UserError`` for a path that names none.
        """
        if not patterns:
            return list(self.manifest.artifacts)
        selected: dict[str, Artifact] = {}
        for pattern in patterns:
            path = pattern.removeprefix("./").rstrip("/")
            found = [
                one
                for one in self.manifest.artifacts
                if one.path == path or one.path.startswith(f"{path}/")
            ]
            if not found:
                raise UserError(
                    f"this run has no output {pattern}", hint="`fyre outputs` lists them"
                )
            selected |= {one.path: one for one in found}
        return list(selected.values())


def fetch_outputs(page_url: str) -> RunOutputs | None:
    """Return the outputs of a run; None if it has none, or they are not stored yet.

    Raises ``TransientError`` if the receiver can't be reached, ``UserError`` if its answer can't be
    understood.
    """
    import requests

    if not page_url.startswith(("http://", "https://")):
        return None
    try:
        with http_session.open_session(_LIST_SECONDS) as session:
            response = session.get(f"{page_url}/outputs.json", timeout=_TIMEOUT)
            if response.status_code == requests.codes.not_found:
                return None
            response.raise_for_status()
            return RunOutputs(page_url, manifests.from_json(response.json()))
    except requests.HTTPError as error:
        raise TransientError(f"the receiver answers {error.response.status_code}") from error
    except requests.RequestException as error:
        raise TransientError(http_session.describe_failure(error)) from error
    except (UnreadableError, ValueError) as error:
        raise UserError(f"the list of outputs can't be read: {error}") from error


@dataclass
class OutputDownload:
    """One download of outputs into a folder. ``on_bytes`` is told of each piece."""

    outputs: RunOutputs
    folder: Path
    overwrite: bool = False
    on_bytes: Callable[[int], None] = lambda _: None
    written: list[Path] = field(default_factory=list)
    kept: list[Path] = field(default_factory=list)  # that were there already, byte for byte
    _places: dict[str, int] = field(default_factory=dict)  # in the manifest, by path
    _sessions: threading.local = field(default_factory=threading.local)

    def run(self, artifacts: Sequence[Artifact]) -> None:
        """Download files, several at once; each appears when it is whole and its hash is right.

        Raises ``UserError`` before anything is written if a file of another content is in the way,
        ``TransientError`` if the receiver can't be reached.
        """
        listed = self.outputs.manifest.artifacts
        self._places = {one.path: place for place, one in enumerate(listed)}
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            to_fetch = [one for one in artifacts if not self._is_there(one)]
            with ThreadPoolExecutor(max_workers=DOWNLOADS_AT_ONCE) as pool:
                for paths in pool.map(self._download_batch, _as_batches(to_fetch)):
                    self.written += paths
        except OSError as error:
            raise UserError(
                f"{error.filename or self.folder} can't be written: {error.strerror}",
                hint="-o names the folder that gets the files: -o DIR",
            ) from error

    def _is_there(self, artifact: Artifact) -> bool:
        """Return True if a file is there already. Raises ``UserError`` for another one."""
        path = self.folder / artifact.path
        self._reject_outside(path)
        if not os.path.lexists(path):
            return False
        is_same = path.is_file() and not path.is_symlink() and _hash_path(path) == artifact.sha256
        if is_same:
            self.kept.append(path)
            self.on_bytes(artifact.size)
            return True
        if not self.overwrite or not path.is_file():
            raise UserError(
                f"{path} is there already, and is another file",
                hint="-o DIR for another folder, --force to overwrite it",
            )
        return False

    def _reject_outside(self, path: Path) -> None:
        """Raise ``UserError`` if a link on the way leads out of the folder."""
        root = os.path.realpath(self.folder)
        parent = os.path.realpath(path.parent)
        if parent != root and not parent.startswith(root.rstrip("/") + "/"):
            raise UserError(f"{path} would be outside of {self.folder}: a link leads there")

    def _download_batch(self, batch: Sequence[Artifact]) -> list[Path]:
        """Download some files; several small ones by one request, if the receiver knows that."""
        contents = self._fetch_bundle(batch) if len(batch) > 1 else None
        if contents is None:
            return [self._download(artifact) for artifact in batch]
        paths = []
        for artifact, content in zip(batch, contents, strict=True):
            if hashlib.sha256(content).hexdigest() == artifact.sha256:
                paths.append(self._write(artifact, partial(_replace, content=content)))
                self.on_bytes(artifact.size)
            else:
                paths.append(self._download(artifact))
        return paths

    def _download(self, artifact: Artifact) -> Path:
        return self._write(artifact, lambda file: self._fill(file, artifact))

    def _write(self, artifact: Artifact, fill: Callable[[BufferedRandom], object]) -> Path:
        """Have a file filled, which appears when it is."""
        path = self.folder / artifact.path
        path.parent.mkdir(parents=True, exist_ok=True)
        # By its path: files of one content may come at once.
        own_name = hashlib.sha256(f"{artifact.sha256} {artifact.path!r}".encode()).hexdigest()
        part = path.with_name(f".{own_name[:16]}.fyre-part")
        descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "r+b") as file:
            fill(file)
        part.chmod(artifact.mode & 0o777)
        part.rename(path)
        return path

    def _fetch_bundle(self, batch: Sequence[Artifact]) -> list[bytes] | None:
        """Return the contents of small files; None if they have to be fetched one by one."""
        import requests

        places = ",".join(str(self._places[one.path]) for one in batch)
        url = f"{self.outputs.page_url}/bundle?files={places}"
        try:
            answer = self._session().get(url, timeout=_TIMEOUT)
        except requests.RequestException:
            return None  # one by one there are more attempts, and an error with its reason
        content = answer.content
        if answer.status_code != 200 or len(content) != sum(one.size for one in batch):
            return None
        contents, position = [], 0
        for one in batch:
            contents.append(content[position : position + one.size])
            position += one.size
        return contents

    def _session(self) -> Session:
        """Return the connection of this thread."""
        if not hasattr(self._sessions, "session"):
            self._sessions.session = http_session.open_session()
        session: Session = self._sessions.session
        return session

    def _fill(self, file: BufferedRandom, artifact: Artifact) -> None:
        """Fill a file, which may hold the beginning from an earlier attempt."""
        import requests

        for attempt in range(_ATTEMPTS):
            try:
                self._fetch_rest(file, artifact)
            except requests.RequestException as error:
                if attempt == _ATTEMPTS - 1:
                    raise TransientError(http_session.describe_failure(error)) from error
                continue
            file.seek(0)
            is_right = hashlib.file_digest(file, "sha256").hexdigest() == artifact.sha256
            if is_right and file.tell() == artifact.size:
                return
            file.truncate(0)  # damaged on the way, or another file's beginning
        raise UserError(
            f"{artifact.path}: the content in the store is damaged: its SHA-256 is another one"
        )

    def _fetch_rest(self, file: BufferedRandom, artifact: Artifact) -> None:
        position = file.seek(0, os.SEEK_END)
        if position >= artifact.size:
            return
        with request_blob(self._session(), self.outputs.page_url, artifact, position) as response:
            for chunk in response.iter_content(_CHUNK_SIZE):
                position += len(chunk)
                if position > artifact.size:
                    raise UserError(f"{artifact.path}: the receiver sends more than it said")
                file.write(chunk)
                self.on_bytes(len(chunk))
        file.flush()


def _as_batches(artifacts: Sequence[Artifact]) -> Iterator[list[Artifact]]:
    """Yield small files in batches, and each of the others alone."""
    batch: list[Artifact] = []
    size = 0
    for artifact in artifacts:
        if artifact.size > _SMALL:
            yield [artifact]
            continue
        batch.append(artifact)
        size += artifact.size
        if len(batch) >= _BATCH_FILES or size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _replace(file: BufferedRandom, content: bytes) -> None:
    file.truncate(0)
    file.write(content)


def request_blob(
    session: Session, page_url: str, artifact: Artifact, position: int = 0
) -> Response:
    """Return the answer with an output's content from a byte on."""
    headers = {"Accept-Encoding": "identity"}
    if position:
        headers["Range"] = f"bytes={position}-"
    url = f"{page_url}/blobs/{artifact.sha256}"
    response = session.get(url, headers=headers, stream=True, timeout=_TIMEOUT)
    if response.status_code == 410:
        raise UserError(f"{artifact.path}: its content is not in the receiver's store any more")
    if response.status_code >= 500:
        raise TransientError(f"{artifact.path}: {response.text.strip()[:200] or 'no content now'}")
    response.raise_for_status()
    if position and response.status_code != 206:
        raise TransientError("the receiver does not send the rest of a file")
    return response


def _hash_path(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

"""Object storage in a bucket, by obstore: S3 and what speaks like it, Google's, Azure's.

Credentials, region and endpoint come from the environment, as for any client of these: never from
the URL. What the library says of an error may hold a key's id or an address, so only the server's
own code and sentence are shown.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

import obstore
from obstore import exceptions
from obstore.store import from_url

from fyre.artifacts import bucket_errors, object_storage, s3_requests
from fyre.artifacts.object_storage import (
    SignedUpload,
    SourceFile,
    StoredBlob,
    StoredObject,
    UnreadableFileError,
)
from fyre.artifacts.s3_requests import S3Bucket
from fyre.errors import UserError

PART_SIZE = 8 * 1024 * 1024
"""Bytes of one request, of an upload or a download."""

_PARTS_MAX = 9000  # S3 allows 10,000
_PARTS_AT_ONCE = 3

_ACCESS_CHECK = "access-check.json"

QUESTION_TIMEOUT = timedelta(seconds=60)
"""For a request with a small answer; the first one for each file notices a store that hangs."""

PART_TIMEOUT = timedelta(minutes=15)
"""For a part: two dozen of them may share a slow line."""

_RETRIES: Any = {"max_retries": 2, "retry_timeout": timedelta(seconds=60)}
"""Short: whoever stores waits by himself, and says meanwhile what for."""


class BucketStorage:
    """A bucket, or what is below a prefix in it."""

    uploads_at_once = 8

    def __init__(self, url: str) -> None:
        """Use ``s3://BUCKET/PREFIX`` and the like. Raises ``UserError`` for one that is none."""
        self._url = url
        try:
            self._store, self._parts = (
                _open_bucket(url, timeout) for timeout in (QUESTION_TIMEOUT, PART_TIMEOUT)
            )
        except (exceptions.BaseError, ValueError) as error:
            raise UserError(
                f"{url} is no bucket that outputs can be kept in: "
                f"{bucket_errors.describe_error(error)}",
                hint="s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or az://ACCOUNT/CONTAINER/PREFIX; "
                "the region, the endpoint and the credentials are in the environment",
            ) from None
        self._s3 = S3Bucket.from_environment(url) if url.startswith("s3") else None

    def check_access(self) -> None:
        """Raise ``UserError`` if there is no such bucket, or it can't be written.

        So too if it would let a second manifest take the place of the first.
        """
        try:
            for _ in range(2):
                created = self.create_object(_ACCESS_CHECK, b"{}\n")
        except OSError as error:
            if not isinstance(error, FileNotFoundError | PermissionError):
                raise
            raise UserError(
                f"outputs can't be kept in {self._url}: {error.strerror}",
                hint="the bucket's name; and its region, endpoint and credentials in the "
                "environment, such as AWS_REGION, AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID and "
                "AWS_SECRET_ACCESS_KEY",
            ) from error
        if created:
            raise UserError(
                f"outputs can't be kept in {self._url}: its server ignores If-None-Match, so one "
                "manifest could take the place of another",
                hint="a server that knows conditional writes, as S3 itself does",
            )

    def add_blob(self, source: SourceFile) -> StoredBlob:
        """Store a file's content, unless it is there with its size."""
        if source.size <= PART_SIZE:
            return self.add_content(b"".join(source.read_all()))
        digest = hashlib.sha256()
        for chunk in source.read_all():
            digest.update(chunk)
        blob = StoredBlob(digest.hexdigest(), source.size)
        if not self._has_blob(blob):
            part_size = max(PART_SIZE, source.size // _PARTS_MAX)
            self._put(object_storage.blob_key(blob.sha256), _read_same(source, blob), part_size)
        return blob

    def add_content(self, content: bytes) -> StoredBlob:
        """Store a small content under its hash, unless it is there with its size."""
        blob = StoredBlob(hashlib.sha256(content).hexdigest(), len(content))
        if not self._has_blob(blob):
            self._put(object_storage.blob_key(blob.sha256), content)
        return blob

    def keep_durable(self, hashes: set[str]) -> None:
        """Do nothing: what a bucket has answered for is durable."""

    def object_size(self, key: str) -> int | None:
        """Return the bytes of an object; None if there is none."""
        try:
            with _as_os_errors():
                return int(obstore.head(self._store, key)["size"])
        except FileNotFoundError:
            return None

    def read_object(self, key: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """Yield the bytes of an object, a request for each part.

        Raises ``FileNotFoundError`` before the first.
        """
        with _as_os_errors():
            if end is None:
                result = obstore.get(self._parts, key)
                end = int(result.meta["size"])
                if end <= PART_SIZE:
                    yield bytes(result.bytes())[start:]
                    return
            while start < end:
                part_end = min(start + PART_SIZE, end)
                part = bytes(obstore.get_range(self._parts, key, start=start, end=part_end))
                if not part:
                    raise OSError(0, "the store sends less than it said")
                start += len(part)
                yield part

    def create_object(self, key: str, content: bytes) -> bool:
        """Store an object; return False, and change nothing, if there is one already."""
        try:
            with _as_os_errors():
                obstore.put(self._store, key, content, mode="create")
        except FileExistsError:
            return False
        return True

    def replace_object(self, key: str, content: bytes) -> None:
        """Store an object in the place of one that may be there."""
        with _as_os_errors():
            obstore.put(self._store, key, content)

    def delete_object(self, key: str) -> None:
        """Delete an object, if it is there."""
        with _as_os_errors(), suppress(FileNotFoundError):
            obstore.delete(self._store, key)

    def list_objects(self, prefix: str) -> Iterator[StoredObject]:
        """Yield the objects below a prefix that ends with ``/``."""
        with _as_os_errors():
            for page in obstore.list(self._store, prefix, chunk_size=1000):
                for one in page:
                    stored_at = one["last_modified"].timestamp()
                    yield StoredObject(one["path"], int(one["size"]), stored_at)

    def remove_drafts(self) -> None:
        """Abort the uploads in parts that a killed process left.

        Those of a receiver that is still at it are stored again by it. Where the credentials are
        not in the environment itself, a rule of the bucket has to do it.
        """
        if self._s3 is not None:
            self._s3.abort_uploads("blobs/")

    def sign_download(self, key: str, seconds: int) -> str | None:
        """Return a URL from which anybody gets an object for a while; None if it can't sign."""
        with _as_os_errors():
            return str(obstore.sign(self._store, "GET", key, timedelta(seconds=seconds)))

    def sign_upload(self, blob: StoredBlob, seconds: int) -> SignedUpload | None:
        """Return a request by which anybody stores this content and no other.

        None where the storage can't tie a request to a content.
        """
        if self._s3 is None or blob.size > s3_requests.PUT_MAX:
            return None
        return self._s3.sign_upload(object_storage.blob_key(blob.sha256), blob, seconds)

    def _has_blob(self, blob: StoredBlob) -> bool:
        return self.object_size(object_storage.blob_key(blob.sha256)) == blob.size

    def _put(self, key: str, content: Any, part_size: int = PART_SIZE + 1) -> None:  # noqa: ANN401 - bytes or pieces
        with _as_os_errors():
            obstore.put(
                self._parts, key, content, chunk_size=part_size, max_concurrency=_PARTS_AT_ONCE
            )


def _open_bucket(url: str, timeout: timedelta) -> Any:  # noqa: ANN401 - one of the library's
    options: Any = {
        # A server inside of a cluster often has no certificate; its endpoint says http itself.
        "allow_http": True,
        "connect_timeout": timedelta(seconds=10),
        "timeout": timeout,
    }
    return from_url(url, client_options=options, retry_config=_RETRIES)


def _read_same(source: SourceFile, blob: StoredBlob) -> Iterator[bytes]:
    """Yield a file's content again; raise instead of the last piece if it is another one.

    The upload is given up then, so that nothing is stored under a hash that is not its own.
    """
    digest, pending = hashlib.sha256(), b""
    for chunk in source.read_all():
        if pending:
            yield pending
        digest.update(chunk)
        pending = chunk
    if digest.hexdigest() != blob.sha256:
        raise UnreadableFileError("it was written to while it was read")
    yield pending


@contextmanager
def _as_os_errors() -> Iterator[None]:
    """Raise what the library raises as ``OSError`` with one line."""
    try:
        yield
    except (exceptions.BaseError, FileNotFoundError) as error:
        raise bucket_errors.to_os_error(error) from None

"""Requests to S3 that obstore can't make: an upload tied to its content, and forgotten uploads.

They are signed by the keys in the environment (Signature Version 4, in the query). Where the
credentials come from somewhere else, such as a role of the machine, there are none of these.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import quote, urlsplit

from fyre import http_session
from fyre.artifacts.object_storage import SignedUpload, StoredBlob

PUT_MAX = 5 * 1024**3
"""Bytes that S3 takes in one request."""

_TIMEOUT = 30  # seconds
_UPLOAD = re.compile(r"<Upload>.*?</Upload>", re.DOTALL)
_KEY = re.compile(r"<Key>([^<]*)</Key>")
_UPLOAD_ID = re.compile(r"<UploadId>([^<]*)</UploadId>")


@dataclass(frozen=True)
class S3Bucket:
    """A bucket, and the keys that sign for it. ``prefix`` is "", or ends with ``/``."""

    endpoint: str  # without the bucket
    bucket: str
    prefix: str
    region: str
    access_key: str
    secret_key: str = ""
    session_token: str = ""

    def __repr__(self) -> str:
        return f"S3Bucket({self.bucket!r})"

    @classmethod
    def from_environment(cls, url: str, environ: Mapping[str, str] = os.environ) -> S3Bucket | None:
        """Return the bucket of ``s3://BUCKET/PREFIX``; None without keys in the environment."""
        keys = environ.get("AWS_ACCESS_KEY_ID", ""), environ.get("AWS_SECRET_ACCESS_KEY", "")
        if not all(keys):
            return None
        parts = urlsplit(url)
        region = environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION") or "us-east-1"
        endpoint = (
            environ.get("AWS_ENDPOINT_URL_S3")
            or environ.get("AWS_ENDPOINT_URL")
            or environ.get("AWS_ENDPOINT")
            or f"https://s3.{region}.amazonaws.com"
        )
        prefix = f"{parts.path.strip('/')}/".lstrip("/")
        token = environ.get("AWS_SESSION_TOKEN", "")
        return cls(endpoint.rstrip("/"), parts.netloc, prefix, region, *keys, token)

    def sign_upload(self, key: str, blob: StoredBlob, seconds: int) -> SignedUpload:
        """Return a PUT request that stores this content and no other."""
        checksum = base64.b64encode(bytes.fromhex(blob.sha256)).decode()
        headers = {"content-length": str(blob.size), "x-amz-checksum-sha256": checksum}
        url = self.sign("PUT", self.prefix + key, {}, headers, seconds)
        return SignedUpload(url, headers)

    def abort_uploads(self, key_prefix: str) -> None:
        """Abort all uploads in parts below a prefix. Raises ``OSError``."""
        import requests

        query = {"uploads": "", "prefix": self.prefix + key_prefix}
        try:
            with http_session.open_session() as session:
                answer = session.get(self.sign("GET", "", query, {}), timeout=_TIMEOUT)
                answer.raise_for_status()
                for upload in _UPLOAD.findall(answer.text):
                    key, upload_id = _KEY.search(upload), _UPLOAD_ID.search(upload)
                    if key and upload_id:
                        url = self.sign("DELETE", key[1], {"uploadId": upload_id[1]}, {})
                        session.delete(url, timeout=_TIMEOUT)
        except requests.RequestException as error:
            raise OSError(0, http_session.describe_failure(error)) from None

    def sign(
        self,
        method: str,
        key: str,
        query: Mapping[str, str],
        headers: Mapping[str, str],
        seconds: int = 300,
    ) -> str:
        """Return the signed URL of a request, which must have these headers."""
        now = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        scope = f"{now[:8]}/{self.region}/s3/aws4_request"
        path = quote(f"{urlsplit(self.endpoint).path}/{self.bucket}" + f"/{key}" * bool(key))
        signed = {"host": urlsplit(self.endpoint).netloc, **headers}
        names = ";".join(sorted(signed))
        full_query = {
            **query,
            "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
            "X-Amz-Credential": f"{self.access_key}/{scope}",
            "X-Amz-Date": now,
            "X-Amz-Expires": str(seconds),
            "X-Amz-SignedHeaders": names,
            **({"X-Amz-Security-Token": self.session_token} if self.session_token else {}),
        }
        pairs = sorted((quote(name, ""), quote(value, "")) for name, value in full_query.items())
        query_text = "&".join(f"{name}={value}" for name, value in pairs)
        header_text = "".join(f"{name}:{signed[name].strip()}\n" for name in sorted(signed))
        request = f"{method}\n{path}\n{query_text}\n{header_text}\n{names}\nUNSIGNED-PAYLOAD"
        digest = hashlib.sha256(request.encode()).hexdigest()
        signature = self._signature(f"AWS4-HMAC-SHA256\n{now}\n{scope}\n{digest}", scope)
        origin = self.endpoint.removesuffix(urlsplit(self.endpoint).path)
        return f"{origin}{path}?{query_text}&X-Amz-Signature={signature}"

    def _signature(self, text: str, scope: str) -> str:
        key = b"AWS4" + self.secret_key.encode()
        for part in (*scope.split("/"), text):
            key = hmac.new(key, part.encode(), hashlib.sha256).digest()
        return key.hex()

"""Hand on each webhook once, as GitHub does: what a receiver does not take is not sent again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import requests
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from fyre.local_forge.webhooks.webhook_sender import DELIVERY_TIMEOUT
from tests.support.relaying import serve


@dataclass
class DeliverOnce:
    """Where webhooks go now, and the answer to each; 0 for none."""

    receiver: str = ""  # the address of one that is there
    url: str = ""  # the address that takes the webhooks
    answers: list[int] = field(default_factory=list)

    async def hand_on(self, request: Request) -> Response:
        body = await request.body()
        self.answers.append(await run_in_threadpool(self._post, dict(request.headers), body))
        return Response(status_code=202)

    def _post(self, headers: dict[str, str], body: bytes) -> int:
        headers = {name: value for name, value in headers.items() if name != "host"}
        url = self.receiver + "/webhook"
        try:
            answer = requests.post(url, data=body, headers=headers, timeout=DELIVERY_TIMEOUT)
        except requests.RequestException:
            return 0
        return answer.status_code


@contextmanager
def delivering_once() -> Iterator[DeliverOnce]:
    """Serve at ``url`` what takes the webhooks, until the block ends."""
    found = DeliverOnce()
    route = Route("/webhook", found.hand_on, methods=["POST"])
    with serve(Starlette(routes=[route])) as base:
        found.url = f"{base}/webhook"
        yield found

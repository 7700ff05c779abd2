"""Connections to a follower: they go to the leader, and nothing is lost on the way."""

from __future__ import annotations

import asyncio
import gc
import select
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest
import requests

from fyre.server import leader_proxy
from fyre.server.leader_proxy import Address, LeaderProxy


class Replica:
    """One that stands by, with two doors; ``leader`` is whom it takes for the leader."""

    def __init__(self) -> None:
        self.doors = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
        self.leader: list[Address] | None = None
        self.refusal = ""
        self._loop, self._until = asyncio.new_event_loop(), asyncio.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        self._loop.run_until_complete(
            LeaderProxy(self.doors, lambda: self.leader, lambda: self.refusal).serve(self._until)
        )
        self._loop.close()

    @property
    def addresses(self) -> list[Address]:
        return [door.getsockname()[:2] for door in self.doors]

    def stop(self) -> None:
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._until.set)
            self._thread.join(10)
        assert not self._thread.is_alive()

    def close(self) -> None:
        self.stop()
        for door in self.doors:
            door.close()


@pytest.fixture
def replica() -> Iterator[Replica]:
    made = Replica()
    yield made
    made.close()


def everything(visitor: socket.socket) -> bytes:
    return b"".join(iter(lambda: visitor.recv(65536), b""))


@contextmanager
def echo() -> Iterator[Address]:
    """Answers, when all was said, with all that was said."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer() -> None:
            try:
                while True:
                    visitor, _ = listening.accept()
                    with visitor:
                        visitor.sendall(everything(visitor))
            except OSError:  # closed: the end
                return

        thread = threading.Thread(target=answer)
        thread.start()
        try:
            yield listening.getsockname()[:2]
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join(10)


def said(address: Address, text: bytes) -> bytes:
    with socket.create_connection(address, timeout=20) as mine:
        sender = threading.Thread(
            target=lambda: (mine.sendall(text), mine.shutdown(socket.SHUT_WR))
        )
        sender.start()
        heard = everything(mine)
        sender.join(10)
        return heard


def visit(replica: Replica) -> socket.socket:
    return socket.create_connection(replica.addresses[0], timeout=20)


def test_each_door_leads_to_its_own(replica: Replica) -> None:
    with echo() as other, echo() as relay:
        replica.leader = [("127.0.0.1", 1), relay]  # nobody listens at the first
        text = bytes(range(256)) * 20_000  # more than all buffers
        assert said(replica.addresses[1], text) == text
        replica.leader = [other, ("127.0.0.1", 1)]
        assert said(replica.addresses[0], text) == text


def test_who_comes_while_nobody_leads_waits(replica: Replica) -> None:
    with echo() as leader:
        threading.Timer(0.5, lambda: setattr(replica, "leader", [leader, leader])).start()
        assert said(replica.addresses[0], b"a webhook") == b"a webhook"


def test_nobody_waits_for_ever(replica: Replica, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leader_proxy, "LEADER_WAIT", 0.3)
    assert said(replica.addresses[0], b"a webhook") == b""


def test_it_says_itself_that_it_lives(replica: Replica) -> None:
    host, port = replica.addresses[0]
    for path in ("/healthz", "/metrics"):
        answer = requests.get(f"http://{host}:{port}{path}", timeout=10)
        assert (answer.status_code, answer.text) == (200, "# standby\n")


def test_it_says_so_also_where_the_question_comes_in_pieces(replica: Replica) -> None:
    with socket.create_connection(replica.addresses[0], timeout=20) as visitor:
        visitor.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in (b"G", b"ET /hea", b"lthz HTTP/1.1\r\n\r\n"):
            visitor.sendall(piece)
            select.select([visitor], [], [], 0.05)  # so that they don't arrive as one
        assert everything(visitor).endswith(b"# standby\n")


def test_it_says_itself_that_it_is_not_ready_where_it_may_never_lead(replica: Replica) -> None:
    (host, port), question = replica.addresses[0], b"GET /readyz HTTP/1.1\r\n\r\n"
    with echo() as leader:
        replica.leader = [leader, leader]
        assert said((host, port), question) == question
        replica.refusal = "another’s key"
        answer = requests.get(f"http://{host}:{port}/readyz", timeout=10)
        assert (answer.status_code, answer.json()) == (503, {"lease": "another’s key"})
        assert said((host, port), b"POST /webhook") == b"POST /webhook"  # a door it is all the same


def test_who_says_nothing_is_let_go(replica: Replica, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leader_proxy, "_FIRST_BYTES_TIMEOUT", 0.1)
    with visit(replica) as visitor:
        assert everything(visitor) == b""


def test_a_circle_of_doors_ends(replica: Replica, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where each says that it is reached at an address that is all of theirs."""
    monkeypatch.setattr(leader_proxy, "_CONNECTIONS_MAX", 20)
    other = Replica()
    try:
        replica.leader, other.leader = other.addresses, replica.addresses
        assert said(replica.addresses[1], b"a webhook") == b""
        with echo() as leader:
            other.leader = [leader, leader]
            assert said(replica.addresses[1], b"a webhook") == b"a webhook"
    finally:
        other.close()


def test_a_leader_s_address_that_is_none_is_nobody_s(
    replica: Replica, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(leader_proxy, "LEADER_WAIT", 0.3)
    replica.leader = [("..", 80)] * 2
    assert said(replica.addresses[0], b"a webhook") == b""
    replica.stop()
    gc.collect()  # a task that failed unheard is told of when it is forgotten
    assert not [one for one in caplog.records if one.name == "asyncio"]


def test_who_reads_nothing_is_let_go_when_it_stops(replica: Replica) -> None:
    with socket.create_server(("127.0.0.1", 0)) as leading:
        replica.leader = [leading.getsockname()[:2]] * 2
        with visit(replica) as visitor:
            visitor.sendall(b"GET /runs")
            taken, _ = leading.accept()
            with taken:
                taken.setblocking(False)
                while select.select([], [taken], [], 0.3)[1]:  # until all buffers are full
                    taken.send(bytes(65536))
                replica.stop()
            with suppress(ConnectionResetError):
                everything(visitor)


def test_it_stops_at_once_while_many_wait_for_a_leader_that_is_gone(
    replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also those refused at that very moment: none may forget that it was told to end."""
    monkeypatch.setattr(leader_proxy, "_LEADER_POLL_INTERVAL", 0.001)
    replica.leader = [("127.0.0.1", 1)] * 2
    visitors = [visit(replica) for _ in range(100)]
    for visitor in visitors:
        visitor.sendall(b"POST /webhook")
    select.select([visitors[0]], [], [], 0.3)
    replica.leader = None  # it is this one's turn
    replica.stop()
    for visitor in visitors:
        visitor.close()


def test_who_does_not_end_when_the_leader_has_is_let_go(
    replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leader_proxy, "_CLOSE_TIMEOUT", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as leading:
        replica.leader = [leading.getsockname()[:2]] * 2
        with visit(replica) as visitor:
            visitor.sendall(b"GET /runs")
            leading.accept()[0].close()
            assert everything(visitor) == b""
            with pytest.raises(ConnectionError):
                visitor.sendall(bytes(100_000_000))


def test_the_next_listener_gets_who_comes_later(replica: Replica) -> None:
    """The doors stay open when it stops: between the two no connection is refused."""
    replica.stop()
    with socket.create_connection(replica.addresses[0], timeout=10) as visitor:
        taken, _ = replica.doors[0].accept()
        with taken:
            visitor.sendall(b"hello")
            assert taken.recv(5) == b"hello"


def test_a_leader_that_dies_ends_what_it_served(replica: Replica) -> None:
    with socket.create_server(("127.0.0.1", 0)) as leading:
        replica.leader = [leading.getsockname()[:2]] * 2
        with socket.create_connection(replica.addresses[0], timeout=10) as visitor:
            visitor.sendall(b"GET /runs")
            taken, _ = leading.accept()
            assert taken.recv(9) == b"GET /runs"
            taken.close()
            assert visitor.recv(1) == b""

"""Whose process is at the other end of a connection, by the kernel's tables."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import pytest

from fyre.local_forge import peer_user

TITLE = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout"
V6 = "00000000000000000000000001000000"
MAPPED = "0000000000000000FFFF00000100007F"


def line(local: str, remote: str, state: str = "01", uid: int = 1000, inode: int = 77) -> str:
    return (
        f"   0: {local} {remote} {state} 00000000:00000000 00:00000000 00000000 "
        f"{uid:5} 0 {inode} 1 0000000000000000 20 4 30 10 -1"
    )


@pytest.mark.skipif("sys.byteorder != 'little'", reason="the lines are those of a PC")
@pytest.mark.parametrize(
    ("host", "local", "remote"),
    [
        ("127.0.0.1", "0100007F:9C40", "0100007F:1F54"),
        ("::1", f"{V6}:9C40", f"{V6}:1F54"),
        ("127.0.0.1", f"{MAPPED}:9C40", f"{MAPPED}:1F54"),
        ("::ffff:127.0.0.1", "0100007F:9C40", "0100007F:1F54"),
    ],
)
def test_9_7_the_owner_of_a_socket_is_read_from_the_tables(
    host: str, local: str, remote: str
) -> None:
    ends = ((host, 40000), (host, 8020))
    lines = [TITLE, "no line", line(remote, local, uid=0), line(local, remote)]
    assert peer_user.parse_table(lines, *ends) == peer_user.SocketOwner(1000, 77)
    for other in (
        line(local, remote, state="06", uid=0, inode=0),  # it is closed and counts as root's
        line(local, local),
        line(local, remote)[:40],
    ):
        assert peer_user.parse_table([TITLE, other], *ends) is None


LOOKUPS = [(peer_user.ask_kernel,), (peer_user.read_tables,)]


@contextmanager
def connection(family: int, host: str, server_host: str) -> Iterator[tuple[socket.socket, ...]]:
    """Yield both ends."""
    with ExitStack() as stack:
        server_family = socket.AF_INET6 if ":" in server_host else socket.AF_INET
        try:
            listening = socket.create_server((server_host, 0), family=server_family)
        except OSError:
            pytest.skip("no IPv6 on this machine")
        stack.enter_context(listening)
        client = stack.enter_context(socket.socket(family))
        client.connect((host, listening.getsockname()[1]))
        accepted = stack.enter_context(listening.accept()[0])
        yield client, accepted


@pytest.mark.skipif("sys.platform != 'linux'", reason="other systems do not tell")
@pytest.mark.parametrize("lookups", LOOKUPS, ids=["kernel", "tables"])
@pytest.mark.parametrize(
    "ends",
    [
        (socket.AF_INET, "127.0.0.1", "127.0.0.1"),
        (socket.AF_INET6, "::1", "::1"),
        (socket.AF_INET6, "::ffff:127.0.0.1", "127.0.0.1"),
    ],
    ids=["v4", "v6", "mapped"],
)
def test_9_7_the_user_of_a_live_connection_is_known(
    ends: tuple[int, str, str], lookups: tuple[peer_user.Lookup, ...]
) -> None:
    with connection(*ends) as (client, accepted):
        assert peer_user.find_peer_uid(accepted.fileno(), lookups) == os.geteuid()
        client.close()
        assert peer_user.find_peer_uid(accepted.fileno(), lookups) is None


def test_9_7_without_a_table_nobody_is_known(tmp_path: Path) -> None:
    nothing = partial(peer_user.read_tables, tables=(tmp_path / "tcp",))
    with connection(socket.AF_INET, "127.0.0.1", "127.0.0.1") as (_, accepted):
        assert peer_user.find_peer_uid(accepted.fileno(), (nothing,)) is None
    assert not peer_user.can_know_peers((nothing,))


def test_9_7_two_addresses_that_somebody_else_has_taken_since_are_nobody_s() -> None:
    """The table names another socket of ours than the one that the request came by."""
    owner = peer_user.SocketOwner(os.geteuid(), 1)
    with connection(socket.AF_INET, "127.0.0.1", "127.0.0.1") as (_, accepted):
        assert peer_user.find_peer_uid(accepted.fileno(), (lambda *_: owner,)) is None

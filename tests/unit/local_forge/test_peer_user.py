"""Whose process is at the other end of a connection, by the kernel's tables."""

from __future__ import annotations

import encodings.idna  # noqa: F401 - a host name needs it, and another user may not read Python's files
import os
import resource
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import pytest

from fyre.local_forge import peer_user

OTHER_USER = 12345
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


def uid_of_peer(accepted: socket.socket, lookup: peer_user.Lookup) -> int | None:
    descriptor = accepted.fileno()
    return peer_user.find_peer_uid(descriptor, os.fstat(descriptor).st_ino, lookup)


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
@pytest.mark.parametrize("lookup", peer_user.LOOKUPS, ids=["kernel", "tables"])
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
    ends: tuple[int, str, str], lookup: peer_user.Lookup
) -> None:
    with connection(*ends) as (client, accepted):
        assert uid_of_peer(accepted, lookup) == os.geteuid()
        client.close()
        assert uid_of_peer(accepted, lookup) is None


@pytest.mark.skipif("os.geteuid() != 0", reason="only root has processes of other users")
@pytest.mark.parametrize("lookup", peer_user.LOOKUPS, ids=["kernel", "tables"])
def test_9_7_a_socket_is_of_the_user_who_made_it(lookup: peer_user.Lookup) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        os.seteuid(OTHER_USER)
        try:
            client = socket.create_connection(listening.getsockname())
        finally:
            os.seteuid(0)
        with client, listening.accept()[0] as accepted:
            assert uid_of_peer(accepted, lookup) == OTHER_USER


def test_9_7_without_a_table_nobody_is_known(tmp_path: Path) -> None:
    nothing = partial(peer_user.read_tables, tables=(tmp_path / "tcp",))
    with connection(socket.AF_INET, "127.0.0.1", "127.0.0.1") as (_, accepted):
        assert uid_of_peer(accepted, nothing) is None
    assert peer_user.find_working_lookup((nothing,)) is None
    assert peer_user.find_working_lookup((nothing, peer_user.read_tables)) is peer_user.read_tables


@contextmanager
def no_free_descriptor() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.skipif("sys.platform != 'linux'", reason="other systems do not tell")
@pytest.mark.parametrize("lookup", peer_user.LOOKUPS, ids=["kernel", "tables"])
def test_9_9_without_a_free_descriptor_nothing_is_said_of_the_peer(
    lookup: peer_user.Lookup,
) -> None:
    with connection(socket.AF_INET, "127.0.0.1", "127.0.0.1") as (_, accepted):
        local, remote = accepted.getsockname(), accepted.getpeername()
        with no_free_descriptor():
            for ask in (
                lambda: uid_of_peer(accepted, lookup),
                lambda: lookup(local, remote),
                lambda: peer_user.find_working_lookup((lookup,)),
                lambda: peer_user._is_answered(lookup, accepted.fileno(), 0),
            ):
                with pytest.raises(OSError, match="Too many open files"):
                    ask()
        assert uid_of_peer(accepted, lookup) == os.geteuid()


def test_9_7_two_addresses_that_somebody_else_has_taken_since_are_nobody_s() -> None:
    """The table names another socket of ours than the one that the request came by."""
    owner = peer_user.SocketOwner(os.geteuid(), 1)
    with connection(socket.AF_INET, "127.0.0.1", "127.0.0.1") as (_, accepted):
        assert uid_of_peer(accepted, lambda *_: owner) is None


def test_9_7_a_descriptor_that_is_another_connection_s_by_now_names_nobody() -> None:
    with connection(socket.AF_INET, "127.0.0.1", "127.0.0.1") as (_, accepted):
        descriptor, inode = accepted.fileno(), os.fstat(accepted.fileno()).st_ino
        assert peer_user.find_peer_uid(descriptor, inode) == os.geteuid()
        assert peer_user.find_peer_uid(descriptor, inode - 1) is None

"""Find out which user is at the other end of a connection, from the kernel's tables of sockets.

The kernel is asked for that one socket. Where it never answers such questions, its text tables are
read, which takes milliseconds: it goes through all of its sockets for them.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
import struct
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

Address = tuple[str, int]
"""IP address and port; an IPv4 address in IPv6 form is the same as the plain one."""

ESTABLISHED = 1
"""State of a socket of an open connection, in the kernel's numbers."""

SOCKET_TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))

_SOCK_DIAG = 4  # the family of netlink that tells of sockets
_BY_FAMILY, _IS_REQUEST = 20, 1
_HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence, process
_SOCKET_ID = struct.Struct("!HH16s16s")  # ports and addresses of both ends, in network order
_MAPPED = bytes(10) + b"\xff\xff"  # before an IPv4 address in IPv6 form
_ANY_SOCKET = struct.pack("=III", 0, 0xFFFFFFFF, 0xFFFFFFFF)  # any interface, any cookie
_ANSWER_OWNER = struct.Struct("=IIIII")  # timer, two queues, uid, inode
_ANSWER_MAX = 8192
_KERNEL = 0  # the sender of its answers

_CLIENT_IS_GONE = (errno.EBADF, errno.ENOTCONN)
_LACKS = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS)
"""Errors for want of descriptors or memory, which pass."""


@dataclass(frozen=True, slots=True)
class SocketOwner:
    """A socket of an open connection: the user who made it, and its inode, 0 once it is closed."""

    uid: int
    inode: int


Lookup = Callable[[Address, Address], SocketOwner | None]
"""Returns the socket from one address to another, None if there is none; raises ``OSError``."""


def ask_kernel(local: Address, remote: Address) -> SocketOwner | None:
    """Return the open socket from ``local`` to ``remote``, as the kernel knows it.

    Raises ``OSError`` where the kernel does not answer such questions.
    """
    if sys.platform != "linux":
        raise OSError("no netlink here")
    family = socket.AF_INET6 if ":" in local[0] or ":" in remote[0] else socket.AF_INET
    ends = (socket.inet_pton(family, address) for address, _ in (local, remote))
    socket_id = _SOCKET_ID.pack(local[1], remote[1], *ends)
    question = struct.pack("=BBBxI", family, socket.IPPROTO_TCP, 0, 1 << ESTABLISHED)
    body = question + socket_id + _ANY_SOCKET
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _SOCK_DIAG) as netlink:
        header = _HEADER.pack(_HEADER.size + len(body), _BY_FAMILY, _IS_REQUEST, 1, 0)
        netlink.sendto(header + body, (0, 0))
        # The answer is there before the question's call returns: no thread ever waits for it.
        answer, (sender, _) = netlink.recvfrom(_ANSWER_MAX, socket.MSG_DONTWAIT)
    if sender != _KERNEL:
        raise OSError("somebody else answered")
    return parse_answer(answer, socket_id)


def parse_answer(answer: bytes, socket_id: bytes) -> SocketOwner | None:
    """Return the open socket of the kernel's answer, if it is the one that was asked for.

    None for an error, and for the listening socket that the kernel names where there is no other.
    """
    id_start = _HEADER.size + 4
    owner_start = id_start + _SOCKET_ID.size + len(_ANY_SOCKET)
    if len(answer) < owner_start + _ANSWER_OWNER.size:
        return None
    if _HEADER.unpack_from(answer)[1] != _BY_FAMILY or answer[_HEADER.size + 1] != ESTABLISHED:
        return None
    if _plain_id(answer[id_start : id_start + _SOCKET_ID.size]) != _plain_id(socket_id):
        return None
    *_, uid, inode = _ANSWER_OWNER.unpack_from(answer, owner_start)
    return SocketOwner(uid, inode)


def _plain_id(socket_id: bytes) -> bytes:
    """Return a socket's ports and addresses with IPv4 addresses in their plain form."""
    if _MAPPED not in socket_id:
        return socket_id
    port, other_port, *ends = _SOCKET_ID.unpack(socket_id)
    return _SOCKET_ID.pack(port, other_port, *(end.removeprefix(_MAPPED) for end in ends))


def parse_table(lines: Iterable[str], local: Address, remote: Address) -> SocketOwner | None:
    """Return the open socket from ``local`` to ``remote`` of the lines of a text table."""
    wanted = (_plain_address(local), _plain_address(remote))
    for line in lines:
        fields = line.split()
        with suppress(ValueError, IndexError):  # the title, or a line of another form
            if (
                int(fields[3], 16) == ESTABLISHED
                and (_table_address(fields[1]), _table_address(fields[2])) == wanted
            ):
                return SocketOwner(int(fields[7]), int(fields[9]))
    return None


def _table_address(text: str) -> Address:
    """Return the address of ``0100007F:1F54``: words of 32 bits in this machine's byte order."""
    digits, _, port = text.partition(":")
    raw = bytes.fromhex(digits)
    words = [raw[start : start + 4] for start in range(0, len(raw), 4)]
    packed = b"".join(word[::-1] for word in words) if sys.byteorder == "little" else raw
    return _plain_address((str(ipaddress.ip_address(packed)), int(port, 16)))


def _plain_address(address: Address) -> Address:
    ip = ipaddress.ip_address(address[0])
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    return str(mapped or ip), address[1]


def read_tables(
    local: Address, remote: Address, tables: Sequence[Path] = SOCKET_TABLES
) -> SocketOwner | None:
    """Return the open socket from ``local`` to ``remote`` of the text tables that are there.

    Raises ``OSError`` for one that can't be read.
    """
    for table in tables:
        with suppress(FileNotFoundError), table.open(encoding="ascii", errors="replace") as lines:
            found = parse_table(lines, local, remote)
            if found is not None:
                return found
    return None


LOOKUPS: Sequence[Lookup] = (ask_kernel, read_tables)


def find_peer_uid(descriptor: int, inode: int, lookup: Lookup | None = None) -> int | None:
    """Return the uid of the process at the other end of a connected socket; None if not known.

    ``inode`` is that of the socket when it was accepted: the number of a descriptor is used again
    for another connection. ``lookup`` is by default the one that this system answers.

    The other end is looked up first, then our own: where ours is open still, nobody else can have
    taken the same two addresses in between.

    Raises ``OSError`` where the question could not be asked, which says nothing of the peer.
    """
    lookup = lookup or working_lookup()
    if lookup is None:
        return None
    try:
        with socket.socket(fileno=os.dup(descriptor)) as own:
            here, there = own.getsockname()[:2], own.getpeername()[:2]
    except OSError as error:
        if error.errno in _CLIENT_IS_GONE:
            return None
        raise
    with suppress(ValueError):  # an address with a zone
        peer, ours = lookup(there, here), lookup(here, there)
        if peer is not None and ours is not None and peer.inode != 0 and ours.inode == inode:
            return None if _is_ambiguous(peer.uid) else peer.uid
    return None


def find_working_lookup(lookups: Sequence[Lookup] = LOOKUPS) -> Lookup | None:
    """Return the first lookup that says who is at the other end of a connection of our own.

    One that does not is never tried again: it would take its time for each connection of a
    stranger. Raises ``OSError`` for what this machine lacks now, which says nothing of a lookup.
    """
    with (
        socket.create_server(("127.0.0.1", 0)) as listening,
        socket.create_connection(listening.getsockname()),
    ):
        accepted, _ = listening.accept()
        with accepted:
            ends = accepted.fileno(), os.fstat(accepted.fileno()).st_ino
            return next((one for one in lookups if _is_answered(one, *ends)), None)


def _is_answered(lookup: Lookup, descriptor: int, inode: int) -> bool:
    """Return True if a lookup says that the other end of a connection of our own is ours."""
    try:
        return find_peer_uid(descriptor, inode, lookup) == os.geteuid()
    except OSError as error:
        if error.errno in _LACKS:
            raise
        return False


working_lookup = cache(find_working_lookup)
"""Returns the lookup that this system answers; None if there is none."""


def _is_ambiguous(uid: int) -> bool:
    """Return True for the uid that stands for all users whom this namespace does not know."""
    return uid == _overflow_uid()


@cache
def _overflow_uid() -> int | None:
    """Return that uid; None where this namespace knows all users.

    Raises ``OSError`` for what this machine lacks now.
    """
    try:
        id_map = Path("/proc/self/uid_map").read_text(encoding="ascii").split()
        if id_map == ["0", "0", str(0xFFFFFFFF)]:
            return None
        return int(Path("/proc/sys/kernel/overflowuid").read_text(encoding="ascii"))
    except ValueError:
        return 65534
    except OSError as error:
        if error.errno in _LACKS:
            raise
        return 65534

"""Which socket is at the other end of a TCP connection of this machine, asked of the kernel (sock_diag(7)).

One question costs microseconds, where /proc/net/tcp lists every socket of the machine for each.
"""

import socket
import struct

_SOCK_DIAG = 4
_BY_FAMILY = 20
_REQUEST = 1
_ESTABLISHED = 1
_LOOPBACK = socket.inet_aton("127.0.0.1")
_HEADER = struct.Struct("=IHHII")
_ID = struct.Struct(">HH4s12x4s12x")
_QUERY = struct.Struct("=BBBxI")
_ANSWER = struct.Struct("=xB2x48x16xI")
_ANY_COOKIE = struct.pack("=III", 0, 0xFFFFFFFF, 0xFFFFFFFF)


def inode_of(local: int, remote: int) -> int | None:
    """Returns the inode of an established connection of the loopback, once a process has accepted it.

    Args:
        local: The port of the end that is looked for.
        remote: The port of its other end.
    """
    wanted = _ID.pack(local, remote, _LOOPBACK, _LOOPBACK) + _ANY_COOKIE
    query = _QUERY.pack(socket.AF_INET, socket.IPPROTO_TCP, 0, 1 << _ESTABLISHED) + wanted
    with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, _SOCK_DIAG) as kernel:
        kernel.send(_HEADER.pack(_HEADER.size + len(query), _BY_FAMILY, _REQUEST, 0, 0) + query)
        answer = kernel.recv(4096)
    if _HEADER.unpack_from(answer)[1] != _BY_FAMILY:  # there is no such connection (any more)
        return None
    state, inode = _ANSWER.unpack_from(answer, _HEADER.size)
    return inode if state == _ESTABLISHED and inode else None

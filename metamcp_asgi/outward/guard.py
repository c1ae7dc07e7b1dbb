"""Which addresses may be asked on somebody else's word: public ones, and what the operator allows besides.

Sans-IO: judges URLs and addresses, resolves nothing (eras.md SB-03). Knows nothing of what is asked there.
"""

import ipaddress
from collections.abc import Sequence
from typing import Final, TypeAlias
from urllib.parse import SplitResult, urlsplit

from metamcp_asgi.errors import MetaMCPError

__all__ = ["Guard", "OutwardRefused"]

_Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
_Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

_LONGEST: Final = 2000
_GIVEN_OUT: Final = ipaddress.IPv6Network("2000::/3")
"""What IANA has given out of IPv6. All else is of one machine, link or site, stands for IPv4, or leads nowhere: so with
``::a.b.c.d``, ``::ffff:0:a.b.c.d`` (RFC 2765), ``64:ff9b:1::/48`` (RFC 8215) and ``fec0::/10``."""
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")


class OutwardRefused(MetaMCPError):
    """A URL leads where nobody but the operator may send us; the message is safe to show."""


class Guard:
    """Decides where requests may go.

    Args:
        allowed: What may be asked although it is inside, and without TLS: host names, ``*.`` and the end of one,
            addresses, networks such as ``10.0.0.0/8``.

    Raises:
        ValueError: One of them is neither.
    """

    def __init__(self, allowed: Sequence[str] = ()) -> None:
        self._names: set[str] = set()
        self._ends: tuple[str, ...] = ()
        self._networks: list[_Network] = []
        for each in allowed:
            try:
                self._networks.append(ipaddress.ip_network(each.strip("[]"), strict=False))
            except ValueError:
                if not each or "/" in each or ":" in each:
                    raise ValueError(f'"{each}" is neither a host name nor an address nor a network') from None
                if each.startswith("*."):
                    self._ends += (each[1:].lower(),)
                else:
                    self._names.add(each.lower())

    def url(self, url: str) -> SplitResult:
        """Return the parts of a URL that may be asked, as far as it tells without being resolved.

        Raises:
            OutwardRefused: It may not, or is not one.
        """
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError:
            raise OutwardRefused("is not a URL") from None
        if parts.scheme not in ("https", "http") or not host or port == 0 or len(url) > _LONGEST:
            raise OutwardRefused("must be an https URL with a host")
        if "@" in parts.netloc or any(ord(character) <= 32 or ord(character) > 126 for character in url):
            raise OutwardRefused("must be plain ASCII without user or password")
        address = _address(host)
        if address is not None:
            self.address(host, address)
        elif host.replace(".", "").isdigit() or host.lower().startswith("0x"):
            # Some resolvers take such names for addresses, in forms of old.
            raise OutwardRefused("must have a host name or a whole address")
        if parts.scheme == "http" and not self._named(host) and not self._within(address):
            raise OutwardRefused("must begin with https://")
        return parts

    def address(self, host: str, address: _Address | str) -> None:
        """Let pass an address that a host was resolved to.

        Raises:
            OutwardRefused: It is not a public one, and not allowed.
        """
        found = ipaddress.ip_address(address) if isinstance(address, str) else address
        if self._named(host) or self._within(found):
            return
        if not all(_is_public(each) for each in _meant(found)):
            raise OutwardRefused(f"{host} is at an address that is not public")

    def _named(self, host: str) -> bool:
        host = host.lower().rstrip(".")
        return host in self._names or host.endswith(self._ends)

    def _within(self, address: _Address | None) -> bool:
        return address is not None and any(address in network for network in self._networks)


def _address(host: str) -> _Address | None:
    try:
        return ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None


def _is_public(address: _Address) -> bool:
    given_out = isinstance(address, ipaddress.IPv4Address) or address in _GIVEN_OUT
    return given_out and address.is_global and not address.is_multicast


def _meant(address: _Address) -> list[_Address]:
    """Return an address and those that routers make of it; only the latter, where it is but a way to write one."""
    if isinstance(address, ipaddress.IPv4Address):
        return [address]
    if address.ipv4_mapped is not None:
        return [address.ipv4_mapped]
    if address in _NAT64:
        return [ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)]
    if address.sixtofour is not None:
        return [address, address.sixtofour]
    return [address, *(address.teredo or ())]

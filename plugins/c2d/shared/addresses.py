"""Which servers strangers may have us connect to: those on public addresses.

The pods' network policies say the same. These rules also hold in the API server, and in clusters that enforce no policy.
"""

import ipaddress
import socket

from c2d.errors import UnsafeAddress

NOT_PUBLIC_IPV4 = (
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/4",
    "240.0.0.0/4",
)
"""All IPv4 addresses that are not public: the exceptions of a network policy that allows the internet."""

_NOT_PUBLIC = tuple(ipaddress.ip_network(network) for network in (*NOT_PUBLIC_IPV4, "fec0::/10"))
_SIX_TO_FOUR = ipaddress.ip_network("2002::/16")
_NAT64 = (ipaddress.ip_network("64:ff9b::/96"), ipaddress.ip_network("64:ff9b:1::/48"))
_IPV4_COMPATIBLE = ipaddress.ip_network("::/96")


def is_public(address: str) -> bool:
    """Whether an IP address may belong to any server on the internet.

    An IPv6 address that stands for an IPv4 one (mapped, 6to4, Teredo, NAT64) counts as that one.
    """
    ip = ipaddress.ip_address(address.split("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = _ipv4_in(ip)
        if inner is not None:
            return is_public(str(inner))
    # `is_global` alone would do, but what it says of some networks differs between versions of Python.
    return ip.is_global and not ip.is_multicast and not ip.is_reserved and not any(ip in network for network in _NOT_PUBLIC)


def _ipv4_in(ip: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    if ip in _SIX_TO_FOUR:
        return ip.sixtofour
    if any(ip in network for network in _NAT64) or (ip in _IPV4_COMPATIBLE and int(ip) > 1):
        return ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    return ip.ipv4_mapped or (ip.teredo[1] if ip.teredo else None)


def addresses_of(host: str, port: int, public_only: bool) -> list[str]:
    """The addresses of a host, resolved once. Connect to one of these: a second look-up may give others.

    :raises UnsafeAddress: one of them is not public. One is enough: a host that mixes them wants us to take the wrong one.
    :raises OSError: the host has no address.
    """
    addresses = list(dict.fromkeys(str(info[4][0]) for info in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)))
    if not addresses:
        raise socket.gaierror("no address")
    if public_only and not all(is_public(address) for address in addresses):
        raise UnsafeAddress("it is not on a public address")
    return addresses

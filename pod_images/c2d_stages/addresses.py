"""Which addresses may be fetched from: public ones only, unless the operator says otherwise (ALLOW_NON_PUBLIC_IP).

The pod's network policy says the same; this holds too where a cluster has none, or a policy that opens more. The same rules as the API
server's own (plugins/c2d/hooks/guarded_http.py): a name is resolved once, all its addresses are looked at, and the connection goes to
one of them.
"""

import ipaddress
import socket

SIX_TO_FOUR = ipaddress.ip_network("2002::/16")
NAT64 = (ipaddress.ip_network("64:ff9b::/96"), ipaddress.ip_network("64:ff9b:1::/48"))
IPV4_COMPATIBLE = ipaddress.ip_network("::/96")
NOT_GLOBAL = (ipaddress.ip_network("192.0.0.0/24"), ipaddress.ip_network("fec0::/10"))  # which Python's is_global lets through


class NotPublic(Exception):
    """A host has an address that is not public."""


def is_public(address: str) -> bool:
    """Whether an address may be anybody's server; what stands for an IPv4 address inside an IPv6 one is judged by that."""
    ip = ipaddress.ip_address(address.split("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or (ip.teredo[1] if ip.teredo else None)
        if ip in SIX_TO_FOUR:
            inner = ip.sixtofour
        elif any(ip in net for net in NAT64) or (ip in IPV4_COMPATIBLE and int(ip) > 1):
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
    return ip.is_global and not ip.is_multicast and not ip.is_reserved and not any(ip in net for net in NOT_GLOBAL)


def connected(host: str, port: int, timeout: float) -> socket.socket:
    """A connection to a host, at an address that was looked at.

    Raises NotPublic where one of its addresses is not public, OSError where none answers.
    """
    found = list(dict.fromkeys(str(info[4][0]) for info in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)))
    if not all(is_public(address) for address in found):
        raise NotPublic
    failure: OSError = socket.gaierror("no address")
    for address in found:
        try:
            return socket.create_connection((address, port), timeout)
        except OSError as error:
            failure = error
    raise failure

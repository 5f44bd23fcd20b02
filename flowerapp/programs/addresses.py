"""Which addresses the HTTP program may call: public ones, and the hosts of ``FLOWER["HTTP_ALLOW_PRIVATE"]``."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterator

import httpx2 as httpx

from flowerapp import conf
from flowerapp.exceptions import FlowerError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

PUBLIC = ipaddress.ip_network("2000::/3")
"""The part of IPv6 that has public addresses (IANA, "IPv6 Address Space")."""

_NOT_PUBLIC = {
    "0.0.0.0/8": "this network",
    "10.0.0.0/8": "private",
    "100.64.0.0/10": "a provider's shared address",
    "127.0.0.0/8": "loopback",
    "168.63.129.16/32": "a cloud's own service",
    "169.254.0.0/16": "link-local",
    "172.16.0.0/12": "private",
    "192.0.0.0/24": "reserved for protocols",
    "192.0.2.0/24": "for documentation",
    "192.88.99.0/24": "a 6to4 relay",
    "192.168.0.0/16": "private",
    "198.18.0.0/15": "for benchmarks",
    "198.51.100.0/24": "for documentation",
    "203.0.113.0/24": "for documentation",
    "224.0.0.0/4": "multicast",
    "240.0.0.0/4": "reserved, or broadcast",
    "2001::/23": "reserved for protocols, such as Teredo",
    "2001:db8::/32": "for documentation",
    "2002::/16": "6to4",
    "3ffe::/16": "no longer in use",
    "3fff::/20": "for documentation",
}
NOT_PUBLIC: dict[Network, str] = {ipaddress.ip_network(network): what for network, what in _NOT_PUBLIC.items()}
"""Networks that no public server is in, and what each is for (IANA's special-purpose registries).

``ipaddress`` has such a list too, but ``is_global`` changes from one Python to the next, is true of multicast, and
does not look into addresses that contain an IPv4 address.
"""
TRANSLATED = (ipaddress.ip_network("::ffff:0:0/96"), ipaddress.ip_network("64:ff9b::/96"))
"""Networks whose addresses lead to the IPv4 address in their last 32 bits: IPv4-mapped ones, and those of NAT64."""


class AddressError(FlowerError):
    """The HTTP program may not call this address."""

    code = "address"


class UnresolvedError(AddressError):
    """The host of a URL has no address."""

    code = "unresolved"


def refusal(text: str) -> str:
    """Why an IP address is not public, in a few words; empty if it is."""
    address = _reached(ipaddress.ip_address(text.partition("%")[0]))
    if isinstance(address, ipaddress.IPv6Address) and address not in PUBLIC:
        return "not public"
    return next((what for network, what in NOT_PUBLIC.items() if address in network), "")


def _reached(address: Address) -> Address:
    """The address that a connection reaches."""
    if any(address in network for network in TRANSLATED):
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def is_allowed(url: httpx.URL) -> bool:
    """Whether ``FLOWER["HTTP_ALLOW_PRIVATE"]`` names the host of a URL, so that its addresses do not matter."""
    host = f"[{url.host}]" if ":" in url.host else url.host
    return not {"*", url.host, host, f"{host}:{_port(url)}"}.isdisjoint(conf.get().HTTP_ALLOW_PRIVATE)


def _port(url: httpx.URL) -> int:
    return url.port or (443 if url.scheme == "https" else 80)


def addresses_of(url: httpx.URL) -> list[str]:
    """The addresses of a URL's host, in the order to try them; raises AddressError if one of them is not public."""
    host = url.raw_host.decode("ascii")
    try:
        answers = socket.getaddrinfo(host, _port(url), type=socket.SOCK_STREAM)
    except (OSError, ValueError) as error:
        raise UnresolvedError(f"cannot resolve {host}: {error}") from error
    addresses = list(dict.fromkeys(str(address[0]) for *_, address in answers))
    for address in addresses:
        if why := refusal(address):
            raise AddressError(
                f"{host} is the private address {address} ({why}); "
                f"add {host} to FLOWER['HTTP_ALLOW_PRIVATE'] to allow it"
            )
    return addresses


class GuardedTransport(httpx.HTTPTransport):
    """Connects to the addresses that were checked: a name is resolved once for each request, redirects included.

    So a name server cannot pass the check with one address and lead the connection to another. Proxies of the
    environment are not used, because they would resolve the name again.
    """

    def __init__(self) -> None:
        super().__init__(trust_env=False)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """The response of the first address that can be connected to; raises AddressError and httpx's errors."""
        if is_allowed(request.url):
            return super().handle_request(request)
        *others, last = self._attempts(request)
        for attempt in others:
            try:
                return super().handle_request(attempt)
            except (httpx.ConnectError, httpx.ConnectTimeout):
                continue
        return super().handle_request(last)

    def _attempts(self, request: httpx.Request) -> Iterator[httpx.Request]:
        """The request to each address, with the host's name for TLS and in the header ``Host``."""
        name = {"sni_hostname": request.url.raw_host.decode("ascii")}
        for address in addresses_of(request.url):
            url = request.url.copy_with(host=address)
            extensions = {**request.extensions, **name}
            yield httpx.Request(
                request.method, url, headers=request.headers, stream=request.stream, extensions=extensions
            )

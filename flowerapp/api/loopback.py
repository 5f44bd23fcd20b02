"""The open API: register and read without authentication, for programs on this machine only.

``FLOWER["OPEN_API"]`` turns it on. It refuses pages of other origins, other hosts' names for this machine (DNS
rebinding), and callers behind a proxy.
"""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from django.http import HttpRequest

from flowerapp import conf

FORWARDED = ("FORWARDED", "VIA", "X_FORWARDED_FOR", "X_FORWARDED_HOST", "X_FORWARDED_PROTO", "X_REAL_IP")
"""Headers that only a proxy adds."""
FOREIGN_SITES = ("cross-site", "same-site")


def refusal(request: HttpRequest) -> str:
    """Why the caller may not use the open API; empty if it may."""
    if not _is_near(str(request.META.get("REMOTE_ADDR", ""))):
        return "without authentication the API is open to callers on this machine only; log in or send a token"
    if any(f"HTTP_{name}" in request.META for name in FORWARDED):
        return "without authentication the API is not open through a proxy; log in or send a token"
    if not _names_loopback(request.get_host()):
        return "without authentication the API answers to localhost only; use http://localhost or http://127.0.0.1"
    return foreign(request)


def foreign(request: HttpRequest) -> str:
    """Why the request counts as another site's; empty if it does not."""
    origin = request.META.get("HTTP_ORIGIN")
    own = f"{request.scheme}://{request.get_host()}"
    if origin is not None and origin != own:
        return f"requests from pages of another origin are refused; this one is {own}"
    if request.META.get("HTTP_SEC_FETCH_SITE", "").strip().lower() in FOREIGN_SITES:
        return "requests from pages of another site are refused"
    return ""


def _is_near(address: str) -> bool:
    parsed = _parsed(address)
    networks = (ipaddress.ip_network(network, strict=False) for network in conf.get().OPEN_API_CLIENTS)
    return parsed is not None and (parsed.is_loopback or any(parsed in network for network in networks))


def is_loopback(address: str) -> bool:
    """Whether an IP address is this machine's own."""
    parsed = _parsed(address)
    return parsed is not None and parsed.is_loopback


def _parsed(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return None
    return getattr(parsed, "ipv4_mapped", None) or parsed


def _names_loopback(host: str) -> bool:
    try:
        name = (urlsplit(f"//{host}").hostname or "").rstrip(".")
    except ValueError:
        return False
    return name == "localhost" or name.endswith(".localhost") or is_loopback(name)

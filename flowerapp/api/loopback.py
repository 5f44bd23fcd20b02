"""The open API: register and read without authentication, for programs on this machine only.

``FLOWER["OPEN_API"]`` turns it on. It refuses pages of other origins, other hosts' names for this machine (DNS
rebinding), and what comes through a proxy as far as that can be seen: docs/security.md says what cannot.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from urllib.parse import urlsplit

from django.conf import settings
from django.http import HttpRequest

from flowerapp import conf

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_OF_PROXIES = re.compile(
    r"""HTTP_(?:
        FORWARDED\w* | X_FORWARDED\w* | X_FORWARDER\w* | X_ORIGINAL_\w+ | X_REAL_\w+ | VIA | X_VIA | MAX_FORWARDS
        | (?:X_|TRUE_|X_CLUSTER_|X_TRUE_|FASTLY_|FLY_|WL_PROXY_|PROXY_)?CLIENT_IP | X_PROXY\w* | PROXY_\w+ | X_NGINX_\w+
        | CF_\w+ | CDN_LOOP | CLOUDFRONT_\w+ | X_AMZN_\w+ | X_AMZ_CF_\w+ | X_ENVOY_\w+ | X_ARR_\w+ | X_AZURE_\w+
        | X_APPENGINE_\w+ | X_GOOG_\w+ | X_VERCEL_\w+ | X_NF_\w+ | FASTLY_\w+ | FLY_\w+ | TAILSCALE_\w+ | X_AKAMAI_\w+
        | AKAMAI_\w+ | INCAP_\w+ | X_SUCURI_\w+ | X_VARNISH | SURROGATE_CAPABILITY | X_REWRITE_URL | X_REQUEST_START
        | X_SCHEME | X_HOST | X_REMOTE_\w+
    )""",
    re.VERBOSE,
)
"""Headers that proxies, balancers and content networks add, and callers do not."""
FOREIGN_SITES = ("cross-site", "same-site")
PROXY_SETTINGS = ("SECURE_PROXY_SSL_HEADER", "USE_X_FORWARDED_HOST", "USE_X_FORWARDED_PORT", "SECURE_SSL_REDIRECT")
"""Django's settings for servers behind a proxy."""
INSTEAD = "log in or send a token"


def refusal(request: HttpRequest) -> str:
    """Why the caller may not use the open API; empty if it may."""
    if not _is_near(str(request.META.get("REMOTE_ADDR", ""))):
        return f"without authentication the API is open to callers on this machine only; {INSTEAD}"
    if why := published():
        return f"without authentication the API is not open, because {why}; {INSTEAD}"
    if _came_through_proxy(request):
        return f"without authentication the API is not open through a proxy; {INSTEAD}"
    if not _names_loopback(request.get_host()):
        return "without authentication the API answers to localhost only; use http://localhost or http://127.0.0.1"
    return foreign(request)


def published() -> str:
    """What in the settings says that others reach this server, through a proxy; empty if nothing does."""
    for name in PROXY_SETTINGS:
        if getattr(settings, name, None):
            return f"{name} says that a proxy is in front of this server"
    for origin in settings.CSRF_TRUSTED_ORIGINS:
        if not _names_loopback(str(origin).partition("://")[2]):
            return f"CSRF_TRUSTED_ORIGINS says that this server is reached as {origin}"
    return ""


def _came_through_proxy(request: HttpRequest) -> bool:
    """Whether a proxy shows: by a header, or by HTTP/1.0, which many speak to the server behind them."""
    return any(map(_OF_PROXIES.fullmatch, request.META)) or _version(request) in ("HTTP/0.9", "HTTP/1.0")


def _version(request: HttpRequest) -> str:
    scope = getattr(request, "scope", {})
    return str(request.META.get("SERVER_PROTOCOL") or f"HTTP/{scope.get('http_version', '')}")


def foreign(request: HttpRequest) -> str:
    """Why the request counts as another site's; empty if it does not."""
    own = f"{request.scheme}://{request.get_host()}"
    origin, referer = request.META.get("HTTP_ORIGIN"), request.META.get("HTTP_REFERER")
    if (origin is not None and origin != own) or (referer and not referer.startswith(f"{own}/")):
        return f"requests from pages of another origin are refused; this one is {own}"
    if request.META.get("HTTP_SEC_FETCH_SITE", "").strip().lower() in FOREIGN_SITES:
        return "requests from pages of another site are refused"
    return ""


def _is_near(address: str) -> bool:
    parsed = _parsed(address)
    networks = (parsed_network(name) for name in conf.get().OPEN_API_CLIENTS)
    return parsed is not None and (parsed.is_loopback or any(parsed in network for network in networks if network))


def parsed_network(name: str) -> Network | None:
    """An address or network of ``FLOWER["OPEN_API_CLIENTS"]``; None for what is neither."""
    try:
        return ipaddress.ip_network(name.strip(), strict=False)
    except ValueError:
        return None


def unusable_clients() -> Iterator[str]:
    """What in ``FLOWER["OPEN_API_CLIENTS"]`` is no address and no network."""
    return (name for name in conf.get().OPEN_API_CLIENTS if parsed_network(name) is None)


def is_loopback(address: str) -> bool:
    """Whether an IP address is this machine's own."""
    parsed = _parsed(address)
    return parsed is not None and parsed.is_loopback


def _parsed(address: str) -> Address | None:
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

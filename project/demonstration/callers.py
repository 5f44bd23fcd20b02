"""Who calls the demonstration: the machine that runs its containers, and these themselves.

Calls to a published port reach a container from the gateway of its network, so that address stands for the machine.
"""

from __future__ import annotations

import ipaddress
import sys
from pathlib import Path

from django.conf import settings

from flowerapp import conf

ROUTES = Path("/proc/net/route")
INTERFACES = Path("/sys/class/net")
HAS_GATEWAY = 0x2
"""The flag of a route that leads through a gateway."""


def open_to_machine() -> None:
    """Let callers on the machine use the open API too, if ``FLOWER["OPEN_API"]`` is on."""
    address = gateway()
    if conf.get().OPEN_API and address is not None:
        clients = [*conf.get().OPEN_API_CLIENTS, address]
        settings.FLOWER = {**conf.raw(), "OPEN_API_CLIENTS": clients}


def is_near(address: str) -> bool:
    """Whether a caller is one of the stack's containers, or the machine."""
    try:
        return ipaddress.ip_address(address).is_private
    except ValueError:
        return False


def gateway() -> str | None:
    """The gateway of this container; None without one, or if the network is not the container's own.

    In the network of the machine itself the gateway is a router, from which calls of other machines may come.
    """
    for line in _lines(ROUTES)[1:]:
        interface, destination, address, flags, *_, mask, _mtu, _window, _irtt = line.split()
        if int(destination, 16) == int(mask, 16) == 0 and int(flags, 16) & HAS_GATEWAY:
            parsed = ipaddress.IPv4Address(int(address, 16).to_bytes(4, sys.byteorder))
            return str(parsed) if parsed.is_private and _leads_outside(interface) else None
    return None


def _leads_outside(interface: str) -> bool:
    """Whether an interface is one end of a pair whose other end is in the network of the machine."""
    own, other = (_lines(INTERFACES / interface / name) for name in ("ifindex", "iflink"))
    return bool(own and other) and own != other


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="ascii").splitlines()
    except OSError:
        return []

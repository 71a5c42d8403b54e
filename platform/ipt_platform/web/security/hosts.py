"""By which names the page may be reached, and from which pages it may be told to do something.

A name that somebody else owns can be made to lead to this machine (DNS rebinding), and then pages of that name could read ours.
So names are refused that the page was not told of. An address in digits belongs to no name, so it is let through.
"""

import ipaddress
import socket
from collections.abc import Collection
from urllib.parse import urlsplit


def own_names(host: str, names: Collection[str]) -> frozenset[str]:
    """The names by which a page that listens on `host` may be reached."""
    local = {"localhost"}
    machine = set() if is_loopback(host) else {socket.gethostname(), socket.getfqdn()}
    return frozenset(name.lower().rstrip(".") for name in {*local, *machine, host, *names})


def known_host(header: str, names: Collection[str]) -> bool:
    """Whether a Host header names the page."""
    name = _host_of(f"//{header}")
    return name is not None and (name in names or _is_address(name))


def same_origin(origin: str | None, site: str | None, host: str) -> bool:
    """Whether a request that changes something comes from a page of ours.

    Args:
        origin: its Origin header.
        site: its Sec-Fetch-Site header.
        host: its Host header.
    """
    if site is not None and site not in ("same-origin", "none"):
        return False
    if origin is None:
        return site is not None  # a browser says at least one of the two
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and parts.netloc.lower() == host.lower()


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach what listens there."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _host_of(url: str) -> str | None:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return None
    if parts.username is not None or parts.path or parts.query or parts.fragment:
        return None
    return parts.hostname.rstrip(".") if parts.hostname else None


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True

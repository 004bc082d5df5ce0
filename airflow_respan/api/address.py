"""What a URL leads to, as both HTTP libraries see it."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

_HOST_NAME = re.compile(r"[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*\.?")


def host_and_port(url: str) -> tuple[str, int | None]:
    """Find what the HTTP libraries will connect to; they disagree about whatever is not plain ASCII.

    :raises ValueError: if there is no such thing in the URL
    """
    parts = urlsplit(url)
    name = parts.hostname or ""
    if not re.fullmatch(r"[\x21-\x7e]+", url) or "\\" in url:
        raise ValueError("not plain ASCII")
    if not _HOST_NAME.fullmatch(name):
        ipaddress.ip_address(name)
    return name, parts.port


def is_loopback(host: str) -> bool:
    """Say whether a host name or address is this machine itself."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower().rstrip(".") == "localhost"

"""The host and port that a URL leads to.

requests and aiohttp read unusual URLs differently. Such URLs are refused here, so that both connect to the same host.
"""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

_DEFAULT_PORTS = {"http": 80, "https": 443}
_HOST_NAME = re.compile(r"[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*\.?")


def host_and_port(url: str) -> tuple[str, int | None]:
    """Return the host name or IP address of a URL, and its port.

    :param url: an absolute URL; the scheme may be missing (``//host:port``)
    :return: the host in lower case, without brackets, and the port or None
    :raises ValueError: if host or port is invalid, or if a character of the URL is not printable ASCII
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    if not re.fullmatch(r"[\x21-\x7e]+", url) or "\\" in url:
        raise ValueError("not plain ASCII")
    if not _HOST_NAME.fullmatch(host):
        ipaddress.ip_address(host)
    return host, parts.port


def is_loopback(host: str) -> bool:
    """Return whether a host name or IP address is this machine itself."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower().rstrip(".") == "localhost"


def origin(url: str) -> str:
    """Return scheme, host and port of a URL, without the default port.

    :raises ValueError: if the URL has none, or is not an HTTP URL
    """
    parts = urlsplit(url)
    default_port = _DEFAULT_PORTS.get(parts.scheme)
    if not parts.hostname or default_port is None:
        raise ValueError("not an HTTP URL")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}{'' if parts.port in (None, default_port) else f':{parts.port}'}"

"""The settings of a client, read from an Airflow connection in the same way on workers and triggerers. No I/O."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from airflow_respan.api.address import host_and_port, is_loopback
from airflow_respan.api.connection_extra import HEADER_VALUE, ExtraReader
from airflow_respan.api.connection_fields import CONNECTION_FIELDS, DEFAULTS
from airflow_respan.api.json_safe import sanitize_json

DEFAULT_BASE_URL = "https://api.respan.ai"
DEFAULT_REQUESTS_PER_MINUTE: int = DEFAULTS["requests_per_minute"]
KEYS_PAGE = "https://platform.respan.ai/platform/api-keys"

_BEARER = re.compile(r"bearer\s+", re.IGNORECASE)
"""What stands before the key in the header, and is pasted with it."""

_SCHEMES = ("http", "https")
_URL_CREDENTIALS = re.compile(r"//[^/@:\s'\"]*:[^/@\s'\"]+@")
_SECRET_NAME = re.compile("auth|cookie|credential|key|passw|secret|signature|token", re.IGNORECASE)
_MIN_SECRET_LENGTH = 6
_MIN_KEY_LENGTH = 16
_NO_FREE_TEXT = frozenset(
    {"id", "object", "status", "endpoint", "completion_window", "filename", "purpose", "metadata"}
)
"""Fields in which no header value is replaced, in addition to fields whose names end with ``_id``. The code compares
these fields, so a header with a value such as "airflow" must not change them."""


@dataclass(frozen=True, kw_only=True)
class RespanConnection:
    """Address, credentials and options for calls to Respan. Its ``repr`` contains no secrets.

    :param conn_id: the id of the Airflow connection, for error messages
    :param api_key: the Respan API key (the connection's password)
    :param base_url: scheme, host, port and path prefix, without ``/api`` and without a trailing slash
    :param provider_id: the provider to name in every call that does not name another; None to name none
    :param respan_params: default tracking parameters, for the header ``X-Data-Respan-Params``
    :param respan_params_encoding: ``json`` or ``base64``; ``docs/respan-api.md`` has the source of both
    :param timeout: seconds within which a response must be complete; for the content of a file, seconds within which
        the next bytes must arrive
    :param verify: whether to check the server's certificate, or the path of a CA bundle or directory
    :param proxies: scheme -> proxy URL; if empty, the environment decides (``HTTPS_PROXY``, ``NO_PROXY``)
    :param headers: further headers for every call
    :param allow_http: whether the API key may be sent unencrypted to a host that is not this machine
    :param requests_per_minute: the rate limit that all waits of one triggerer share; 0 for no limit
    """

    conn_id: str
    api_key: str = field(repr=False)
    base_url: str = DEFAULT_BASE_URL
    provider_id: str | None = DEFAULTS["provider_id"]
    respan_params: Mapping[str, Any] = field(default_factory=dict)
    respan_params_encoding: str = DEFAULTS["respan_params_encoding"]
    timeout: float = DEFAULTS["timeout"]
    verify: bool | str = DEFAULTS["verify"]
    proxies: Mapping[str, str] = field(default_factory=dict, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    allow_http: bool = DEFAULTS["allow_http"]
    requests_per_minute: int = DEFAULT_REQUESTS_PER_MINUTE

    @classmethod
    def from_airflow(
        cls,
        *,
        conn_id: str,
        password: str | None,
        host: str | None,
        schema: str | None,
        port: int | None,
        extra: object,
    ) -> RespanConnection:
        """Return the settings from the fields of an Airflow connection; an empty field means its default.

        :param conn_id: the id of the connection
        :param password: the API key, with or without ``Bearer``
        :param host: the base URL
        :param schema: the scheme, if the host has none; or the path, which is here if the connection is a URI such as
            ``respan://:key@host/path/api``
        :param port: the port, if the host has none
        :param extra: the decoded extra
        :raises RespanConfigurationError: if a field is invalid; the message names connection and field, and says what
            to write there
        """
        reader = ExtraReader(conn_id, extra)
        key = _BEARER.sub("", (password or "").strip())
        if not key:
            raise reader.error("has no API key", f"Put one in its password field; create keys at {KEYS_PAGE}")
        if not HEADER_VALUE.fullmatch(key):
            raise reader.error("has a password that cannot be an API key", "Paste the key again, without line breaks")
        settings = {conn_field.name: reader.read(conn_field) for conn_field in CONNECTION_FIELDS}
        base_url = _base_url(reader, host=host, schema=schema, port=port, allow_http=settings["allow_http"])
        return cls(conn_id=conn_id, api_key=key, base_url=base_url, **settings)

    def redact(self, text: str) -> str:
        """Replace the connection's secrets in a text that came from outside, such as an error that repeats a header.

        The secrets are the API key, the values of headers whose names sound secret, and passwords in URLs. A proxy may
        have a password too, and may be set in the environment only.
        """
        secrets = [value for name, value in self.headers.items() if _SECRET_NAME.search(name)]
        for secret in (self.api_key, *secrets):
            if len(secret) >= _MIN_SECRET_LENGTH:
                text = text.replace(secret, "***")
        return _URL_CREDENTIALS.sub("//***@", text) if "@" in text else text

    def sanitize(self, data: Any) -> Any:
        """Return decoded JSON without what Airflow cannot keep (see ``json_safe.py``) and without secrets in free text.

        If a service repeats the API key, the key must not get into a batch, because batches are in XCom and logs. Names
        in objects, ids, statuses, file names and metadata stay as they came. Only the API key is replaced there, if it
        has at least 16 characters: such a text is not there by chance.
        """
        data = sanitize_json(data)
        # Most responses have no secret, and one search in the whole text is faster than a search in each value. JSON
        # may escape a character by a backslash; then this search could miss a secret.
        text = json.dumps(data)
        return self._redacted(data) if "\\" in text or self.redact(text) != text else data

    def _redacted(self, value: Any, *, is_free_text: bool = True) -> Any:
        if isinstance(value, str):
            return self.redact(value) if is_free_text else self._without_key(value)
        if isinstance(value, dict):
            return {
                self._without_key(name): self._redacted(
                    item, is_free_text=is_free_text and name not in _NO_FREE_TEXT and not name.endswith("_id")
                )
                for name, item in value.items()
            }
        return [self._redacted(item, is_free_text=is_free_text) for item in value] if isinstance(value, list) else value

    def _without_key(self, text: str) -> str:
        return text.replace(self.api_key, "***") if len(self.api_key) >= _MIN_KEY_LENGTH else text


def _base_url(reader: ExtraReader, *, host: str | None, schema: str | None, port: int | None, allow_http: bool) -> str:
    """Return the base URL in one form. It may be written with or without ``/api``, a scheme, and a port."""
    text = (host or "").strip() or DEFAULT_BASE_URL
    advice = f"Write it like {DEFAULT_BASE_URL}"
    if "://" not in text:
        text = f"//[{text}]" if text.count(":") > 1 and "[" not in text else f"//{text}"
    try:
        parts = urlsplit(text)
        name, port_in_host = host_and_port(text)
    except ValueError:
        raise reader.error("has a host that is not a URL", advice) from None
    if port and not 0 < port < 2**16:
        raise reader.error(f"has the port {port}", "Write one from 1 to 65535, or leave it out")
    port = port_in_host or port
    if parts.username or parts.password or parts.query or parts.fragment:
        raise reader.error("has a host with more than scheme, name, port and path", advice)
    schema = (schema or "").strip().strip("/")
    is_path = "/" in schema or schema in ("api", "v1")
    scheme = (parts.scheme or ("" if is_path else schema) or ("http" if is_loopback(name) else "https")).lower()
    if scheme not in _SCHEMES:
        raise reader.error("has a scheme that is neither http nor https", advice)
    if scheme == "http" and not (allow_http or is_loopback(name)):
        raise reader.error(
            f"would send the API key unencrypted to {name!r}",
            "Use https, or set the extra field 'allow_http' to true if you control the network in between",
        )
    path = f"{parts.path.rstrip('/')}/{schema if is_path else ''}".rstrip("/")
    path = path.removesuffix("/api/v1") if path.endswith("/api/v1") else path.removesuffix("/api")
    url_host = f"[{name}]" if ":" in name else name
    return f"{scheme}://{url_host}{f':{port}' if port else ''}{path.rstrip('/')}"

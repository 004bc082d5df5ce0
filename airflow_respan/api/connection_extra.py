"""Reads the fields in the extra of an Airflow connection.

The form of older Airflow versions saves every value as text, so each kind of field is also read from text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from airflow_respan.api.address import host_and_port
from airflow_respan.api.connection_fields import CONNECTION_FIELDS, ConnectionField, Kind
from airflow_respan.api.exceptions import RespanConfigurationError

_RESERVED_HEADERS = {"authorization", "host", "content-length", "content-type"} | {
    conn_field.header.lower() for conn_field in CONNECTION_FIELDS if conn_field.header
}
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
HEADER_VALUE = re.compile(r"[\x20-\x7e\t]*")


class ExtraReader:
    """Reads and checks single fields; an empty field is treated as missing.

    :param conn_id: the id of the connection, for error messages
    :param extra: the decoded extra
    :raises RespanConfigurationError: if the extra is not a JSON object. Every method that reads a field raises it for
        an invalid value; the message names the connection and the field
    """

    def __init__(self, conn_id: str, extra: object) -> None:
        self.conn_id = conn_id
        if not isinstance(extra, Mapping):
            raise self.error("has an extra that is not a JSON object", "Write it like {} or leave it out")
        self.extra = {name: value for name, value in extra.items() if value not in (None, "")}

    def error(self, what: str, advice: str) -> RespanConfigurationError:
        """Return an error that names the connection, what is wrong with it, and what to do."""
        return RespanConfigurationError(f"Airflow connection {self.conn_id!r} {what}. {advice}.")

    def field_error(self, name: str, expected: str) -> RespanConfigurationError:
        """Return an error for a field with an invalid value."""
        # Without the value: if somebody puts a secret into the wrong field, it must not get into the log.
        return self.error(f"has an extra field {name!r} that is not {expected}", "Correct the field or leave it out")

    def read(self, conn_field: ConnectionField) -> Any:
        """Return the value of a field, or its default if it is missing."""
        if conn_field.name not in self.extra:
            return conn_field.default
        readers: dict[Kind, Callable[[str], Any]] = {
            Kind.TEXT: self.text,
            Kind.CHOICE: partial(self.choice, choices=conn_field.choices),
            Kind.SECONDS: self.seconds,
            Kind.COUNT: self.count,
            Kind.FLAG: self.flag,
            Kind.FLAG_OR_PATH: self.flag_or_path,
            Kind.OBJECT: self.mapping,
            Kind.PROXIES: self.proxies,
            Kind.HEADERS: self.headers,
        }
        value = readers[conn_field.kind](conn_field.name)
        return conn_field.default if value is None else value

    def text(self, name: str) -> str | None:
        """Return a text, or None if it is blank."""
        value = self.extra[name]
        if not (isinstance(value, str) and value.strip().isprintable()):
            raise self.field_error(name, "a text")
        return value.strip() or None

    def choice(self, name: str, choices: tuple[str, ...]) -> str:
        """Return one of several texts, or the first if it is blank."""
        value = self.text(name) or choices[0]
        if value not in choices:
            raise self.field_error(name, " or ".join(repr(choice) for choice in choices))
        return value

    def flag_or_path(self, name: str) -> bool | str:
        """Return true or false, or a path."""
        value = self.extra[name]
        if isinstance(value, str) and value.strip().lower() in ("true", "false"):
            return value.strip().lower() == "true"
        if not isinstance(value, bool | str):
            raise self.field_error(name, "true, false or the path of a CA bundle")
        return value

    def flag(self, name: str) -> bool:
        """Return true or false."""
        value = self.flag_or_path(name)
        if not isinstance(value, bool):
            raise self.field_error(name, "true or false")
        return value

    def seconds(self, name: str) -> float:
        """Return a number of seconds, above 0 and of at most a day."""
        try:
            value = float(self.extra[name])
        except (TypeError, ValueError, OverflowError):
            raise self.field_error(name, "a number of seconds") from None
        if not 0 < value <= 24 * 3600:
            raise self.field_error(name, "a number of seconds above 0 and of at most a day")
        return value

    def count(self, name: str) -> int:
        """Return a whole number, 0 or more."""
        value = str(self.extra[name]).strip()
        # Older Airflow versions save a number as text.
        if not re.fullmatch(r"[0-9]{1,9}", value):
            raise self.field_error(name, "a whole number, 0 or more")
        return int(value)

    def mapping(self, name: str) -> dict[str, Any]:
        """Return a JSON object; it may be written as text."""
        value = self.extra[name]
        try:
            value = json.loads(value) if isinstance(value, str) else value
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError, RecursionError):
            value = None
        if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
            raise self.field_error(name, "a JSON object")
        return dict(value)

    def texts(self, name: str) -> dict[str, str]:
        """Return a JSON object of texts."""
        value = self.mapping(name)
        if not all(isinstance(text, str) for text in value.values()):
            raise self.field_error(name, "a JSON object of texts")
        return value

    def proxies(self, name: str) -> dict[str, str]:
        """Return scheme -> proxy URL."""
        value = self.texts(name)
        try:
            for proxy in value.values():
                host_and_port(proxy)
        except ValueError:
            expected = 'a JSON object of schemes and proxy URLs, like {"https": "http://proxy:3128"}'
            raise self.field_error(name, expected) from None
        return value

    def headers(self, name: str) -> dict[str, str]:
        """Return further HTTP headers. Invalid headers, and those that the provider sets itself, are an error."""
        value = {header: text.strip() for header, text in self.texts(name).items()}
        for header, text in value.items():
            if not _HEADER_NAME.fullmatch(header) or not HEADER_VALUE.fullmatch(text):
                raise self.field_error(name, "a JSON object of HTTP headers (ASCII, no line breaks)")
            if header.lower() in _RESERVED_HEADERS:
                raise self.error(
                    f"sets the header {header!r} in its extra field {name!r}, which the provider sets itself",
                    "Use the password for the key and respan_params for tracking parameters",
                )
        return value

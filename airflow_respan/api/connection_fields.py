"""The list of the fields in the extra of a Respan connection.

The connection form, the settings of a client, the table in ``docs/connection.md`` and the tests use this list. Each
field needs an attribute with its name in :class:`~airflow_respan.api.connection.RespanConnection`.
"""

from __future__ import annotations

from enum import Enum
from typing import Any, NamedTuple

PARAMS_HEADER = "X-Data-Respan-Params"


class Kind(Enum):
    """The type of a field; :class:`~airflow_respan.api.connection_extra.ExtraReader` has a method for each."""

    TEXT = "a text"
    CHOICE = "one of several texts"
    SECONDS = "a number of seconds"
    COUNT = "a whole number"
    FLAG = "true or false"
    FLAG_OR_PATH = "true, false or a path"
    OBJECT = "a JSON object"
    PROXIES = "a JSON object of proxies"
    HEADERS = "a JSON object of HTTP headers"


class ConnectionField(NamedTuple):
    """One field of the extra.

    :param name: its key in the extra
    :param label: its name in the form
    :param help: its meaning for the form, in one or two sentences
    :param details: its meaning for ``docs/connection.md``, in Markdown
    :param kind: the type of its value
    :param default: its value if it is missing
    :param example: a value that is not the default, for documentation and tests
    :param choices: the values of a ``CHOICE``, the default first
    :param header: the HTTP header that it sets; the field ``headers`` must not set the same header
    """

    name: str
    label: str
    help: str
    details: str
    kind: Kind
    default: Any
    example: Any
    choices: tuple[str, ...] = ()
    header: str | None = None


CONNECTION_FIELDS = (
    ConnectionField(
        "provider_id",
        "Provider",
        "Route batches to this provider, such as openai or parasail. Empty: Respan decides.",
        "`openai`, `parasail`, ...; sent only if it is set here or in the call",
        Kind.TEXT,
        default=None,
        example="openai",
    ),
    ConnectionField(
        "respan_params",
        "Tracking parameters",
        'JSON object sent with every batch call, such as {"customer_identifier": "user123"}.',
        "JSON object for the header `X-Data-Respan-Params` of every call, such as "
        '`{"customer_identifier": "user123"}`; those of [a retrieve or a '
        "create](sensor-and-outcomes.md#which-requests-have-the-tracking-parameters) are added to it",
        Kind.OBJECT,
        default={},
        example={"customer_identifier": "user123", "tags": ["a", {"b": None}]},
        header=PARAMS_HEADER,
    ),
    ConnectionField(
        "respan_params_encoding",
        "Encoding of tracking parameters",
        f"How the header {PARAMS_HEADER} is written: json (default) or base64.",
        "`json` (default) or `base64`",
        Kind.CHOICE,
        default="json",
        example="base64",
        choices=("json", "base64"),
    ),
    ConnectionField(
        "timeout",
        "Timeout (seconds)",
        "A call fails if its response is not complete after this time. Default: 30.",
        "seconds; a call fails if its response is not complete by then, a download if no further bytes arrive for "
        "that time. Default 30",
        Kind.SECONDS,
        default=30.0,
        example=20.0,
    ),
    ConnectionField(
        "requests_per_minute",
        "Requests a minute",
        "Rate limit that all deferred waits of one triggerer share. Default: 60, Respan's limit; 0: no limit.",
        "the [rate limit](scale.md#the-rate-limit) that all deferred waits of one triggerer share. Default 60, "
        "Respan's limit for an organisation; `0` means no limit",
        Kind.COUNT,
        default=60,
        example=30,
    ),
    ConnectionField(
        "verify",
        "Check certificate",
        "true (default), false, or the path of a CA bundle on workers and triggerers.",
        "`true` (default), `false`, or the path of a CA bundle; without a path `REQUESTS_CA_BUNDLE`, "
        "`CURL_CA_BUNDLE` or `SSL_CERT_FILE` is used, whichever is set first",
        Kind.FLAG_OR_PATH,
        default=True,
        example=False,
    ),
    ConnectionField(
        "proxies",
        "Proxies",
        'JSON object such as {"https": "http://proxy:3128"}. Empty: the environment decides.',
        'JSON object, such as `{"https": "http://proxy:3128"}`; by default the environment decides '
        "(`HTTPS_PROXY`, `NO_PROXY`)",
        Kind.PROXIES,
        default={},
        example={"https": "http://proxy:3128"},
    ),
    ConnectionField(
        "headers",
        "Further headers",
        'JSON object of HTTP headers for every call, such as {"X-Team": "data"}.',
        "JSON object of HTTP headers for every call",
        Kind.HEADERS,
        default={},
        example={"X-Team": "data"},
    ),
    ConnectionField(
        "allow_http",
        "Allow plain http",
        "Send the API key unencrypted to a host that is not this machine.",
        "`true` allows sending the key unencrypted to another machine",
        Kind.FLAG,
        default=False,
        example=True,
    ),
)

DEFAULTS = {field.name: field.default for field in CONNECTION_FIELDS}

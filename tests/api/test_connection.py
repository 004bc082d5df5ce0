"""The settings of a connection: read from its fields, and secrets redacted."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_respan.api.connection import RespanConnection
from airflow_respan.exceptions import RespanConfigurationError

KEY = "secret-api-key"


def read(**fields: Any) -> RespanConnection:
    settings: dict[str, Any] = {"host": None, "schema": None, "port": None, "password": KEY, "extra": {}}
    return RespanConnection.from_airflow(conn_id="respan_default", **{**settings, **fields})


@pytest.mark.parametrize(
    ("fields", "url"),
    [
        ({}, "https://api.respan.ai"),
        ({"host": ""}, "https://api.respan.ai"),
        ({"host": "https://api.respan.ai"}, "https://api.respan.ai"),
        ({"host": "https://api.respan.ai/"}, "https://api.respan.ai"),
        ({"host": "https://api.respan.ai/api"}, "https://api.respan.ai"),
        ({"host": " https://api.respan.ai/api/ "}, "https://api.respan.ai"),
        ({"host": "https://api.respan.ai/api/v1/"}, "https://api.respan.ai"),
        ({"host": "api.respan.ai"}, "https://api.respan.ai"),
        ({"host": "api.respan.ai/api", "schema": "https", "port": 443}, "https://api.respan.ai:443"),
        ({"host": "api.respan.ai", "schema": "HTTPS"}, "https://api.respan.ai"),
        ({"host": "HTTPS://api.respan.ai"}, "https://api.respan.ai"),
        ({"host": "api.respan.ai", "schema": "api"}, "https://api.respan.ai"),  # respan://:key@api.respan.ai/api
        ({"host": "api.respan.ai", "schema": "api/v1/"}, "https://api.respan.ai"),
        ({"host": "gateway.example", "schema": "respan/api"}, "https://gateway.example/respan"),
        ({"host": "http://localhost:8000"}, "http://localhost:8000"),
        ({"host": "localhost", "port": 8000}, "http://localhost:8000"),
        ({"host": "http://127.0.0.1:8000/api/"}, "http://127.0.0.1:8000"),
        ({"host": "http://[::1]:8000"}, "http://[::1]:8000"),
        ({"host": "::1", "port": 8000}, "http://[::1]:8000"),
        ({"host": "https://gateway.example/respan/api/"}, "https://gateway.example/respan"),
        ({"host": "http://respan.internal", "extra": {"allow_http": True}}, "http://respan.internal"),
    ],
)
def test_every_form_of_the_base_url_is_normalised(fields: dict[str, Any], url: str) -> None:
    assert read(**fields).base_url == url


@pytest.mark.parametrize("password", [KEY, f" {KEY}\n", f"Bearer {KEY}", f"bearer  {KEY}"])
def test_a_key_may_be_pasted_with_what_stands_before_it_in_the_header(password: str) -> None:
    assert read(password=password).api_key == KEY


def test_the_extra_fields_are_read_from_json() -> None:
    connection = read(
        extra={
            "provider_id": "openai",
            "respan_params": {"customer_identifier": "user123"},
            "respan_params_encoding": "base64",
            "timeout": 5,
            "verify": False,
            "proxies": {"https": "http://proxy:3128"},
            "headers": {"X-Team": "data"},
        }
    )

    assert connection == RespanConnection(
        conn_id="respan_default",
        api_key=KEY,
        provider_id="openai",
        respan_params={"customer_identifier": "user123"},
        respan_params_encoding="base64",
        timeout=5.0,
        verify=False,
        proxies={"https": "http://proxy:3128"},
        headers={"X-Team": "data"},
    )


def test_the_extra_fields_are_read_from_texts_that_a_form_saved() -> None:
    extra = {"respan_params": '{"a": 1}', "timeout": "5", "verify": "False", "headers": "", "provider_id": " openai "}
    connection = read(extra=extra)

    assert (connection.respan_params, connection.timeout, connection.verify) == ({"a": 1}, 5.0, False)
    assert (connection.headers, connection.provider_id) == ({}, "openai")
    assert read(extra={"headers": '{"X-Team": " data "}'}).headers == {"X-Team": "data"}


NO_KEY = (
    "Airflow connection 'respan_default' has no API key. Put one in its password field; create keys at "
    "https://platform.respan.ai/platform/api-keys."
)
HOST_ADVICE = "Write it like https://api.respan.ai."
FIELD_ADVICE = "Correct the field or leave it out."


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"password": None}, NO_KEY),
        ({"password": "  "}, NO_KEY),
        (
            {"password": "two\nlines"},
            "Airflow connection 'respan_default' has a password that cannot be an API key. Paste the key again, "
            "without line breaks.",
        ),
        *[
            (fields, f"Airflow connection 'respan_default' has a scheme that is neither http nor https. {HOST_ADVICE}")
            for fields in ({"host": "ftp://x"}, {"host": "x", "schema": KEY})
        ],
        ({"host": "https://"}, f"Airflow connection 'respan_default' has a host that is not a URL. {HOST_ADVICE}"),
        ({"host": "https://a b"}, f"Airflow connection 'respan_default' has a host that is not a URL. {HOST_ADVICE}"),
        *[
            ({"host": host}, f"Airflow connection 'respan_default' has a host that is not a URL. {HOST_ADVICE}")
            for host in (
                "https://a..b",
                f"https://{'a' * 64}.example",
                "https://a\x7fb",
                "https://a\\b",
                "https://stra\u00dfe.example",
                "https://x/caf\u00e9",
                "https://a%41b",
                "https://x\ud83d",
                "https://x:65536",
            )
        ],
        *[
            (
                {"host": "gateway.example", "port": port},
                f"Airflow connection 'respan_default' has the port {port}. Write one from 1 to 65535, or leave it out.",
            )
            for port in (-1, 65536)
        ],
        (
            {"host": "https://x:port"},
            f"Airflow connection 'respan_default' has a host that is not a URL. {HOST_ADVICE}",
        ),
        (
            {"host": "https://me:secret@x"},
            f"Airflow connection 'respan_default' has a host with more than scheme, name, port and path. {HOST_ADVICE}",
        ),
        (
            {"host": "http://respan.internal"},
            "Airflow connection 'respan_default' would send the API key unencrypted to 'respan.internal'. Use https, "
            "or set the extra field 'allow_http' to true if you control the network in between.",
        ),
        (
            {"extra": {"timeout": "soon"}},
            "Airflow connection 'respan_default' has an extra field 'timeout' that is not a number of seconds. "
            f"{FIELD_ADVICE}",
        ),
        *[
            (
                {"extra": {"timeout": timeout}},
                "Airflow connection 'respan_default' has an extra field 'timeout' that is not a number of seconds. "
                f"{FIELD_ADVICE}",
            )
            for timeout in (10**400, [], {})
        ],
        *[
            (
                {"extra": {"respan_params": params}},
                "Airflow connection 'respan_default' has an extra field 'respan_params' that is not a JSON object. "
                f"{FIELD_ADVICE}",
            )
            for params in ({"a": float("nan")}, '{"a": Infinity}', "[" * 100_000)
        ],
        (
            {"extra": {"provider_id": "open\nai"}},
            f"Airflow connection 'respan_default' has an extra field 'provider_id' that is not a text. {FIELD_ADVICE}",
        ),
        (
            {"extra": {"timeout": 0}},
            "Airflow connection 'respan_default' has an extra field 'timeout' that is not a number of seconds above 0 "
            f"and of at most a day. {FIELD_ADVICE}",
        ),
        (
            {"extra": {"respan_params": "[1]"}},
            "Airflow connection 'respan_default' has an extra field 'respan_params' that is not a JSON object. "
            f"{FIELD_ADVICE}",
        ),
        (
            {"extra": {"respan_params_encoding": "gzip"}},
            "Airflow connection 'respan_default' has an extra field 'respan_params_encoding' that is not 'json' or "
            f"'base64'. {FIELD_ADVICE}",
        ),
        (
            {"extra": {"verify": 3}},
            "Airflow connection 'respan_default' has an extra field 'verify' that is not true, false or the path of "
            f"a CA bundle. {FIELD_ADVICE}",
        ),
        (
            {"extra": {"allow_http": "maybe"}},
            "Airflow connection 'respan_default' has an extra field 'allow_http' that is not true or false. "
            f"{FIELD_ADVICE}",
        ),
        (
            {"extra": {"headers": {"X-Team": "a\r\nX-Evil: 1"}}},
            "Airflow connection 'respan_default' has an extra field 'headers' that is not a JSON object of HTTP "
            f"headers (ASCII, no line breaks). {FIELD_ADVICE}",
        ),
        (
            {"extra": {"headers": {"authorization": "Bearer x"}}},
            "Airflow connection 'respan_default' sets the header 'authorization' in its extra field 'headers', which "
            "the provider sets itself. Use the password for the key and respan_params for tracking parameters.",
        ),
        (
            {"extra": [1]},
            "Airflow connection 'respan_default' has an extra that is not a JSON object. Write it like {} or leave it "
            "out.",
        ),
        *[
            (
                {"extra": {"proxies": {"http": proxy}}},
                "Airflow connection 'respan_default' has an extra field 'proxies' that is not a JSON object of schemes "
                f'and proxy URLs, like {{"https": "http://proxy:3128"}}. {FIELD_ADVICE}',
            )
            for proxy in ("http://[::1", "http://a..b:1", "http://proxy:99999", "http://pr\u00f6xy")
        ],
        (
            {"extra": {"provider_id": 5}},
            f"Airflow connection 'respan_default' has an extra field 'provider_id' that is not a text. {FIELD_ADVICE}",
        ),
    ],
)
def test_the_error_for_an_invalid_connection_names_it_and_what_to_set(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(RespanConfigurationError) as refused:
        read(**fields)

    assert str(refused.value) == message


def test_the_repr_contains_no_secret() -> None:
    extra = {"headers": {"X-Secret": "header-secret"}, "proxies": {"https": "http://me:proxy-secret@proxy"}}
    text = repr(read(extra=extra))

    assert KEY not in text
    assert "secret" not in text


def test_secrets_are_redacted_in_texts() -> None:
    extra = {"headers": {"X-Secret": "header-secret"}, "proxies": {"https": "http://me:proxy-secret@proxy"}}
    connection = read(extra=extra)

    text = f"{KEY}, header-secret and http://me:proxy-secret@proxy:3128"
    assert connection.redact(text) == "***, *** and http://***@proxy:3128"


@pytest.mark.parametrize("secret", ["header-secret", 'header "secret"', "header\\secret", "header\tsecret"])
def test_secrets_are_redacted_everywhere_in_json(secret: str) -> None:
    connection = read(extra={"headers": {"X-Secret": secret}})

    data = {"errors": [{"message": f"<{secret}>", "é": "http://me:proxy-secret@proxy"}], f"a {secret}": 1}
    assert connection.sanitize(data) == {"errors": [{"message": "<***>", "é": "http://***@proxy"}], f"a {secret}": 1}


def test_json_without_a_secret_is_not_changed() -> None:
    data = {"errors": [{"message": 'me@example.org said "é\\"'}], "counts": [1, None, 0.5, True]}

    assert read(extra={}).sanitize(data) == data


@pytest.mark.parametrize(
    ("name", "value"), [("X-Source", "airflow"), ("X-Mode", "output"), ("X-Wanted", "completed"), ("X-Team", "batch_1")]
)
def test_a_header_that_is_no_secret_changes_nothing_that_is_read(name: str, value: str) -> None:
    data = {
        "id": "batch_1",
        "status": "completed",
        "output_file_id": "file-output",
        "metadata": {"airflow_task": "airflow", "from": "s3://aws_default@bucket/x"},
        "errors": "airflow output completed batch_1",
    }

    assert read(extra={"headers": {name: value}}).sanitize(data) == data


@pytest.mark.parametrize("name", ["X-Api-Key", "Proxy-Authorization", "X-Secret", "Cookie", "X-Access-Token"])
def test_a_secret_header_is_removed_from_free_text_and_from_nothing_else(name: str) -> None:
    connection = read(extra={"headers": {name: "completed"}})
    data = {
        "id": "completed",
        "status": "completed",
        "input_file_id": "completed",
        "metadata": {"completed": "completed"},
        "errors": {"data": [{"message": f"completed {KEY}", "completed": 1}]},
    }

    assert connection.sanitize(data) == {**data, "errors": {"data": [{"message": "*** ***", "completed": 1}]}}


def test_only_a_password_in_a_url_is_a_secret() -> None:
    text = "s3://aws_default@bucket/x and http://me:proxy-secret@proxy:3128"

    assert read().redact(text) == "s3://aws_default@bucket/x and http://***@proxy:3128"

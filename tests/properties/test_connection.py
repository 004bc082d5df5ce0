"""Whatever an Airflow connection has in its fields, it can be used, or an error names the wrong field."""

from __future__ import annotations

import io
import json
from typing import Any
from urllib.parse import unquote, urlsplit

import requests
from hypothesis import assume, given
from hypothesis import strategies as st
from yarl import URL

from airflow_respan.api import endpoints
from airflow_respan.api.address import is_loopback
from airflow_respan.api.connection import RespanConnection
from airflow_respan.api.multipart import MultipartBody
from airflow_respan.exceptions import RespanConfigurationError
from tests.properties import strategies
from tests.properties.strategies import KEY

SECRETS = (KEY, "header-secret", "proxy-secret")

words = st.one_of(
    strategies.texts,
    st.sampled_from(["true", "False", "1e400", "nan", "[" * 5000, "{}", '{"a": NaN}', "openai", "base64", "5"]),
)
hosts = st.one_of(
    st.none(),
    strategies.texts,
    st.builds(
        "{}{}{}{}".format,
        st.sampled_from(["", "http://", "https://", "HTTPS://", "ftp://", "//", "https:", "https://me:header-secret@"]),
        st.one_of(
            strategies.texts,
            st.sampled_from(["api.respan.ai", "localhost", "127.0.0.1", "::1", "[::1]", "[::1%lo]", "a..b", "x" * 64]),
        ),
        st.sampled_from(["", ":", ":0", ":443", ":65536", ":-1", ":x", ":٣"]),
        st.sampled_from(["", "/", "/api", "/api/v1/", "/a b", "/é", "/../..", "?a=b", "#c", "\\@x", "\n", "//"]),
    ),
)
extras = st.one_of(
    st.dictionaries(
        st.sampled_from(
            ["timeout", "verify", "allow_http", "provider_id", "respan_params", "respan_params_encoding", "proxies"]
        ),
        st.one_of(words, strategies.anything, st.dictionaries(strategies.texts, strategies.texts, max_size=2)),
        max_size=3,
    ),
    st.builds(lambda name, text: {"headers": {name: text}}, words, st.one_of(words, st.just("header-secret\n"))),
    st.builds(lambda text: {"proxies": {"https": f"{text}proxy-secret@x"}}, words),
    strategies.anything,
)


@given(st.one_of(st.just(KEY), st.just(f"{KEY}\n"), strategies.texts), hosts, words, st.integers(-1, 2**17), extras)
def test_a_connection_can_be_used_or_an_error_names_the_field(
    password: str, host: str | None, schema: str, port: int, extra: Any
) -> None:
    assume(KEY not in (host or ""))  # the host is not a secret: every error shows it
    try:
        connection = RespanConnection.from_airflow(
            conn_id="respan_default", password=password, host=host, schema=schema, port=port, extra=extra
        )
    except RespanConfigurationError as error:
        message = str(error)
        assert message.startswith("Airflow connection 'respan_default' ")
        assert any(
            field in message for field in ("password", "a host ", "the port", "a scheme", "extra", "unencrypted to")
        )
        assert not any(secret in message for secret in SECRETS)
        return

    request = endpoints.get_batch(connection, "batch_abc123")
    parts = urlsplit(request.url)
    prepared = requests.Request(request.method, request.url, headers={**request.headers}).prepare()
    assert parts.scheme == "https" or connection.allow_http or is_loopback(parts.hostname or "")
    assert urlsplit(prepared.url).hostname == URL(request.url, encoded=True).raw_host == parts.hostname
    assert urlsplit(prepared.url).port == parts.port
    assert parts.path.endswith("/api/v1/batches/batch_abc123/")
    assert 0 < connection.timeout <= 24 * 3600
    assert not any(secret in repr(connection) for secret in SECRETS)


@given(st.one_of(strategies.texts, st.text()), strategies.texts, st.dictionaries(strategies.texts, strategies.anything))
def test_ids_and_parameters_arrive_unchanged_in_their_part_of_the_request(
    batch_id: str, provider_id: str, params: Any
) -> None:
    connection = RespanConnection(conn_id="respan_default", api_key=KEY)
    try:
        request = endpoints.get_batch(connection, batch_id, provider_id=provider_id, respan_params=params)
    except ValueError as error:
        assert str(error).startswith(  # noqa: PT017 (the call may return or raise)
            ("batch_id is ", "provider_id is ", "respan_params cannot be sent as JSON: ")
        )
        return

    assert request.url.isascii()
    assert request.url.isprintable()
    parts = urlsplit(request.url)
    assert (parts.scheme, parts.netloc, parts.fragment) == ("https", "api.respan.ai", "")
    [*before, segment, after] = parts.path.split("/")
    assert (before, unquote(segment), after) == (["", "api", "v1", "batches"], batch_id, "")
    header = request.headers.get("X-Data-Respan-Params", "{}")
    assert header.isascii()
    assert header.isprintable()
    assert json.loads(header) == json.loads(json.dumps(params))


@given(strategies.texts, st.text(max_size=300))
def test_no_file_name_adds_a_part_to_the_form(provider_id: str, filename: str) -> None:
    connection = RespanConnection(conn_id="respan_default", api_key=KEY)
    try:
        request = endpoints.upload_file(connection, io.BytesIO(b"{}"), filename=filename, provider_id=provider_id)
    except ValueError as error:
        assert str(error).startswith("provider_id is ")  # noqa: PT017 (the call may return or raise)
        return

    assert request.upload
    body = b"".join(MultipartBody(request.upload))
    assert body.count(b"\r\n--") == body.count(b'Content-Disposition: form-data; name="') == 2 + bool(provider_id)

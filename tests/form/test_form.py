"""The connection form of the newest Airflow in a real browser, and the settings that it saves; ``make test-form``."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import airflow
import pytest
import requests
from packaging.version import Version
from playwright.sync_api import Page, Response, expect

from airflow_respan.api.connection import RespanConnection
from airflow_respan.api.connection_fields import CONNECTION_FIELDS, Kind
from airflow_respan.get_provider_info import CONN_FIELDS, UI_FIELD_BEHAVIOUR
from airflow_respan.sandbox import RespanSandbox
from tests.form.conftest import Server
from tests.form.connection_form import ConnectionsPage

KEY = "secret-api-key"
PROXY = "http://me:proxy-secret@proxy:3128"
TOKEN = "header-secret"

LABELS = {name: conn_field["label"] for name, conn_field in CONN_FIELDS.items()}
SETTINGS: dict[str, Any] = {
    **{conn_field.name: conn_field.example for conn_field in CONNECTION_FIELDS},
    "proxies": {"https": PROXY},
    "headers": {"X-Team": "data", "X-Secret-Token": TOKEN},
}
"""The settings that are entered into the form."""

TYPED: dict[str, str | bool] = {
    conn_field.name: SETTINGS[conn_field.name]
    if conn_field.kind in (Kind.FLAG, Kind.TEXT, Kind.CHOICE)
    else f"{SETTINGS[conn_field.name]:.0f}"
    if conn_field.kind is Kind.SECONDS
    else json.dumps(SETTINGS[conn_field.name])
    for conn_field in CONNECTION_FIELDS
}
"""The value that is entered into each extra field."""

LOOK_UP = """
import dataclasses, json, sys
from airflow_respan.hooks.respan import RespanHook

hook = RespanHook(sys.argv[1])
settings = dataclasses.asdict(hook.get_conn().connection)
print(json.dumps([settings, [hook.get_batch(batch_id).status for batch_id in sys.argv[2:]]]))
"""


@pytest.fixture
def sandbox() -> Iterator[RespanSandbox]:
    """A local Respan with another API key than by default."""
    with RespanSandbox(pace=None, api_key=KEY) as running:
        yield running


@pytest.fixture
def look_up(server: Server) -> Callable[..., tuple[RespanConnection, list[str]]]:
    """Read a connection as a task does, and retrieve batches with it, in another process."""

    def run(conn_id: str, *batch_ids: str) -> tuple[RespanConnection, list[str]]:
        command = [sys.executable, "-c", LOOK_UP, conn_id, *batch_ids]
        # Airflow's own commands set this too. Outside a task, Airflow otherwise searches only the environment.
        env = {**server.env, "_AIRFLOW_PROCESS_CONTEXT": "server"}
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        settings, statuses = json.loads(done.stdout.splitlines()[-1])
        return RespanConnection(**settings), statuses

    return run


def fill_in_every_field(connections: ConnectionsPage, conn_id: str, sandbox: RespanSandbox) -> None:
    connections.add(conn_id)
    connections.fill("Description", "every field")
    connections.fill("Base URL", "http://127.0.0.1")
    connections.fill("API key", KEY)
    connections.fill("Port", str(sandbox.port))
    connections.open_section("Extra Fields")
    for name, value in TYPED.items():
        connections.fill(LABELS[name], value)


def expected_settings(conn_id: str, sandbox: RespanSandbox) -> RespanConnection:
    return RespanConnection(conn_id=conn_id, api_key=KEY, base_url=sandbox.url, **SETTINGS)


def store(server: Server, conn_id: str, **fields: Any) -> None:
    """Create a connection without the form, by Airflow's API."""
    body = {"connection_id": conn_id, "conn_type": "respan", **fields}
    response = requests.post(f"{server.url}/api/v2/connections", json=body, timeout=30)
    assert response.status_code == 201, response.text


def test_the_form_has_exactly_our_fields_in_our_order(
    connections: ConnectionsPage, picture: Callable[[str], None]
) -> None:
    relabelled, placeholders = UI_FIELD_BEHAVIOUR["relabeling"], UI_FIELD_BEHAVIOUR["placeholders"]

    connections.add("empty")
    standard = connections.labels_and_helps()
    shown = {
        name: connections.field(label).locator("input").get_attribute("placeholder")
        for name, label in {**relabelled, "port": "Port"}.items()
    }
    picture("standard-fields")
    connections.open_section("Extra Fields")
    expect(connections.fields()).to_have_count(len(CONN_FIELDS))

    assert standard == [
        ("Description", ""),
        (relabelled["host"], ""),
        (relabelled["password"], ""),
        ("Port", ""),
    ]
    assert shown == placeholders
    assert connections.labels_and_helps() == [(field["label"], field["description"]) for field in CONN_FIELDS.values()]


def test_a_reopened_form_shows_what_was_saved_but_no_secret(
    connections: ConnectionsPage, page: Page, sandbox: RespanSandbox, picture: Callable[[str], None]
) -> None:
    fill_in_every_field(connections, "reopened", sandbox)
    picture("every-field")
    connections.save()
    responses: list[Response] = []
    page.on("response", lambda response: responses.append(response))  # noqa: PLW0108 (Playwright refuses builtins)
    page.reload()
    connections.edit("reopened")

    assert connections.value("Description") == "every field"
    assert connections.value("Base URL") == "http://127.0.0.1"
    assert connections.value("Port") == str(sandbox.port)
    assert connections.value("API key") == "***"
    connections.field("API key").get_by_role("button", name="Show value").click()
    assert connections.value("API key") == "***"
    connections.open_section("Extra Fields")
    expect(connections.fields()).to_have_count(len(CONN_FIELDS))
    shown = {name: connections.value(label) for name, label in LABELS.items()}
    for name in ("respan_params", "proxies", "headers"):
        shown[name] = json.loads(shown[name])
    assert shown == {
        **TYPED,
        "respan_params": {"customer_identifier": "user123", "tags": ["a", {"b": None}]},
        "proxies": {"https": "***"},
        "headers": {"X-Team": "data", "X-Secret-Token": "***"},
    }
    texts = [
        response.text() for response in responses if "/connections" in response.url and response.request.method == "GET"
    ]
    assert any("reopened" in text for text in texts)
    for secret in (KEY, "proxy-secret", TOKEN):
        assert not [text for text in texts if secret in text]


def test_json_can_be_typed_key_by_key_and_corrected(connections: ConnectionsPage, page: Page) -> None:
    params = LABELS["respan_params"]
    connections.add("typed")
    connections.open_section("Extra Fields")

    connections.type(params, '{"a": "b: {c", "d": "e"}')
    assert json.loads(connections.value(params)) == {"a": "b: {c", "d": "e"}

    page.keyboard.press("Control+Home")
    for key in ("ArrowDown", "End", "ArrowLeft", "ArrowLeft"):
        page.keyboard.press(key)
    page.keyboard.type("xyz")
    assert json.loads(connections.value(params)) == {"a": "b: {cxyz", "d": "e"}


def test_the_hook_uses_what_the_form_saved(
    connections: ConnectionsPage,
    sandbox: RespanSandbox,
    look_up: Callable[..., tuple[RespanConnection, list[str]]],
) -> None:
    batch_id = sandbox.add_batch(status="in_progress")
    fill_in_every_field(connections, "read", sandbox)
    connections.save()

    assert look_up("read", batch_id) == (expected_settings("read", sandbox), ["in_progress"])
    [request] = sandbox.requests
    assert (request.headers["X-Team"], request.headers["X-Secret-Token"]) == ("data", TOKEN)
    assert (request.query["provider_id"], request.params["customer_identifier"]) == ("openai", "user123")


def test_saving_again_keeps_the_secrets_that_the_form_hides(
    connections: ConnectionsPage,
    page: Page,
    sandbox: RespanSandbox,
    look_up: Callable[..., tuple[RespanConnection, list[str]]],
) -> None:
    batch_id = sandbox.add_batch(status="in_progress")
    fill_in_every_field(connections, "edited", sandbox)
    connections.save()
    page.reload()
    connections.edit("edited")
    connections.fill("Description", "changed")
    connections.open_section("Extra Fields")
    headers = connections.value(LABELS["headers"])
    connections.fill(LABELS["headers"], json.dumps({**json.loads(headers), "X-Team": "other"}))
    connections.fill(LABELS["timeout"], "25")
    connections.save()

    settings, statuses = look_up("edited", batch_id)

    before = expected_settings("edited", sandbox)
    assert settings == dataclasses.replace(before, timeout=25.0, headers={"X-Team": "other", "X-Secret-Token": TOKEN})
    assert statuses == ["in_progress"]


def test_a_form_with_only_the_key_has_the_defaults(
    connections: ConnectionsPage,
    page: Page,
    sandbox: RespanSandbox,
    look_up: Callable[..., tuple[RespanConnection, list[str]]],
) -> None:
    connections.add("key_alone")
    connections.fill("API key", KEY)
    connections.save()

    assert look_up("key_alone") == (RespanConnection(conn_id="key_alone", api_key=KEY), [])

    batch_id = sandbox.add_batch(status="in_progress")
    page.reload()
    connections.edit("key_alone")
    connections.fill("Base URL", sandbox.url)
    connections.save()

    settings = RespanConnection(conn_id="key_alone", api_key=KEY, base_url=sandbox.url)
    assert look_up("key_alone", batch_id) == (settings, ["in_progress"])


def test_the_test_button_succeeds_with_every_field_filled_in(
    connections: ConnectionsPage, sandbox: RespanSandbox
) -> None:
    fill_in_every_field(connections, "button", sandbox)
    connections.save()
    connections.press_test("button")

    expect(connections.success_icon("button")).to_be_visible()
    assert [request.headers["X-Secret-Token"] for request in sandbox.requests] == [TOKEN]


@pytest.mark.xfail(
    Version("3.3.1") <= Version(airflow.__version__) <= Version("3.3.2"),
    reason="these versions refuse to test a connection without a port, apache/airflow#73298",
    strict=True,
)
def test_the_test_button_succeeds_with_the_port_in_the_url(
    connections: ConnectionsPage, page: Page, server: Server, sandbox: RespanSandbox
) -> None:
    store(server, "no_port", host=sandbox.url, password=KEY)
    page.reload()
    connections.press_test("no_port")

    expect(connections.success_icon("no_port").or_(connections.failed_test)).to_be_visible()
    assert connections.success_icon("no_port").count() == 1


CALL = "(list batches, connection under test at {url})"
REFUSED = (
    f"401 Unauthorized: Invalid API key {CALL}. Check the API key in the connection's password. The "
    "cause may be the provider's own key: see Settings -> Providers in the Respan dashboard (Respan credits do not pay "
    "for batches)."
)


def test_the_test_button_shows_the_error_for_a_wrong_key(connections: ConnectionsPage, sandbox: RespanSandbox) -> None:
    connections.add("wrong_key")
    connections.fill("Base URL", "http://127.0.0.1")
    connections.fill("API key", "no-such-key")
    connections.fill("Port", str(sandbox.port))
    connections.save()
    connections.press_test("wrong_key")

    expect(connections.failed_test).to_have_text(f"Test Connection Failed{REFUSED.format(url=sandbox.url)}")
    assert connections.success_icon("wrong_key").count() == 0


@pytest.mark.parametrize(
    ("conn_id", "fields", "exit_code", "message"),
    [
        ("right", {}, 0, "Connection success!"),
        ("wrong_key_stored", {"password": "no-such-key"}, 1, f"Connection failed! {REFUSED}"),
        (
            "no_key",
            {"password": None},
            1,
            "Connection failed! Airflow connection under test has no API key. Put one in its password field; create "
            "keys at https://platform.respan.ai/platform/api-keys.",
        ),
        (
            "wrong_host",
            {"host": "http://127.0.0.1:1"},
            1,
            f"Connection failed! No complete response: ConnectionError: [Errno 111] Connection refused {CALL}. "
            "This may be temporary.",
        ),
    ],
)
def test_the_command_line_shows_the_result_of_the_test(
    server: Server,
    sandbox: RespanSandbox,
    conn_id: str,
    fields: dict[str, Any],
    exit_code: int,
    message: str,
) -> None:
    body = {"host": sandbox.url, "password": KEY, **fields}
    store(server, conn_id, **body)

    command = [sys.executable, "-m", "airflow", "connections", "test", conn_id]
    done = subprocess.run(command, env=dict(server.env), capture_output=True, text=True, check=False)

    expected = message.format(url=body["host"])
    # The command wraps lines at the width of the terminal.
    assert " ".join(done.stdout.split()) == f"Retrieving connection: '{conn_id}' Testing... {expected}"
    assert done.returncode == exit_code

"""The connection form of the newest Airflow in a real browser, and what becomes of its fields; ``make test-form``."""

from __future__ import annotations

import dataclasses
import json
import re
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

KEY = "key-that-no-page-may-show"
PROXY = "http://me:proxy-secret@proxy:3128"
TOKEN = "header-secret"

LABELS = {name: conn_field["label"] for name, conn_field in CONN_FIELDS.items()}
SETTINGS: dict[str, Any] = {
    **{conn_field.name: conn_field.example for conn_field in CONNECTION_FIELDS},
    "proxies": {"https": PROXY},
    "headers": {"X-Team": "data", "X-Secret-Token": TOKEN},
}
"""The settings that the form is filled in with."""

TYPED: dict[str, str | bool] = {
    conn_field.name: SETTINGS[conn_field.name]
    if conn_field.kind in (Kind.FLAG, Kind.TEXT, Kind.CHOICE)
    else f"{SETTINGS[conn_field.name]:.0f}"
    if conn_field.kind is Kind.SECONDS
    else json.dumps(SETTINGS[conn_field.name])
    for conn_field in CONNECTION_FIELDS
}
"""What is typed into each extra field."""

LOOK_UP = """
import dataclasses, json, sys
from airflow_respan.hooks.respan import RespanHook

hook = RespanHook(sys.argv[1])
settings = dataclasses.asdict(hook.get_conn().connection)
print(json.dumps([settings, [hook.get_batch(batch_id).status for batch_id in sys.argv[2:]]]))
"""


@pytest.fixture
def sandbox() -> Iterator[RespanSandbox]:
    """A local Respan with a key of its own."""
    with RespanSandbox(pace=None, api_key=KEY) as running:
        yield running


@pytest.fixture
def look_up(server: Server) -> Callable[..., tuple[RespanConnection, list[str]]]:
    """Read a connection as a task does, and retrieve batches with it, in a process beside the server."""

    def run(conn_id: str, *batch_ids: str) -> tuple[RespanConnection, list[str]]:
        command = [sys.executable, "-c", LOOK_UP, conn_id, *batch_ids]
        # As Airflow's own commands have it: without it, and outside a task, only the environment is searched.
        env = {**server.env, "_AIRFLOW_PROCESS_CONTEXT": "server"}
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        settings, statuses = json.loads(done.stdout.splitlines()[-1])
        return RespanConnection(**settings), statuses

    return run


def fill_in_everything(connections: ConnectionsPage, conn_id: str, sandbox: RespanSandbox) -> None:
    connections.add(conn_id)
    connections.fill("Description", "all of it")
    connections.fill("Base URL", "http://127.0.0.1")
    connections.fill("API key", KEY)
    connections.fill("Port", str(sandbox.port))
    connections.open_section("Extra Fields")
    for name, value in TYPED.items():
        connections.fill(LABELS[name], value)


def expected_settings(conn_id: str, sandbox: RespanSandbox) -> RespanConnection:
    return RespanConnection(conn_id=conn_id, api_key=KEY, base_url=sandbox.url, **SETTINGS)


def store(server: Server, conn_id: str, **fields: Any) -> None:
    """Make a connection without the form, by Airflow's API."""
    body = {"connection_id": conn_id, "conn_type": "respan", **fields}
    made = requests.post(f"{server.url}/api/v2/connections", json=body, timeout=30)
    assert made.status_code == 201, made.text


def test_the_form_has_our_fields_in_our_order_with_our_words_and_no_other(
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


def test_what_was_filled_in_is_there_after_reopening_but_no_secret_can_be_read(
    connections: ConnectionsPage, page: Page, sandbox: RespanSandbox, picture: Callable[[str], None]
) -> None:
    fill_in_everything(connections, "reopened", sandbox)
    picture("every-field")
    connections.save()
    answers: list[Response] = []
    page.on("response", lambda answer: answers.append(answer))  # noqa: PLW0108 (Playwright refuses builtins)
    page.reload()
    connections.edit("reopened")

    assert connections.shown("Description") == "all of it"
    assert connections.shown("Base URL") == "http://127.0.0.1"
    assert connections.shown("Port") == str(sandbox.port)
    assert connections.shown("API key") == "***"
    connections.field("API key").get_by_role("button", name="Show value").click()
    assert connections.shown("API key") == "***"
    connections.open_section("Extra Fields")
    expect(connections.fields()).to_have_count(len(CONN_FIELDS))
    shown = {name: connections.shown(label) for name, label in LABELS.items()}
    for name in ("respan_params", "proxies", "headers"):
        shown[name] = json.loads(shown[name])
    assert shown == {
        **TYPED,
        "respan_params": {"customer_identifier": "user123", "tags": ["a", {"b": None}]},
        "proxies": {"https": "***"},
        "headers": {"X-Team": "data", "X-Secret-Token": "***"},
    }
    came = [answer.text() for answer in answers if "/connections" in answer.url and answer.request.method == "GET"]
    assert any("reopened" in text for text in came)
    for secret in (KEY, "proxy-secret", TOKEN):
        assert not [text for text in came if secret in text]


def test_json_can_be_typed_key_by_key_and_corrected(connections: ConnectionsPage, page: Page) -> None:
    params = LABELS["respan_params"]
    connections.add("typed")
    connections.open_section("Extra Fields")

    connections.type(params, '{"a": "b: {c", "d": "e"}')
    assert json.loads(connections.shown(params)) == {"a": "b: {c", "d": "e"}

    page.keyboard.press("Control+Home")
    for key in ("ArrowDown", "End", "ArrowLeft", "ArrowLeft"):
        page.keyboard.press(key)
    page.keyboard.type("xyz")
    assert json.loads(connections.shown(params)) == {"a": "b: {cxyz", "d": "e"}


def test_the_hook_reads_what_the_form_saved_and_works_with_it(
    connections: ConnectionsPage,
    sandbox: RespanSandbox,
    look_up: Callable[..., tuple[RespanConnection, list[str]]],
) -> None:
    batch_id = sandbox.add_batch(status="in_progress")
    fill_in_everything(connections, "read", sandbox)
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
    fill_in_everything(connections, "edited", sandbox)
    connections.save()
    page.reload()
    connections.edit("edited")
    connections.fill("Description", "changed")
    connections.open_section("Extra Fields")
    headers = connections.shown(LABELS["headers"])
    connections.fill(LABELS["headers"], json.dumps({**json.loads(headers), "X-Team": "other"}))
    connections.fill(LABELS["timeout"], "25")
    connections.save()

    settings, statuses = look_up("edited", batch_id)

    before = expected_settings("edited", sandbox)
    assert settings == dataclasses.replace(before, timeout=25.0, headers={"X-Team": "other", "X-Secret-Token": TOKEN})
    assert statuses == ["in_progress"]


def test_a_form_with_the_key_alone_means_the_defaults(
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
    fill_in_everything(connections, "button", sandbox)
    connections.save()
    connections.press_test("button")

    expect(connections.tested_well("button")).to_be_visible()
    assert [request.headers["X-Secret-Token"] for request in sandbox.requests] == [TOKEN]


@pytest.mark.xfail(
    Version("3.3.1") <= Version(airflow.__version__) <= Version("3.3.2"),
    reason="these Airflows refuse to test any connection without a port, apache/airflow#73298",
    strict=True,
)
def test_the_test_button_succeeds_with_the_port_in_the_url(
    connections: ConnectionsPage, page: Page, server: Server, sandbox: RespanSandbox
) -> None:
    store(server, "no_port", host=sandbox.url, password=KEY)
    page.reload()
    connections.press_test("no_port")

    expect(connections.tested_well("no_port").or_(connections.failed_test)).to_be_visible()
    assert connections.tested_well("no_port").count() == 1


ASKED = "Asked to list batches, Respan ({url}, connection '{conn_id}')"
REFUSED = (
    f"{ASKED} answered 401 Unauthorized: Invalid API key. Check the API key in the connection's password. It may be "
    "about the provider's own key: see Settings -> Providers in the Respan dashboard (Respan credits do not pay for "
    "batches)."
)


def test_the_test_button_says_what_is_wrong_with_a_wrong_key(
    connections: ConnectionsPage, sandbox: RespanSandbox
) -> None:
    connections.add("wrong_key")
    connections.fill("Base URL", "http://127.0.0.1")
    connections.fill("API key", "no-such-key")
    connections.fill("Port", str(sandbox.port))
    connections.save()
    connections.press_test("wrong_key")

    # Airflow tests a connection under a name that it makes up.
    said = re.escape(REFUSED.format(url=sandbox.url, conn_id="CONN_ID")).replace("CONN_ID", r"\w+")
    expect(connections.failed_test).to_have_text(re.compile(f"^Test Connection Failed{said}$"))
    assert connections.tested_well("wrong_key").count() == 0


@pytest.mark.parametrize(
    ("conn_id", "fields", "exit_code", "said"),
    [
        ("right", {}, 0, "Connection success!"),
        ("wrong_key_stored", {"password": "no-such-key"}, 1, f"Connection failed! {REFUSED}"),
        (
            "no_key",
            {"password": None},
            1,
            "Connection failed! Airflow connection 'no_key' has no API key. Put one in its password field; keys are "
            "made at https://platform.respan.ai/platform/api-keys.",
        ),
        (
            "wrong_host",
            {"host": "http://127.0.0.1:1"},
            1,
            f"Connection failed! {ASKED} gave no answer (ConnectionError: [Errno 111] Connection refused). This may "
            "pass.",
        ),
    ],
)
def test_the_command_line_says_how_a_test_went(
    server: Server,
    sandbox: RespanSandbox,
    conn_id: str,
    fields: dict[str, Any],
    exit_code: int,
    said: str,
) -> None:
    body = {"host": sandbox.url, "password": KEY, **fields}
    store(server, conn_id, **body)

    command = [sys.executable, "-m", "airflow", "connections", "test", conn_id]
    done = subprocess.run(command, env=dict(server.env), capture_output=True, text=True, check=False)

    whole = said.format(url=body["host"], conn_id=conn_id)
    # The command breaks lines to the width of its terminal.
    assert " ".join(done.stdout.split()) == f"Retrieving connection: '{conn_id}' Testing... {whole}"
    assert done.returncode == exit_code

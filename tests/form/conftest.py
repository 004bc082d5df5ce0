"""A real API server, a local Respan, and Debian's Chromium in front of them: what ``make test-form`` needs."""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Page, expect, sync_playwright

from dev.local_airflow import airflow, answers, environment, free_port, running, whole_airflow
from tests.form.connection_form import ConnectionsPage

STARTS_WITHIN = 120.0
PATIENCE = 20.0
PICTURES = pytest.StashKey[Path]()


@dataclass(frozen=True, kw_only=True)
class Server:
    """A running API server.

    :param env: the environment that a process has to have to see the same connections
    """

    url: str
    env: Mapping[str, str]


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The API server of an Airflow that has no other component."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # whoever ends the tests ends the server with them
    home = tmp_path_factory.mktemp("airflow")
    port = free_port()
    env = whole_airflow(environment(home), port=port)
    airflow("db", "migrate", env=env)
    url = f"http://127.0.0.1:{port}"
    with running(env, home, port=port, components=["api-server"]) as processes:
        deadline = time.monotonic() + STARTS_WITHIN
        while not answers(f"{url}/api/v2/version"):
            if processes.ended() or time.monotonic() > deadline:
                pytest.fail(f"The API server did not start:\n{processes.log('api-server').read_text()[-3000:]}")
            time.sleep(0.2)
        yield Server(url=url, env=env)


@pytest.fixture(scope="session")
def browser() -> Iterator[BrowserContext]:
    """Debian's Chromium; Playwright's own is never downloaded."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.fail("There is no chromium: make test-form installs it, or says how.")
    expect.set_options(timeout=PATIENCE * 1000)
    with (
        sync_playwright() as playwright,
        # Chromium's sandbox does not work for root.
        playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"]) as chrome,
        chrome.new_context(viewport={"width": 1280, "height": 1800}, locale="en-US") as context,
    ):
        context.set_default_timeout(PATIENCE * 1000)
        yield context


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Path:
    """The directory of the screenshots."""
    pytestconfig.stash[PICTURES] = tmp_path_factory.mktemp("screenshots")
    return pytestconfig.stash[PICTURES]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say where the screenshots are."""
    if folder := config.stash.get(PICTURES, None):
        terminalreporter.write_line(f"Screenshots: {folder}")


@pytest.fixture
def page(browser: BrowserContext, pictures: Path, request: pytest.FixtureRequest) -> Iterator[Page]:
    """An empty page; what it shows at the end of the test, well or badly, is kept as a picture."""
    with browser.new_page() as page:
        yield page
        page.screenshot(path=pictures / f"{request.node.name}.png", animations="disabled")


@pytest.fixture
def connections(page: Page, server: Server) -> ConnectionsPage:
    """The page of connections."""
    return ConnectionsPage(page, server.url)


@pytest.fixture
def picture(page: Page, pictures: Path) -> Callable[[str], None]:
    """Take a picture in between."""

    def take(name: str) -> None:
        page.screenshot(path=pictures / f"{name}.png", animations="disabled")

    return take

"""Fixtures for ``make test-form``: a real API server of Airflow, and Debian's Chromium."""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Page, expect, sync_playwright

from dev.local_airflow import airflow, answers, environment, free_port, running, whole_airflow, with_examples
from tests.form.connection_form import ConnectionsPage

MAX_START_SECONDS = 120.0
BROWSER_TIMEOUT_SECONDS = 20.0
PICTURES = pytest.StashKey[Path]()


@dataclass(frozen=True, kw_only=True)
class Server:
    """A running API server.

    :param url: the URL of its UI
    :param env: the environment variables with which another process sees the same connections
    """

    url: str
    env: Mapping[str, str]


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """An Airflow API server without any other component of Airflow."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so SIGTERM to the tests also stops the server
    home = tmp_path_factory.mktemp("airflow")
    port = free_port()
    env = with_examples(whole_airflow(environment(home), port=port), dags=home / "dags")
    (home / "dags").mkdir()
    airflow("db", "migrate", env=env)
    url = f"http://127.0.0.1:{port}"
    with running(env, home, port=port, components=["api-server"]) as processes:
        deadline = time.monotonic() + MAX_START_SECONDS
        while not answers(f"{url}/api/v2/version"):
            if processes.ended() or time.monotonic() > deadline:
                pytest.fail(f"The API server did not start:\n{processes.log('api-server').read_text()[-3000:]}")
            time.sleep(0.2)
        yield Server(url=url, env=env)


@pytest.fixture(scope="session")
def browser() -> Iterator[BrowserContext]:
    """Debian's Chromium; the browser of Playwright is never downloaded."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.fail("chromium is not installed: make test-form installs it, or says how.")
    expect.set_options(timeout=BROWSER_TIMEOUT_SECONDS * 1000)
    with (
        sync_playwright() as playwright,
        # Chromium's sandbox does not work for root.
        playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"]) as chrome,
        chrome.new_context(viewport={"width": 1280, "height": 1800}, locale="en-US") as context,
    ):
        context.set_default_timeout(BROWSER_TIMEOUT_SECONDS * 1000)
        yield context


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Path:
    """The directory of the screenshots."""
    pytestconfig.stash[PICTURES] = tmp_path_factory.mktemp("screenshots")
    return pytestconfig.stash[PICTURES]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print where the screenshots are."""
    if folder := config.stash.get(PICTURES, None):
        terminalreporter.write_line(f"Screenshots: {folder}")


@pytest.fixture
def page(browser: BrowserContext, pictures: Path, request: pytest.FixtureRequest) -> Iterator[Page]:
    """An empty page; a screenshot of it is saved at the end of each test."""
    with browser.new_page() as page:
        yield page
        page.screenshot(path=pictures / f"{request.node.name}.png", animations="disabled")


@pytest.fixture
def connections(page: Page, server: Server) -> ConnectionsPage:
    """Airflow's page of connections."""
    return ConnectionsPage(page, server.url)


@pytest.fixture
def picture(page: Page, pictures: Path) -> Callable[[str], None]:
    """Save a screenshot during a test."""

    def take(name: str) -> None:
        page.screenshot(path=pictures / f"{name}.png", animations="disabled")

    return take

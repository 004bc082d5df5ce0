"""Every link between the project's files has a target, in a repository browser and in the build."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.conftest import CHECKOUT
from tests.docs.pages import PAGES, headings, prose

LINK = re.compile(r"!?\[(?P<text>[^\]]*)\]\((?P<target>[^)\s]+)\)")
ON_PAGES = [pytest.param(page, id=str(page.relative_to(CHECKOUT))) for page in PAGES]


def anchor(heading: str) -> str:
    """Return the anchor that repository browsers and the build give a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("page", ON_PAGES)
def test_the_target_of_every_link_exists(page: Path) -> None:
    for link in LINK.finditer(prose(page)):
        target, _hash, fragment = link["target"].partition("#")
        if target.startswith(("https://", "http://")):
            continue
        file = (page.parent / target).resolve() if target else page
        assert link["text"], f"{link[0]} shows nothing in a repository browser"
        assert file.exists(), f"{link[0]} leads to no file"
        assert file.is_relative_to(CHECKOUT), f"{link[0]} leads out of the repository"
        if fragment:
            assert fragment in {anchor(heading) for heading in headings(file)}, f"{link[0]} leads to no heading"


@pytest.mark.parametrize("page", ON_PAGES)
def test_no_link_to_a_file_of_the_project_is_absolute(page: Path) -> None:
    """An absolute link would lead to another version of the file, and break when the project moves."""
    for link in LINK.finditer(prose(page)):
        assert not re.search(r"^https?://.*/(blob|tree|raw)/", link["target"]), link[0]


@pytest.mark.parametrize("page", ON_PAGES)
def test_every_file_that_a_page_names_exists(page: Path) -> None:
    for path in re.findall(r"`((?:tests|dev|docs|example_dags)/[\w./-]+)`", prose(page)):
        if path != "docs/_build":
            assert (CHECKOUT / path).exists(), path


def test_every_page_begins_with_its_readers() -> None:
    for page in PAGES:
        if page.name in ("README.md", "CHANGELOG.md"):
            continue
        _title, first = page.read_text().split("\n\n")[:2]
        assert first.startswith("For "), page

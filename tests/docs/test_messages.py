"""Every message that a page quotes is in the source, word for word."""

from __future__ import annotations

import ast
import re
from functools import cache

import pytest

from tests.conftest import CHECKOUT
from tests.docs.pages import DOCS, headings, prose

QUOTED = [
    *(heading.strip("`") for heading in headings(DOCS / "troubleshooting.md") if heading.startswith("`")),
    *re.findall(r'^\| (?:WARNING|ERROR) "([^"]+)"', prose(DOCS / "deployment-and-alerting.md"), re.MULTILINE),
]


@cache
def texts() -> str:
    """Return all texts of the source, one a line; the value in an f-string ends the line."""
    found = []
    for path in (CHECKOUT / "airflow_respan").rglob("*.py"):
        nodes = ast.walk(ast.parse(path.read_text()))
        found += [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    return "\n".join(found)


@pytest.mark.parametrize("message", QUOTED)
def test_a_quoted_message_is_in_the_source(message: str) -> None:
    for part in message.split("…"):
        assert part.strip(" .:") in texts(), f"no message of the source has {part.strip()!r}"


def test_messages_are_quoted() -> None:
    assert len(QUOTED) > 40

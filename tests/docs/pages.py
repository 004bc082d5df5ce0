"""The pages of the project as data: the README, the other Markdown files beside it, and docs/."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import CHECKOUT

DOCS = CHECKOUT / "docs"
PAGES = sorted(
    path for path in (*CHECKOUT.glob("*.md"), *DOCS.rglob("*.md")) if not path.is_relative_to(DOCS / "_build")
)

_BLOCK = re.compile(
    r"^(?:<!-- (?P<mark>[^\n]*) -->\n)?```(?P<language>[^\n]*)\n(?P<code>.*?)^```$", re.DOTALL | re.MULTILINE
)


@dataclass(frozen=True, kw_only=True)
class Block:
    """A fenced block of code.

    :param place: page and line, for error messages
    :param mark: the comment in the line before, which says how the block is tested; empty if there is none
    """

    place: str
    mark: str
    language: str
    code: str


def blocks(page: Path) -> Iterator[Block]:
    """Yield the fenced blocks of a page."""
    text = page.read_text(encoding="utf-8")
    for found in _BLOCK.finditer(text):
        line = text.count("\n", 0, found.start("language")) + 1
        yield Block(
            place=f"{page.relative_to(CHECKOUT)}:{line}",
            mark=found["mark"] or "",
            language=found["language"],
            code=found["code"],
        )


def prose(page: Path) -> str:
    """Return a page without its fenced blocks."""
    return _BLOCK.sub("", page.read_text(encoding="utf-8"))


def headings(page: Path) -> list[str]:
    """Return the headings of a page, without their number signs."""
    return re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)


ALL_BLOCKS = [block for page in PAGES for block in blocks(page)]

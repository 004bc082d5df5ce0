"""The benchmark writes its excerpt into one place of the documentation."""

from __future__ import annotations

from pathlib import Path

import pytest

from dev.benchmark import report

BEGIN, END = "<!-- benchmark: written by make benchmark -->", "<!-- end of benchmark -->"


def test_an_excerpt_replaces_the_one_before(tmp_path: Path) -> None:
    page = tmp_path / "scale.md"
    page.write_text(f"Above.\n\n{BEGIN}\n\nold figures\n\n{END}\n\nBelow.\n")

    report.write_excerpt("new figures", page)

    assert page.read_text() == f"Above.\n\n{BEGIN}\n\nnew figures\n\n{END}\n\nBelow.\n"


def test_a_page_without_the_comments_is_not_changed(tmp_path: Path) -> None:
    page = tmp_path / "scale.md"
    page.write_text("No place.\n")

    with pytest.raises(ValueError, match="has 0 places for a benchmark, and should have one"):
        report.write_excerpt("new figures", page)
    assert page.read_text() == "No place.\n"


def test_the_page_that_the_benchmark_writes_has_one_place_for_it() -> None:
    text = report.PAGE.read_text()

    assert (text.count(BEGIN), text.count(END)) == (1, 1)
    assert text.index(BEGIN) < text.index(END)

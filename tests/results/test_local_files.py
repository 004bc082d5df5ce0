"""A change of a local file is undone if the folder was lost while it was made."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

from airflow_respan.results.local_files import LocalFiles


class LostError(Exception):
    """The folder belongs to another process now."""


class Check:
    """Says after so many calls that the folder is lost; at this moment the other process writes its file."""

    def __init__(self, target: Path, *, calls: int, others: bytes | None) -> None:
        self.target = target
        self.calls = calls
        self.others = others
        self.is_lost = False

    def __call__(self) -> None:
        self.calls -= 1
        if self.calls == 0:
            self.is_lost = True
            if self.others is not None:
                (self.target.parent / "others").write_bytes(self.others)
                (self.target.parent / "others").replace(self.target)
        if self.is_lost:
            raise LostError


CHANGES: dict[str, Callable[[LocalFiles, Check], None]] = {
    "write": lambda files, check: files.write("a", io.BytesIO(b"mine"), check),
    "remove": lambda files, check: files.remove("a", check),
}


@pytest.fixture(params=["hard links", "no hard links"])
def files(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalFiles:
    """The files of a folder, on a file system with hard links, and on one without."""

    def refuse(*_arguments: object, **_options: object) -> NoReturn:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    if request.param == "no hard links":
        monkeypatch.setattr(os, "link", refuse)
    return LocalFiles(tmp_path)


@pytest.mark.parametrize("others", [None, b"of another process"])
@pytest.mark.parametrize("calls", [1, 2, 3, 4])
@pytest.mark.parametrize("before", [None, b"before"])
@pytest.mark.parametrize("change", CHANGES)
def test_a_change_in_a_folder_that_was_lost_is_undone(
    files: LocalFiles, tmp_path: Path, change: str, before: bytes | None, calls: int, others: bytes | None
) -> None:
    target = tmp_path / "a"
    if before is not None:
        target.write_bytes(before)
    check = Check(target, calls=calls, others=others)

    try:
        CHANGES[change](files, check)
    except LostError:
        # Another process that has not written yet removes the file of its predecessor itself.
        expected = {others} if others is not None else {before, None}
    else:
        expected = {b"mine" if change == "write" else None}

    assert (target.read_bytes() if target.exists() else None) in expected
    assert {path.name for path in tmp_path.iterdir()} <= {"a"}


def test_a_file_is_created_once(files: LocalFiles, tmp_path: Path) -> None:
    assert files.create("a", io.BytesIO(b"first"))
    assert not files.create("a", io.BytesIO(b"second"))
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"first"]


def test_a_file_is_removed_only_if_it_has_the_content(files: LocalFiles, tmp_path: Path) -> None:
    files.create("a", io.BytesIO(b"first"))

    files.remove_if("a", b"second")
    assert (tmp_path / "a").exists()
    files.remove_if("a", b"first")
    files.remove_if("a", b"first")
    assert not (tmp_path / "a").exists()

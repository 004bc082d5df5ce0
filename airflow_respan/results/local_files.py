"""The files of a local folder, changed so that each change can be undone.

A process can be suspended at any step for hours. So it makes each change in a way that it can undo, asks then whether
the folder is still its own, and undoes the change if not. No name is ever given to a file while another file has it.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

COPY_BYTES = 2**20

Check = Callable[[], None]


class LocalFiles:
    """The files of a local folder. The folder is made when a file is written.

    :param folder: the folder
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, name: str, content: IO[bytes], check: Check) -> None:
        """Write a file, and replace one of the same name.

        :param check: raises an error if the folder belongs to another process now; then nothing is changed
        """
        target = self._folder / name
        with self._new_part(name, content) as part:
            written = part.stat()
            check()
            while not _link(part, target):
                self.remove(name, check)
            try:
                check()
            except BaseException:
                _take_away(target, should_keep=lambda aside: not os.path.samestat(aside.stat(), written))
                raise

    def create(self, name: str, content: IO[bytes]) -> bool:
        """Write a file, unless there is one of the same name; return whether it was written."""
        try:
            with self._new_part(name, content) as part:
                return _link(part, self._folder / name)
        except FileNotFoundError:
            if self._folder.is_dir():  # the process that has the folder now removed the part
                return False
            raise

    def remove(self, name: str, check: Check) -> None:
        """Remove a file, if it exists.

        :param check: raises an error if the folder belongs to another process now; then the file is kept
        """

        def should_keep(_aside: Path) -> bool:
            check()
            return False

        check()
        _take_away(self._folder / name, should_keep=should_keep)

    def remove_if(self, name: str, content: bytes) -> None:
        """Remove a file, if it exists and has exactly this content."""
        target = self._folder / name
        with suppress(FileNotFoundError):
            if target.read_bytes() == content:
                target.unlink()

    def remove_leftovers(self, *names: str, check: Check) -> None:
        """Remove incomplete files that a killed process has left.

        :param names: the names of the complete files
        :param check: raises an error if the folder belongs to another process now; then the others are kept
        """
        pattern = re.compile("|".join(rf"\.{re.escape(name)}\.[0-9a-f]{{32}}\.part" for name in names))
        with suppress(FileNotFoundError):
            for path in self._folder.iterdir():
                if pattern.fullmatch(path.name):
                    check()
                    path.unlink(missing_ok=True)

    @contextmanager
    def _new_part(self, name: str, content: IO[bytes]) -> Iterator[Path]:
        self._folder.mkdir(parents=True, exist_ok=True)
        part = _part_of(self._folder / name)
        try:
            with part.open("xb") as file:
                shutil.copyfileobj(content, file, COPY_BYTES)
                file.flush()
                os.fsync(file.fileno())
            yield part
        finally:
            with suppress(OSError):
                part.unlink()


def _part_of(target: Path) -> Path:
    return target.with_name(f".{target.name}.{uuid.uuid4().hex}.part")


def _link(part: Path, target: Path) -> bool:
    """Give a complete file its name, unless another file has this name; return whether it did."""
    try:
        target.hardlink_to(part)
    except FileExistsError:
        return False
    except FileNotFoundError:
        raise
    except OSError:  # a file system without hard links, such as FAT
        if target.exists():
            return False
        part.replace(target)
    return True


def _take_away(target: Path, *, should_keep: Callable[[Path], bool]) -> None:
    """Rename a file, decide about it, and then remove it or give it its name back."""
    aside = _part_of(target)
    if target.is_dir() and not target.is_symlink():
        raise IsADirectoryError(errno.EISDIR, "Is a directory", str(target))
    try:
        target.rename(aside)
    except FileNotFoundError:
        return
    keep = True
    try:
        keep = should_keep(aside)
    finally:
        if keep:
            _link(aside, target)
        aside.unlink(missing_ok=True)

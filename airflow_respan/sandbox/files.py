"""The files of the sandbox, kept on disk: uploads, output files and error files."""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True)
class SandboxFile:
    """One file.

    :param id: ``file-...``
    :param path: the path of its content
    """

    id: str
    path: Path
    filename: str
    purpose: str
    created_at: int

    def to_dict(self) -> dict[str, Any]:
        """Return the file as the API describes it."""
        return {
            "id": self.id,
            "object": "file",
            "bytes": self.path.stat().st_size,
            "created_at": self.created_at,
            "filename": self.filename,
            "purpose": self.purpose,
            "status": "processed",
            "status_details": None,
        }


class Files:
    """All files, oldest first.

    :param directory: the directory that keeps their content
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._files: dict[str, SandboxFile] = {}
        self._numbers = itertools.count(1)

    def new(self, *, filename: str, purpose: str) -> SandboxFile:
        """Create an empty file on disk; the API shows it after :meth:`add`, when its content is written."""
        file_id = f"file-{next(self._numbers):08d}"
        path = self.directory / file_id
        path.touch()
        return SandboxFile(id=file_id, path=path, filename=filename, purpose=purpose, created_at=int(time.time()))

    def add(self, file: SandboxFile) -> None:
        """Make a file visible to the API."""
        self._files[file.id] = file

    def get(self, file_id: str) -> SandboxFile | None:
        """Return a file, or None if there is no such file."""
        return self._files.get(file_id)

    def all(self) -> list[SandboxFile]:
        """Return all files, newest first."""
        return list(reversed(self._files.values()))

    def delete(self, file_id: str) -> bool:
        """Delete a file.

        :return: whether there was such a file
        """
        file = self._files.pop(file_id, None)
        if file:
            file.path.unlink()
        return file is not None

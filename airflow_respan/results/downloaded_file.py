"""A file of results on the worker's disk, and the lines in it that are no usable rows. No Airflow."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import IO

from airflow_respan.jsonl import Line, split_lines

_COPY_BYTES = 2**20


class DownloadedFile:
    """A file of results.

    :param label: the file in messages: ``file 'file-1'``
    :param content: the content, open for reading, and seekable
    """

    def __init__(self, label: str, content: IO[bytes]) -> None:
        self.label = label
        self._content = content
        self._bad_spans: list[tuple[int, int]] = []
        """Start and end of each sequence of bad lines, with the blank lines between them."""
        self._last_is_bad = False

    @property
    def has_bad_lines(self) -> bool:
        """Whether a line was recorded as no usable row."""
        return bool(self._bad_spans)

    def lines(self) -> Iterator[Line]:
        """Yield the lines that are not blank. The other methods may be called between two lines."""
        self._content.seek(0)
        return split_lines(self._content.read)

    def line_at(self, start: int) -> bytes:
        """Return a line once more, with its line end.

        :param start: the position of its first byte
        """
        position = self._content.tell()
        self._content.seek(start)
        line = self._content.readline()
        self._content.seek(position)
        return line

    def record(self, line: Line, *, is_bad: bool) -> None:
        """Record whether a line is a usable row; to be called for each line, in their order.

        :param line: the line
        :param is_bad: whether it is no usable row
        """
        if is_bad:
            # One sequence for all bad lines between two rows, so that there are never more of them than rows.
            start = self._bad_spans.pop()[0] if self._last_is_bad else line.start
            self._bad_spans.append((start, line.end))
        self._last_is_bad = is_bad

    def copy_bad_lines(self, target: IO[bytes]) -> None:
        """Append the lines that are no usable rows to a file, byte for byte."""
        for start, end in self._bad_spans:
            if not self._copy(start, end, target).endswith(b"\n"):
                target.write(b"\n")  # the file ends here, but further lines may follow in the target

    def copy_good_lines(self, target: IO[bytes]) -> None:
        """Append everything else to a file, byte for byte."""
        position = 0
        for start, end in self._bad_spans:
            self._copy(position, start, target)
            position = end
        self._copy(position, self._content.seek(0, os.SEEK_END), target)

    def _copy(self, start: int, end: int, target: IO[bytes]) -> bytes:
        """Copy a part of the content, and return the last bytes of it."""
        self._content.seek(start)
        piece = b""
        while start < end and (piece := self._content.read(min(_COPY_BYTES, end - start))):
            target.write(piece)
            start += len(piece)
        return piece

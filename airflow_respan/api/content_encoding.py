"""The encoding in which the content of a file arrives, and how gzip is decoded. No I/O."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

MAX_PIECE_BYTES = 2**16
"""The largest piece that is decoded at once, so that a small body cannot fill the memory."""

MAX_RATIO = 200
"""How many times larger than the body the content may be. JSONL expands to some 30 times at most."""

_FREE_BYTES = 2**26
"""Up to this size, the content may be any number of times larger than the body."""

_NAMES_OF_NONE = frozenset({"", "identity", "none", "binary", "aws-chunked", "utf-8", "utf8", "us-ascii", "ascii"})
"""Names that services send although there is no encoding: a charset, or a name that a client sent when it stored the
file. Stores remove the chunks of ``aws-chunked`` themselves."""

_NAMES_OF_GZIP = frozenset({"gzip", "x-gzip"})


def encodings(header: str) -> list[str]:
    """Return the encodings in a header ``Content-Encoding``, in lower case, without names that mean no encoding.

    :param header: the value of the header, perhaps empty
    """
    names = (name.strip().lower() for name in header.split(","))
    return ["gzip" if name in _NAMES_OF_GZIP else name for name in names if name not in _NAMES_OF_NONE]


class GzipDecoder:
    """Decodes one content that is gzip, and finds out whether it is whole: gzip has a mark at its end."""

    def __init__(self) -> None:
        self._member = _new_member()
        self._bytes_in = self._bytes_out = 0

    def decode(self, chunk: bytes) -> Iterator[bytes]:
        """Yield the decoded content of a chunk, in pieces.

        :raises ValueError: if it is not gzip, is damaged, or expands too much; the message completes "gzip content ..."
        """
        self._bytes_in += len(chunk)
        while chunk:
            if self._member.eof:  # several members in a row are one content
                self._member = _new_member()
            try:
                piece = self._member.decompress(chunk, MAX_PIECE_BYTES)
            except zlib.error:
                raise ValueError("that is damaged") from None
            self._bytes_out += len(piece)
            if self._bytes_out > max(_FREE_BYTES, MAX_RATIO * self._bytes_in):
                raise ValueError(f"that expands to more than {MAX_RATIO} times its size")
            chunk = self._member.unconsumed_tail or self._member.unused_data
            yield piece

    @property
    def has_begun(self) -> bool:
        """Whether a part of the content has arrived."""
        return self._bytes_in > 0

    @property
    def is_whole(self) -> bool:
        """Whether the content has reached its end."""
        return self._member.eof


def _new_member() -> zlib._Decompress:
    return zlib.decompressobj(zlib.MAX_WBITS | 16)

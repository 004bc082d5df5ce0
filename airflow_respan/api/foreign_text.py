"""Makes text from outside safe for a log line or an error: one line, printable, of limited length. No I/O."""

from __future__ import annotations

_CUT = " ..."
_MAX_BLANKS_FACTOR = 8
"""So many times the maximum length is read, because a text may be full of blanks, and may be megabytes long."""


def one_line(text: str, *, max_length: int) -> str:
    """Return a text from outside as one line, so that it can neither forge log lines nor control a terminal.

    :param text: the text of a service, a library or a proxy; secrets are already removed from it
    :param max_length: the maximum number of characters of the result
    :return: the same text, with each sequence of blanks and line breaks as one space, and each other character that is
        not printable as ``?``; a text that is too long ends with ``...``
    """
    part = text[: _MAX_BLANKS_FACTOR * max_length]
    line = " ".join(part.split())
    if len(line) > max_length or len(part) < len(text):
        line = line[: max_length - len(_CUT)].rstrip() + _CUT
    return line if line.isprintable() else "".join(char if char.isprintable() else "?" for char in line)


def as_clause(text: str) -> str:
    """Return a text from outside so that a sentence can continue after it: without its full stops at the end.

    The mark at the end of a text that was cut stays.
    """
    text = text.rstrip()
    return text if text.endswith(_CUT) else text.rstrip(".")


def describe_cause(error: BaseException) -> str:
    """Return the type and the text of an error of a library, as the beginning of a message: its text may be empty."""
    return as_clause(f"{type(error).__name__}: {' '.join(str(error).split())}").removesuffix(":")


def as_sentence(text: str) -> str:
    """Return a text from outside as a sentence: with one full stop, or with the mark of a text that was cut."""
    text = as_clause(text)
    return text if text.endswith(_CUT) else f"{text}."

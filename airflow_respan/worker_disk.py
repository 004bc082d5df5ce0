"""Errors of the worker's temporary folder, in which inputs and results are kept for a short time."""

from __future__ import annotations

import errno
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from airflow_respan.api.foreign_text import as_clause
from airflow_respan.exceptions import RespanError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def is_disk_full(error: BaseException) -> bool:
    """Return whether an error says that a disk or a quota is full; its causes are looked at too."""
    return any(isinstance(cause, OSError) and cause.errno in _FULL for cause in causes_of(error))


def causes_of(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and its causes; the libraries of stores often wrap the error that says what happened."""
    seen: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in seen:
        seen.append(cause)
        yield cause
        cause = cause.__cause__ or cause.__context__


@contextmanager
def disk_errors(error_type: type[RespanError], what: str, *, until: str) -> Iterator[None]:
    """Name the folder and the remedy in each error of a block that writes into the folder, because Python does not.

    :param error_type: the error to raise
    :param what: what is kept there, such as ``the input``
    :param until: how long, such as ``it is uploaded``
    :raises RespanError: of this type, instead of an OSError
    """
    try:
        yield
    except OSError as error:
        advice = (
            "Make room there, or set the worker's variable TMPDIR to a larger folder"
            if is_disk_full(error)
            else "Check this folder on the worker, or set the worker's variable TMPDIR to another one"
        )
        folder = tempfile.tempdir or "a temporary folder"
        raise error_type(
            f"{as_clause(str(error))}: {what} could not be kept in {folder} until {until}. {advice}, and clear the "
            "task."
        ) from error

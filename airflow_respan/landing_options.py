"""The options of a landing. It imports nothing heavy, because DAG files that are parsed need it. No I/O."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, cast, get_args

OnMissing = Literal["by_status", "fail", "warn"]
"""What to do if requests have no row.

``fail`` fails the task; ``warn`` logs a warning; ``by_status`` logs a warning if the batch did not complete, and at
least as many rows have an answer as its counts have completed requests, and else fails the task.
"""

OnBadRows = Literal["fail", "warn", "drop"]
"""What to do if lines are no usable rows.

``fail`` fails the task; ``warn`` writes everything, and these lines also into ``rejected.jsonl``; ``drop`` writes them
into ``rejected.jsonl`` alone.
"""

Deletable = Literal["input", "output", "error"]
"""A file at the service that may be deleted after the landing."""


def parse_delete_files(delete_files: Sequence[Deletable] | Deletable) -> tuple[Deletable, ...]:
    """Check the ``delete_files`` of a DAG.

    :param delete_files: one or several of :data:`Deletable`
    :raises ValueError: if one of them is something else
    """
    names: tuple[str, ...] = (delete_files,) if isinstance(delete_files, str) else tuple(delete_files)
    if not set(names) <= set(get_args(Deletable)):
        raise ValueError(f"delete_files is {delete_files!r}; choose among {', '.join(get_args(Deletable))}")
    return cast("tuple[Deletable, ...]", names)


NOT_FOUND_GRACE_SECONDS = 60.0
"""The default of ``not_found_grace``."""


@dataclass(frozen=True, kw_only=True)
class LandingOptions:
    """What is written where: the arguments of the operator, with templates rendered.

    :param path: URI of the folder
    :param batch_id: the batch; None if its files are given instead
    :param output_file_id: the file of answers, if there is no ``batch_id``
    :param error_file_id: the file of errors, if there is no ``batch_id``
    :param input_path: URI of the batch's input, to compare ids with
    :param input_file_id: the same as a file at the service
    :param on_missing: what to do if requests have no row
    :param formats: names of the formats besides JSONL
    :param overwrite: whether to replace the results of another batch
    :param delete_files: what to delete at the service afterwards
    :param provider_id: the provider that the batch was sent to, or None for the connection's
    :param allow_no_files: whether a batch without files gives a manifest that says so, instead of an error
    :param on_bad_rows: what to do if lines are no usable rows
    :param not_found_grace: seconds since the end of the batch during which its files may be missing at the service
    """

    path: str
    batch_id: str | None
    output_file_id: str | None
    error_file_id: str | None
    input_path: str | None
    input_file_id: str | None
    on_missing: OnMissing
    formats: tuple[str, ...]
    overwrite: bool
    delete_files: Sequence[Deletable]
    provider_id: str | None
    allow_no_files: bool
    on_bad_rows: OnBadRows = "fail"
    not_found_grace: float = NOT_FOUND_GRACE_SECONDS

"""The answers of a landing, read back one by one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, overload

from airflow_respan.results.landed_rows import find_files, read_rows
from airflow_respan.results.output_reader import OutputReader
from airflow_respan.results.row_error import RowError

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer(Generic[T]):
    """The answer to one request, or why there is none.

    :param custom_id: the id of the request; empty if its line has none, and then there is an error
    :param value: the answer, of the type that was asked for; None if there is an error
    :param error: None, or why there is no answer: ``code`` and ``message``. Besides the codes of the service, the code
        is ``refusal`` if the model refused to answer, ``invalid_output`` if the answer is not of this type, and
        ``invalid_row`` if the line is not a row
    """

    custom_id: str
    value: T | None
    error: RowError | None


@overload
def answers(manifest_or_path: object) -> Iterator[Answer[str]]: ...


@overload
def answers(manifest_or_path: object, output_type: type[T]) -> Iterator[Answer[T]]: ...


@overload
def answers(manifest_or_path: object, output_type: Any) -> Iterator[Answer[Any]]: ...


def answers(manifest_or_path: object, output_type: Any = str) -> Iterator[Answer[Any]]:
    """Yield the answer to each request of a landing, in constant memory: first ``output.jsonl``, then ``errors.jsonl``.

    A request that failed, an answer that is not of the type, and a line that is not a row, are answers with an error;
    none of them ends the iteration.

    :param manifest_or_path: the manifest, which the task that writes the results returns; or the path or URI of its
        folder, of its ``manifest.json``, or of one file that ends in ``.jsonl``
    :param output_type: what the value of an answer is:

        - ``str``: the text of a chat completion, a completion or a response
        - ``list[float]``: the vector of an embedding; ``list[list[float]]`` if a request has several texts
        - ``dict``: the whole body of the response, from any endpoint
        - a pydantic model, or another type that pydantic knows: the text, which is JSON; or, if there is no text, the
          arguments of the only tool call
        - a JSON schema: the decoded text, which fits the schema
        - ``"my_module:MyModel"``: what has this name in this module
    :raises RespanResultsError: if the folder has no manifest, or cannot be read
    :raises RespanStorageError: if Airflow cannot open the store, or a file cannot be read
    :raises ValueError: if there is no such type, or there are no results to read
    """
    # Not a generator itself, so that an argument that is wrong is found here, and not at the first answer.
    return _read_answers(find_files(manifest_or_path), OutputReader(output_type))


def _read_answers(files: list[str], reader: OutputReader) -> Iterator[Answer[Any]]:
    for row in read_rows(files):
        value, error = reader.read(row)
        yield Answer(custom_id=row.custom_id, value=value, error=error)

"""Makes a value of the demanded type out of a row. No I/O, no Airflow."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from airflow_respan.api.counts import count_text
from airflow_respan.api.foreign_text import one_line
from airflow_respan.results.answer_parts import find_refusal, find_tool_arguments, find_vectors, is_cut_off, to_floats
from airflow_respan.results.json_schema import MAX_SHOWN_FAULTS
from airflow_respan.results.output_type import (
    VECTOR,
    VECTORS,
    load_output_type,
    make_adapter,
    make_schema_check,
    type_name,
)
from airflow_respan.results.row import Row, RowError

INVALID_OUTPUT = "invalid_output"
"""The error code of an answer that is not of the type."""

REFUSAL = "refusal"
"""The error code of an answer in which the model refuses to answer."""

MAX_MESSAGE_LENGTH = 500
"""Characters of the message about an answer that is not of the type."""


class OutputReader:
    """Makes values of one type out of rows. Create it once for all rows.

    :param output_type: see :func:`~airflow_respan.results.answers`
    :raises ValueError: if there is no such type
    """

    def __init__(self, output_type: Any) -> None:
        self._convert = _converter(load_output_type(output_type))

    def read(self, row: Row) -> tuple[Any, RowError | None]:
        """Return the value of a row and None; or None and why there is no value.

        :param row: any row; the error of a request that failed is its own
        """
        if row.error:
            return None, row.error
        body = row.body or {}
        try:
            return self._convert(row, body), None
        except _RefusedError as refusal:
            return None, RowError(code=REFUSAL, message=str(refusal))
        except _UnfitAnswerError as reason:
            message = one_line(f"The answer {reason}.", max_length=MAX_MESSAGE_LENGTH)
            if is_cut_off(body):
                message += " It was cut off at its maximum length (finish_reason is 'length')."
            return None, RowError(code=INVALID_OUTPUT, message=message)

    def check(self, row: Row) -> RowError | None:
        """Return why a row has no value of the type; None if it has one."""
        return self.read(row)[1]


def check_output(row: Row, output_type: Any) -> RowError | None:
    """Do the same as :meth:`OutputReader.check` for one row.

    :param row: any row
    :param output_type: see :func:`~airflow_respan.results.answers`
    :raises ValueError: if there is no such type
    """
    return OutputReader(output_type).check(row)


Body = Mapping[str, Any]


class _UnfitAnswerError(ValueError):
    """An answer is not of the type. The message completes "The answer ..."."""


class _RefusedError(ValueError):
    """The model has refused to answer."""


def _converter(output_type: Any) -> Callable[[Row, Body], Any]:
    if output_type is str:
        return _text_of
    if output_type is dict:
        return lambda _row, body: body
    if output_type == VECTOR:
        return _vector_of
    if output_type == VECTORS:
        return _vectors_of
    decode = _schema_decoder(output_type) if isinstance(output_type, Mapping) else _type_decoder(output_type)
    return lambda row, body: decode(_json_text_of(row, body))


def _text_of(row: Row, body: Body) -> str:
    if refusal := find_refusal(body):
        raise _RefusedError(refusal)
    if row.content is not None:
        return row.content
    if vectors := find_vectors(body):
        name = VECTOR if len(vectors) == 1 else VECTORS
        raise _UnfitAnswerError(
            f"is {count_text(len(vectors), 'vector')} without text. Read it with output_type={name}"
        )
    calls = find_tool_arguments(body)
    what = f"is {count_text(len(calls), 'tool call')} without text" if calls else "has no text"
    raise _UnfitAnswerError(f"{what}. Read the whole body with output_type=dict")


def _json_text_of(row: Row, body: Body) -> str:
    calls = find_tool_arguments(body)
    if row.content is None and len(calls) == 1 and not find_refusal(body):
        return calls[0]
    return _without_fence(_text_of(row, body))


def _without_fence(text: str) -> str:
    """Return the content of a text that is one fenced block, as models write JSON if the request has no schema."""
    block = text.strip()
    first_line, _line_end, content = block.partition("\n")
    is_fenced = first_line.startswith("```") and "`" not in first_line[3:] and content.endswith("```")
    return content.removesuffix("```") if is_fenced else text


def _vector_of(row: Row, body: Body) -> list[float]:
    vectors = find_vectors(body) or [_decode_json(_json_text_of(row, body))]
    if len(vectors) != 1:
        raise _UnfitAnswerError(f"has {len(vectors)} vectors. Read them with output_type={VECTORS}")
    return _floats(vectors[0])


def _vectors_of(row: Row, body: Body) -> list[list[float]]:
    vectors = find_vectors(body) or _decode_json(_json_text_of(row, body))
    if not isinstance(vectors, list):
        raise _UnfitAnswerError("is not a list of vectors")
    return [_floats(vector) for vector in vectors]


def _floats(vector: object) -> list[float]:
    try:
        return to_floats(vector)
    except ValueError as reason:
        raise _UnfitAnswerError(str(reason)) from None


def _schema_decoder(schema: Mapping[str, Any]) -> Callable[[str], Any]:
    check = make_schema_check(schema)

    def decode(text: str) -> Any:
        value = _decode_json(text)
        if faults := check(value):
            raise _UnfitAnswerError(f"does not fit the schema: {'; '.join(faults)}")
        return value

    return decode


def _type_decoder(output_type: Any) -> Callable[[str], Any]:
    from pydantic import ValidationError

    adapter = make_adapter(output_type)
    name = type_name(output_type)

    def decode(text: str) -> Any:
        try:
            return adapter.validate_json(text)
        except ValidationError as error:
            faults = error.errors(include_url=False, include_context=False, include_input=False)
            shown = [": ".join(filter(None, (".".join(map(str, fault["loc"])), fault["msg"]))) for fault in faults]
            raise _UnfitAnswerError(f"is not {name}: {'; '.join(shown[:MAX_SHOWN_FAULTS])}") from None
        except Exception as error:  # noqa: BLE001 (a validator of the user may raise anything for one odd answer)
            raise _UnfitAnswerError(f"is not {name}: its check raised {type(error).__name__}") from None

    return decode


def _decode_json(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise _UnfitAnswerError(f"is not JSON: {error.msg}, line {error.lineno}, column {error.colno}") from None
    except (ValueError, RecursionError):
        raise _UnfitAnswerError("is not JSON that can be read") from None

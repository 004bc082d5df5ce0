"""The value of an answer: what each type makes of the rows of each endpoint, and why there is none."""

from __future__ import annotations

import base64
import json
import struct
import typing
from dataclasses import dataclass
from typing import Any, Literal

import pytest
from pydantic import BaseModel, Field, field_validator

from airflow_respan.results.output_reader import OutputReader, check_output
from airflow_respan.results.row import Row, RowError, parse_row


class Ticket(BaseModel):
    subject: str
    urgent: bool = False
    hours: float | None = Field(default=None, ge=0)

    @field_validator("subject")
    @classmethod
    def _check_subject(cls, subject: str) -> str:
        if subject == "broken":
            raise RuntimeError("a fault of the validator")
        return subject


@dataclass
class Point:
    x: float
    y: float


SCHEMA = {
    "type": "object",
    "properties": {"subject": {"type": "string", "maxLength": 10}, "urgent": {"type": "boolean"}},
    "required": ["subject"],
}
TICKET = '{"subject": "Printer", "urgent": true}'


def row(**body: Any) -> Row:
    return parse_row({"custom_id": "a", "response": {"status_code": 200, "body": body}, "error": None})


def chat(content: Any = None, *, finish_reason: str = "stop", **message: Any) -> Row:
    message = {"role": "assistant", "content": content, **message}
    return row(choices=[{"index": 0, "message": message, "finish_reason": finish_reason}])


def call(arguments: Any) -> dict[str, Any]:
    return {"id": "call_1", "type": "function", "function": {"name": "save", "arguments": arguments}}


def response(*output: dict[str, Any]) -> Row:
    return row(object="response", status="completed", output=list(output))


def message(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"type": "message", "role": "assistant", "content": list(parts)}


def embeddings(*vectors: Any) -> Row:
    data = [{"object": "embedding", "index": index, "embedding": vector} for index, vector in enumerate(vectors)]
    return row(object="list", data=data)


TEXTS = {
    "chat completion": lambda text: chat(text, refusal=None, tool_calls=[]),
    "completion": lambda text: row(choices=[{"text": text, "index": 0, "finish_reason": "stop"}]),
    "response": lambda text: response(
        {"type": "reasoning", "summary": []}, message({"type": "output_text", "text": text})
    ),
    "parts of a chat completion": lambda text: chat(
        [{"type": "thinking", "text": "Hm."}, {"type": "text", "text": text}]
    ),
    "body in a text": lambda text: parse_row(
        {"custom_id": "a", "response": {"body": json.dumps({"choices": [{"message": {"content": text}}]})}}
    ),
}


@pytest.mark.parametrize("shape", TEXTS)
@pytest.mark.parametrize(
    ("output_type", "text", "value"),
    [
        (str, "Good day", "Good day"),
        (Ticket, TICKET, Ticket(subject="Printer", urgent=True)),
        (Ticket, f"\n```json\n{TICKET}\n```\n", Ticket(subject="Printer", urgent=True)),
        (Ticket, f"```\n{TICKET}```", Ticket(subject="Printer", urgent=True)),
        (Point, '{"x": 1, "y": "2.5"}', Point(x=1, y=2.5)),
        (list[Ticket], '[{"subject": "Printer"}]', [Ticket(subject="Printer")]),
        (dict[str, int], '{"a": 1}', {"a": 1}),
        (Literal["spam", "ham"], '"ham"', "ham"),
        (int | None, "null", None),
        (list[float], "[1, 2.5]", [1.0, 2.5]),
        (list[list[float]], "[[1], [2.5]]", [[1.0], [2.5]]),
        (SCHEMA, TICKET, {"subject": "Printer", "urgent": True}),
        (f"{__name__}:Ticket", TICKET, Ticket(subject="Printer", urgent=True)),
        (f"{__name__}:SCHEMA", TICKET, {"subject": "Printer", "urgent": True}),
    ],
)
def test_a_text_becomes_a_value_of_the_type(shape: str, output_type: Any, text: str, value: Any) -> None:
    read = TEXTS[shape](text)

    assert OutputReader(output_type).read(read) == (value, None)
    assert check_output(read, output_type) is None


def test_dict_is_the_whole_body_of_any_endpoint() -> None:
    for read in (chat("Hello"), embeddings([0.5]), response(), chat(refusal="No."), row(unknown="shape")):
        assert OutputReader(dict).read(read) == (read.body, None)


def base64_of(*numbers: float) -> str:
    return base64.b64encode(struct.pack(f"<{len(numbers)}f", *numbers)).decode()


@pytest.mark.parametrize(
    ("output_type", "read", "value"),
    [
        (list[float], embeddings([0.5, -1]), [0.5, -1.0]),
        (list[float], embeddings(base64_of(0.5, -1)), [0.5, -1.0]),
        (typing.List[float], embeddings([0.5]), [0.5]),  # noqa: UP006 (users write it)
        (list[list[float]], embeddings([0.5], [1]), [[0.5], [1.0]]),
        (list[list[float]], embeddings([0.5]), [[0.5]]),
        (
            list[list[float]],
            row(data=[{"index": 1, "embedding": [1]}, {"index": 0, "embedding": [0]}]),
            [[0.0], [1.0]],
        ),
        (list[list[float]], row(data=[{"embedding": [1]}, {"embedding": [0]}]), [[1.0], [0.0]]),
    ],
)
def test_an_embedding_becomes_a_list_of_numbers(output_type: Any, read: Row, value: Any) -> None:
    assert OutputReader(output_type).read(read) == (value, None)


@pytest.mark.parametrize(
    "read",
    [
        chat(tool_calls=[call(TICKET)]),
        chat("", tool_calls=[call(json.loads(TICKET))]),
        response({"type": "function_call", "name": "save", "arguments": TICKET}),
    ],
    ids=["chat completion", "arguments that are an object", "response"],
)
@pytest.mark.parametrize("output_type", [Ticket, SCHEMA], ids=["model", "schema"])
def test_the_arguments_of_the_only_tool_call_are_the_answer_if_there_is_no_text(read: Row, output_type: Any) -> None:
    value, error = OutputReader(output_type).read(read)

    assert error is None
    assert (value if isinstance(value, dict) else value.model_dump(exclude_unset=True)) == json.loads(TICKET)


def test_a_text_beside_a_tool_call_is_the_answer() -> None:
    read = chat(TICKET, tool_calls=[call('{"subject": "other"}')])

    assert OutputReader(Ticket).read(read) == (Ticket(subject="Printer", urgent=True), None)
    assert OutputReader(str).read(read) == (TICKET, None)


@pytest.mark.parametrize(
    "read",
    [
        chat(refusal="I cannot help."),
        chat("I was about to", refusal="I cannot help."),
        chat(tool_calls=[call(TICKET)], refusal="I cannot help."),
        chat([{"type": "refusal", "refusal": "I cannot help."}]),
        response(message({"type": "refusal", "refusal": "I cannot help."})),
    ],
)
@pytest.mark.parametrize("output_type", [str, Ticket, SCHEMA, list[float]], ids=["str", "model", "schema", "vector"])
def test_a_refusal_is_an_error(read: Row, output_type: Any) -> None:
    assert OutputReader(output_type).read(read) == (None, RowError(code="refusal", message="I cannot help."))


@pytest.mark.parametrize("output_type", [str, dict, Ticket, SCHEMA, list[float]])
def test_a_request_that_failed_has_its_own_error(output_type: Any) -> None:
    failed = parse_row({"custom_id": "a", "response": None, "error": {"code": "batch_expired", "message": "Late."}})

    assert OutputReader(output_type).read(failed) == (None, RowError(code="batch_expired", message="Late."))
    assert check_output(failed, output_type) == RowError(code="batch_expired", message="Late.")


ONE = "The answer is 1 vector without text. Read it with output_type=list[float]."
TWO = "The answer is 2 vectors without text. Read it with output_type=list[list[float]]."
NO_TEXT = "The answer has no text. Read the whole body with output_type=dict."


@pytest.mark.parametrize(
    ("output_type", "read", "message"),
    [
        (str, embeddings([0.5]), ONE),
        (Ticket, embeddings([0.5]), ONE),
        (SCHEMA, embeddings([0.5], [0.5]), TWO),
        (str, chat(), NO_TEXT),
        (str, chat(""), NO_TEXT),
        (str, response(), NO_TEXT),
        (str, row(choices="none"), NO_TEXT),
        (str, row(choices=[{"index": 0, "message": None}]), NO_TEXT),
        (str, row(data="none"), NO_TEXT),
        (
            str,
            chat(tool_calls=[call(TICKET)]),
            "The answer is 1 tool call without text. Read the whole body with output_type=dict.",
        ),
        (
            Ticket,
            chat(tool_calls=[call(TICKET), call(TICKET)]),
            "The answer is 2 tool calls without text. Read the whole body with output_type=dict.",
        ),
        (
            list[float],
            embeddings([0.5], [0.5]),
            "The answer has 2 vectors. Read them with output_type=list[list[float]].",
        ),
        (list[float], chat("Hello"), "The answer is not JSON: Expecting value, line 1, column 1."),
        (list[float], chat('{"a": 1}'), "The answer has no list of numbers where the vector should be."),
        (list[list[float]], chat('{"a": 1}'), "The answer is not a list of vectors."),
        (list[float], embeddings(None), "The answer has no list of numbers where the vector should be."),
        (list[float], embeddings(["0.5"]), "The answer has a vector that is not a list of numbers."),
        (list[float], embeddings("?"), "The answer has a vector that is not a list of numbers."),
        (list[float], embeddings("AAAA"), "The answer has a vector that is not a list of numbers."),
        (list[float], embeddings([10**400]), "The answer has a vector that is not a list of numbers."),
        (
            list[list[float]],
            row(data=[{"embedding": [1]}, {"error": "no"}]),
            "The answer has no list of numbers where the vector should be.",
        ),
        (
            Ticket,
            chat('{"urgent": "secret words", "hours": -1}'),
            "The answer is not Ticket: subject: Field required; urgent: Input should be a valid boolean, unable to "
            "interpret input; hours: Input should be greater than or equal to 0.",
        ),
        (
            list[Ticket],
            chat('[{"subject": "a"}, {"subject": ["secret words"]}]'),
            f"The answer is not list[{__name__}.Ticket]: 1.subject: Input should be a valid string.",
        ),
        (
            Ticket,
            chat("secret words"),
            "The answer is not Ticket: Invalid JSON: expected value at line 1 column 1.",
        ),
        (Ticket, chat('{"subject": "broken"}'), "The answer is not Ticket: its check raised RuntimeError."),
        (
            Ticket,
            chat('{"subject": "secret wo', finish_reason="length"),
            "The answer is not Ticket: Invalid JSON: EOF while parsing a string at line 1 column 22. It was cut off at "
            "its maximum length (finish_reason is 'length').",
        ),
        (
            SCHEMA,
            chat('{"urgent": "secret words"}'),
            'The answer does not fit the schema: $.urgent does not fit {"type": "boolean"}; '
            "$: 'subject' is a required property.",
        ),
        (
            SCHEMA,
            chat('{"subject": "secret words"}'),
            'The answer does not fit the schema: $.subject does not fit {"maxLength": 10}.',
        ),
        (SCHEMA, chat("secret words"), "The answer is not JSON: Expecting value, line 1, column 1."),
        (SCHEMA, chat("[" * 100_000), "The answer is not JSON that can be read."),
    ],
)
def test_an_answer_that_is_not_of_the_type_is_an_error_that_names_the_place_and_not_the_content(
    output_type: Any, read: Row, message: str
) -> None:
    error = RowError(code="invalid_output", message=message)

    assert OutputReader(output_type).read(read) == (None, error)
    assert check_output(read, output_type) == error
    assert "secret" not in message


def test_a_long_message_is_cut() -> None:
    class Strict(BaseModel, extra="forbid"):
        pass

    error = check_output(chat(json.dumps({"x" * 10_000: 1})), Strict)

    assert error
    assert len(error.message) == 500


@pytest.mark.parametrize("text", ["a\ud83d", '"\ud83d"', "\0", "```", "```json", "``````", '"\\ud83d"'])
@pytest.mark.parametrize("output_type", [Ticket, SCHEMA, list[float], int], ids=["model", "schema", "vector", "int"])
def test_an_odd_text_is_an_error_and_raises_none(text: str, output_type: Any) -> None:
    error = check_output(chat(text), output_type)

    assert error
    assert error.code == "invalid_output"


class Incomplete(BaseModel):
    part: NotDefined  # type: ignore[name-defined]  # noqa: F821 (the test is about it)


@pytest.mark.parametrize(
    ("output_type", "message"),
    [
        (
            "tickets:Ticket",
            "output_type is 'tickets:Ticket', which cannot be imported (No module named 'tickets'). Give a type, a "
            "JSON schema, or the name of one of them as 'my_module:MyModel'.",
        ),
        (
            f"{__name__}:Tickets",
            f"output_type is '{__name__}:Tickets', which cannot be imported (module '{__name__}' has no attribute "
            "'Tickets'). Give a type, a JSON schema, or the name of one of them as 'my_module:MyModel'.",
        ),
        (
            {"type": "objekt"},
            "output_type is a JSON schema with an error: $.type: 'objekt' is not valid under any of the given schemas.",
        ),
        (
            {"$ref": "http://127.0.0.1/ticket.json"},
            "output_type is a JSON schema with an error: the reference 'http://127.0.0.1/ticket.json' names nothing in "
            "the schema.",
        ),
        (
            {"type": "object", "properties": {"a": {"$ref": "#/$defs/A"}}},
            "output_type is a JSON schema with an error: the reference '#/$defs/A' names nothing in the schema.",
        ),
        (5, "output_type is 5, which pydantic cannot use: "),
        (Incomplete, "output_type is Incomplete, which pydantic cannot use: "),
    ],
)
def test_a_type_that_cannot_be_used_is_refused_before_any_row_is_read(output_type: Any, message: str) -> None:
    with pytest.raises(ValueError) as refused:
        OutputReader(output_type)

    # The rest of the last two is pydantic's.
    assert str(refused.value).startswith(message) if message.endswith(": ") else str(refused.value) == message

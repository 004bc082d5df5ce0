"""Arguments as templates render them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from airflow_respan.operators.rendered import read_batch_id, read_list, read_mapping, read_text, read_texts

NOTHING = [None, "", " ", "None", " None ", "null"]


@pytest.mark.parametrize("read", [read_text, read_mapping, read_texts])
@pytest.mark.parametrize("value", NOTHING)
def test_a_template_that_gives_nothing_is_none(read: Callable[..., Any], value: object) -> None:
    assert read("environment", value, task_id="create") is None


@pytest.mark.parametrize(("value", "text"), [("prod", "prod"), (7, "7"), (1.5, "1.5"), ("7", "7"), (" a ", " a ")])
def test_a_text_may_be_rendered_as_a_number(value: object, text: str) -> None:
    assert read_text("environment", value, task_id="create") == text


@pytest.mark.parametrize("value", [{"a": 1}, '{"a": 1}', "{'a': 1}", " {'a': 1} "])
def test_a_dict_may_be_rendered_as_text(value: object) -> None:
    assert read_mapping("respan_params", value, task_id="create") == {"a": 1}


@pytest.mark.parametrize(
    "value", [{"a": 1, "b": True, "c": "x"}, "{'a': 1, 'b': True, 'c': 'x'}", '{"a": 1, "b": true, "c": "x"}']
)
def test_numbers_in_a_dict_of_texts_become_texts(value: object) -> None:
    assert read_texts("metadata", value, task_id="create") == {"a": "1", "b": "true", "c": "x"}


@pytest.mark.parametrize("value", [[{"a": 1}], '[{"a": 1}]', "[{'a': 1}]", "\ufeff[{'a': 1}]", ({"a": 1},)])
def test_a_list_may_be_rendered_as_text(value: object) -> None:
    assert list(read_list("requests", value, task_id="create")) == [{"a": 1}]


@pytest.mark.parametrize(
    "value",
    [
        "batch_1",
        " batch_1 ",
        {"id": "batch_1", "status": "completed"},
        '{"id": "batch_1"}',
        "{'id': 'batch_1', 'error_file_id': None}",
    ],
)
def test_a_batch_id_may_be_a_whole_batch(value: object) -> None:
    assert read_batch_id(value, task_id="wait", template="{{ x }}") == "batch_1"


@pytest.mark.parametrize(
    ("read", "value", "message"),
    [
        (read_text, [1], "name of task 't' is [1], not a text"),
        (read_text, True, "name of task 't' is True, not a text"),
        (read_mapping, "a=1", "name of task 't' is 'a=1', not a dict"),
        (read_mapping, [1], "name of task 't' is [1], not a dict"),
        (read_texts, 7, "name of task 't' is 7, not a dict"),
        (read_mapping, "(" * 5000, f"name of task 't' is '{'(' * 199} ..., not a dict"),
        *(
            (
                read_list,
                value,
                f"name of task 't' is {kind}, not a list. Pass the output of the task that makes the list, or set "
                "render_template_as_native_obj=True on the DAG.",
            )
            for value, kind in [
                ("a prompt", "a text"),
                (b"[]", "of the type bytes"),
                ({"a": 1}, "an object"),
                ('{"a": 1}', "an object"),
                (7, "a number"),
                (None, "None"),
                ("None", "None"),
            ]
        ),
    ],
)
def test_another_value_is_refused_by_name(read: Callable[..., Any], value: object, message: str) -> None:
    with pytest.raises(ValueError) as refused:
        read("name", value, task_id="t")

    assert str(refused.value) == message


@pytest.mark.parametrize("value", [*NOTHING, 7, {}, {"id": None}, "{'id': 7}", "two\nlines", ["batch_1"]])
def test_what_is_no_batch_id_is_refused(value: object) -> None:
    with pytest.raises(ValueError) as refused:
        read_batch_id(value, task_id="wait", template="{{ x }}")

    assert str(refused.value) == (
        f"batch_id of task 'wait' is {value!r}, which is not the id of a batch. Its template is '{{{{ x }}}}'. "
        "Check that the upstream task ran and pushed the id of a batch."
    )

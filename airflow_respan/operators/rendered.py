"""Arguments as templates give them: texts, or any Python value with ``render_template_as_native_obj=True``.

A template that renders a dict gives its text, as Python or JSON spells it. A template of nothing gives ``None``, or
the text ``None``. Each function reads all of these, and its error names the argument, the task and the value.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping
from typing import Any

from airflow_respan.api.ids import is_id
from airflow_respan.jsonl import describe_kind

_NOTHING = ("", "None", "null")
_BOM = "\ufeff"
_MAX_SHOWN_LENGTH = 200


def read_text(name: str, value: object, *, task_id: str) -> str | None:
    """Return an argument that is a text.

    :param name: the argument
    :param value: its rendered value; a number is written as a text
    :param task_id: the task, for the error
    :return: the text, or None if the template gave nothing
    :raises ValueError: if it is neither a text nor a number
    """
    if is_nothing(value):
        return None
    if isinstance(value, str):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    raise ValueError(f"{name} of task {task_id!r} is {_shown(value)}, not a text")


def read_required(name: str, value: object) -> str:
    """Return an argument that must be given, such as an id or a path, without spaces around it.

    :param name: the argument
    :param value: its rendered value
    :raises ValueError: if the template gave nothing
    """
    if is_nothing(value):
        raise ValueError(
            f"{name} is {value!r}. Check the argument, and that the upstream task ran and pushed this value."
        )
    return str(value).strip()


def read_optional_id(value: str | None) -> str | None:
    """Return an id without spaces around it, or None if the template gave nothing."""
    return None if is_nothing(value) else str(value).strip()


def read_mapping(name: str, value: object, *, task_id: str) -> dict[str, Any] | None:
    """Return an argument that is a dict, or the text of one.

    :param name: the argument
    :param value: its rendered value
    :param task_id: the task, for the error
    :return: the dict, or None if the template gave nothing
    :raises ValueError: if it is neither a dict nor the text of one
    """
    decoded = _decode(value)
    if decoded is None:
        return None
    if not isinstance(decoded, Mapping):
        raise ValueError(f"{name} of task {task_id!r} is {_shown(value)}, not a dict")
    return dict(decoded)


def read_texts(name: str, value: object, *, task_id: str) -> dict[str, Any] | None:
    """Return an argument that is a dict of texts, or the text of one; numbers and booleans in it become texts.

    :param name: the argument
    :param value: its rendered value
    :param task_id: the task, for the error
    :return: the dict, or None if the template gave nothing
    :raises ValueError: if it is neither a dict nor the text of one
    """
    mapping = read_mapping(name, value, task_id=task_id)
    if mapping is None:
        return None
    return {key: json.dumps(text) if isinstance(text, bool | int | float) else text for key, text in mapping.items()}


def read_list(name: str, value: object, *, task_id: str) -> Any:
    """Return an argument that is a list or another iterable, or the text of a list.

    :param name: the argument
    :param value: its rendered value
    :param task_id: the task, for the error
    :raises ValueError: if it is a text, but not of a list, or a dict, or no iterable
    """
    decoded = _decode(value.removeprefix(_BOM)) if isinstance(value, str) else value
    if isinstance(decoded, str | bytes | Mapping) or not hasattr(decoded, "__iter__"):
        # Without the value, because requests may be confidential.
        kind = "None" if decoded is None else describe_kind(decoded)
        raise ValueError(
            f"{name} of task {task_id!r} is {kind}, not a list. Pass the output of the task that "
            "makes the list, or set render_template_as_native_obj=True on the DAG."
        )
    return decoded


def is_nothing(value: object) -> bool:
    """Return whether an argument is missing, or a template gave nothing for it."""
    return value is None or (isinstance(value, str) and value.strip() in _NOTHING)


def read_batch_id(value: object, *, task_id: str, template: object) -> str:
    """Return the id of a batch, also from a whole batch, which the sensor returns.

    :param value: the rendered argument: an id, or a batch as a dict or as its text
    :param task_id: the task, for the error
    :param template: the argument before it was rendered, for the error
    :raises ValueError: if it is not an id
    """
    decoded = _decode(value) if not isinstance(value, str) or value.lstrip().startswith("{") else value
    found = decoded.get("id") if isinstance(decoded, Mapping) else decoded
    found = found.strip() if isinstance(found, str) else found
    if not is_id(found) or found in _NOTHING:
        raise ValueError(
            f"batch_id of task {task_id!r} is {_shown(value)}, which is not the id of a batch. Its template is "
            f"{str(template)!r}. Check that the upstream task ran and pushed the id of a batch."
        )
    return found


def _decode(value: object) -> object:
    """Return the value of a text in JSON's or in Python's spelling, None for a template of nothing, else the value."""
    if is_nothing(value):
        return None
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        pass
    try:
        return ast.literal_eval(value.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return value


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _MAX_SHOWN_LENGTH else f"{text[:_MAX_SHOWN_LENGTH]} ..."

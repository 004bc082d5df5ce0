"""The types that the answers of a batch can have, and their JSON schemas. No I/O, no Airflow."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from importlib import import_module
from typing import Any, get_args, get_origin

from airflow_respan.api.foreign_text import one_line
from airflow_respan.results.json_schema import make_check

VECTOR, VECTORS = list[float], list[list[float]]

_MAX_REASON_LENGTH = 300
_MAX_NAME_LENGTH = 100


def load_output_type(output_type: Any) -> Any:
    """Return an output type; if it is a text such as ``"my_module:MyModel"``, return what has this name.

    :param output_type: see :func:`~airflow_respan.results.answers`
    :raises ValueError: if there is no such name
    """
    if not isinstance(output_type, str):
        return next((vector for vector in (VECTOR, VECTORS) if _form(output_type) == _form(vector)), output_type)
    module, _colon, name = output_type.partition(":")
    try:
        found: Any = import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(
            f"output_type is {output_type!r}, which cannot be imported ({error}). Give a type, a JSON schema, or the "
            "name of one of them as 'my_module:MyModel'."
        ) from error
    return found if isinstance(found, str) else load_output_type(found)


def type_name(output_type: Any) -> str:
    """Return the name of an output type for a message."""
    if isinstance(output_type, Mapping):
        return "a JSON schema"
    is_class = isinstance(output_type, type) and not get_args(output_type)
    return output_type.__qualname__ if is_class else one_line(str(output_type), max_length=_MAX_NAME_LENGTH)


def make_adapter(output_type: Any) -> Any:
    """Return pydantic's ``TypeAdapter`` of a type.

    :raises ValueError: if pydantic does not know the type, or it is not complete
    """
    from pydantic import PydanticUserError, TypeAdapter, ValidationError

    try:
        adapter = TypeAdapter(output_type)
        with suppress(ValidationError):
            adapter.validate_json("")  # because pydantic finds out only then that a model is not complete
    except (PydanticUserError, NameError, TypeError) as error:
        raise ValueError(_unusable(output_type, "pydantic cannot use", error)) from error
    return adapter


def schema_of(output_type: Any) -> Mapping[str, Any]:
    """Return the JSON schema of a type; a schema itself, if it is one.

    :raises ValueError: if it has none
    """
    from pydantic import PydanticUserError

    if isinstance(output_type, Mapping):
        make_schema_check(output_type)
        return output_type
    try:
        schema: dict[str, Any] = make_adapter(output_type).json_schema()
    except PydanticUserError as error:
        raise ValueError(_unusable(output_type, "has no JSON schema", error)) from error
    return schema


def make_schema_check(schema: Mapping[str, Any]) -> Any:
    """Do the same as :func:`~airflow_respan.results.json_schema.make_check`, with an error that names the argument."""
    try:
        return make_check(schema)
    except ValueError as error:
        raise ValueError(f"output_type is a JSON schema with an error: {error}.") from error


def _unusable(output_type: Any, problem: str, error: Exception) -> str:
    reason = one_line(str(error), max_length=_MAX_REASON_LENGTH)
    return f"output_type is {type_name(output_type)}, which {problem}: {reason}"


def _form(output_type: Any) -> tuple[Any, tuple[Any, ...]]:
    """Return what is equal for ``list[float]`` and ``typing.List[float]``."""
    return get_origin(output_type), tuple(_form(each) if get_args(each) else each for each in get_args(output_type))

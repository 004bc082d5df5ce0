"""``@task.respan_batch`` makes a task of a function that returns or yields prompts."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.common.compat.sdk import (
    DecoratedOperator,
    context_merge,
    determine_kwargs,
    task_decorator_factory,
)

from airflow_respan.operators.rounds import RespanBatchOperator

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import TaskDecorator

_INPUTS = ("input_file_id", "input_path", "requests")


class RespanBatchDecoratedOperator(DecoratedOperator, RespanBatchOperator):
    """A task whose requests come from a function; see :func:`respan_batch_task`.

    The requests are not rendered as templates, and Airflow does not show them in its UI.

    :param python_callable: the function
    :param op_args: its positional arguments (templated)
    :param op_kwargs: its keyword arguments (templated)
    :raises ValueError: if an argument names another input
    """

    template_fields: Sequence[str] = (
        *DecoratedOperator.template_fields,
        *(name for name in RespanBatchOperator.template_fields if name not in _INPUTS),
    )
    template_fields_renderers: ClassVar[dict[str, str]] = dict(DecoratedOperator.template_fields_renderers)
    custom_operator_name = "@task.respan_batch"
    # A function may return other prompts each time it is called; those of the first call are saved in the folder.
    _is_input_repeatable = False

    def __init__(
        self,
        *,
        python_callable: Callable[..., Any],
        op_args: Collection[Any] | None = None,
        op_kwargs: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        if given := [name for name in _INPUTS if kwargs.get(name) is not None]:
            raise ValueError(
                f"@task.respan_batch takes no {given[0]}: its requests come from the function "
                f"{python_callable.__name__!r}"
            )
        super().__init__(python_callable=python_callable, op_args=op_args, op_kwargs=op_kwargs, **kwargs)

    def _check_one_input(self) -> None:
        """Accept that no argument names an input: the function gives it."""

    def _source(self) -> Iterable[tuple[int, Any]]:
        context: Any = self._context
        context_merge(context, self.op_kwargs)
        kwargs = determine_kwargs(self.python_callable, self.op_args, context)
        given = self.python_callable(*self.op_args, **kwargs)
        if given is None or isinstance(given, str | bytes | Mapping) or not hasattr(given, "__iter__"):
            raise TypeError(
                f"The function {self.python_callable.__name__!r} of task {self.task_id!r} returned a value of the type "
                f"{type(given).__name__}. Return a list of prompts or requests, or yield them one by one."
            )
        return self._shape(enumerate(given, start=1))


def respan_batch_task(python_callable: Callable[..., Any] | None = None, **kwargs: Any) -> TaskDecorator:
    """Make a task of a function: its prompts or requests are sent to a model in batches.

    In Airflow its name is ``@task.respan_batch``. The function returns or yields whole requests (dicts), prompts
    (texts, or lists of messages), or pairs of a ``custom_id`` and a prompt. The ``custom_id`` of a prompt without one
    is its number, from 1. The task returns the manifest of the answers, which
    :func:`airflow_respan.results.answers` reads.

    :param python_callable: the function
    :param kwargs: the arguments of :class:`~airflow_respan.operators.batch.RespanBatchOperator`, except those that name
        the input; ``path`` is required
    """
    return task_decorator_factory(
        python_callable=python_callable, decorated_operator_class=RespanBatchDecoratedOperator, **kwargs
    )

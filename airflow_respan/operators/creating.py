"""The base class of the operators that create batches: the arguments from which a batch is made, and their checks."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

from airflow_respan.api.tracking import TRACKING_PARAMETERS, TrackingParameters
from airflow_respan.compat import conf
from airflow_respan.exceptions import RespanError
from airflow_respan.get_provider_info import DEFAULT_CONN_ID
from airflow_respan.operators.base import RespanOperator
from airflow_respan.operators.rendered import read_list, read_text, read_texts
from airflow_respan.waiting.outcome import parse_failed_ratio, parse_success_statuses
from airflow_respan.waiting.seconds import parse_seconds

if TYPE_CHECKING:
    from airflow_respan.compat import Context
    from airflow_respan.submission.submit import BatchOptions, Submission

OnChangedInput = Literal["fail", "resubmit"]
ON_CHANGED_INPUT: tuple[str, ...] = get_args(OnChangedInput)


class BatchCreatingOperator(RespanOperator):
    """A task that creates batches. :class:`RespanCreateBatchOperator` describes the arguments."""

    template_fields: Sequence[str] = (
        "input_file_id",
        "input_path",
        "requests",
        "endpoint",
        "completion_window",
        "metadata",
        *TRACKING_PARAMETERS,
        "respan_conn_id",
        "respan_params",
        "provider_id",
    )
    ui_color = "#e4e0f5"
    success_statuses: Collection[str]

    def __init__(
        self,
        *,
        input_file_id: str | None = None,
        input_path: str | None = None,
        requests: Iterable[Mapping[str, Any]] | None = None,
        endpoint: str = "/v1/chat/completions",
        completion_window: str = "24h",
        metadata: Mapping[str, str] | None = None,
        customer_identifier: str | None = None,
        custom_identifier: str | None = None,
        thread_identifier: str | None = None,
        environment: str | None = None,
        respan_conn_id: str = DEFAULT_CONN_ID,
        respan_params: Mapping[str, Any] | None = None,
        provider_id: str | None = None,
        on_changed_input: OnChangedInput = "fail",
        search_pages: int = 20,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        poke_interval: timedelta | float = 60,
        timeout: timedelta | float = 7 * 24 * 3600,
        success_statuses: Sequence[str] = ("completed",),
        max_failed_ratio: float = 1.0,
        not_found_grace: timedelta | float = 60,
        cancel_on_kill: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.input_file_id = input_file_id
        self.input_path = input_path
        self.requests = requests
        self.endpoint = endpoint
        self.completion_window = completion_window
        self.metadata = metadata
        self.customer_identifier = customer_identifier
        self.custom_identifier = custom_identifier
        self.thread_identifier = thread_identifier
        self.environment = environment
        self.respan_conn_id = respan_conn_id
        self.respan_params = respan_params
        self.provider_id = provider_id
        if on_changed_input not in ON_CHANGED_INPUT:
            raise ValueError(f"on_changed_input is {on_changed_input!r}; choose among {', '.join(ON_CHANGED_INPUT)}")
        self.on_changed_input: str = on_changed_input
        if search_pages < 1:
            raise ValueError(f"search_pages is {search_pages!r}; it is a number of pages, 1 or more")
        self.search_pages = search_pages
        self.deferrable = deferrable
        self.poke_interval = parse_seconds("poke_interval", poke_interval)
        self.timeout = parse_seconds("timeout", timeout)
        self.success_statuses = parse_success_statuses(success_statuses)
        self.max_failed_ratio = parse_failed_ratio(max_failed_ratio)
        self.not_found_grace = parse_seconds("not_found_grace", not_found_grace)
        self.cancel_on_kill = cancel_on_kill
        self._check_one_input()

    def _begin(self, context: Context) -> None:
        super()._begin(context)
        for name in TRACKING_PARAMETERS:
            setattr(self, name, read_text(name, getattr(self, name), task_id=self.task_id))
        self.metadata = read_texts("metadata", self.metadata, task_id=self.task_id)
        for name in ("poke_interval", "timeout", "not_found_grace"):
            # Checked again before anything is paid for, because a subclass may render templates in them.
            parse_seconds(name, getattr(self, name))

    def _batch_options(self) -> BatchOptions:
        # Imported here, because DAG files are parsed far more often than they run.
        from airflow_respan.submission.submit import BatchOptions

        return BatchOptions(
            endpoint=self.endpoint,
            completion_window=self.completion_window,
            metadata=self.metadata,
            tracking=cast("TrackingParameters", {name: getattr(self, name) for name in TRACKING_PARAMETERS}),
            respan_params=self.respan_params,
            provider_id=self.provider_id,
        )

    def _find_sent_batch(self, submission: Submission | None) -> list[str]:
        """Search the list for a batch whose create has no response yet."""
        if submission is None or not submission.is_create_sent:
            return []
        if submission.batch_id:
            return [submission.batch_id]
        self.__dict__.pop("hook", None)  # makes a new hook, because the old one may be in the middle of a request
        try:
            batch = submission.previous_attempts.find_listed()
        except RespanError as error:
            batch = None
            self.log.warning("The batch may have been created, but the search for it failed: %s", error)
        if batch is None:
            self.log.warning("The batch may still be created; the next attempt of this task searches for it.")
        return [batch.id] if batch else []

    def _check_one_input(self) -> None:
        given = [name for name in ("input_file_id", "input_path", "requests") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(
                f"task {self.task_id!r} must be given exactly one of input_file_id, input_path and requests, "
                f"not {' and '.join(given) or 'none'}"
            )
        value = getattr(self, given[0])
        if given != ["requests"] and isinstance(value, str) and value.strip() in ("", "None"):
            raise ValueError(
                f"{given[0]} of task {self.task_id!r} is {value!r}: its template rendered to an empty value. "
                "Check that the upstream task ran and pushed this value."
            )

    def _numbered_requests(self) -> Iterable[tuple[int, Any]]:
        if self.input_path is not None:
            from airflow_respan.submission.input import read_requests

            return read_requests(self.input_path)
        requests = read_list("requests", self.requests, task_id=self.task_id)
        # Bytes are a line of a file, and each other value is an item of a list.
        items = (item.decode(errors="replace") if isinstance(item, bytes) else item for item in requests)
        return enumerate(items, start=1)

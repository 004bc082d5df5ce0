"""The providers that are measured: the trigger of each, created as its operator or sensor creates it.

The connection is in the environment, because reading it from there costs almost nothing.
"""

from __future__ import annotations

import importlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

DAY_SECONDS = 24 * 3600.0


@dataclass(frozen=True, kw_only=True)
class Provider:
    """One provider.

    :param name: the name in the report
    :param package: its distribution
    :param trigger: the path of its trigger's class
    :param arguments: returns the trigger's arguments for a batch id and an interval (seconds)
    :param connection: returns an Airflow connection for the service's URL and a budget (requests per minute)
    :param first_checks: does what its sensor does before it defers; returns further arguments by batch id
    """

    name: str
    package: str
    trigger: str
    arguments: Callable[[str, float], dict[str, Any]]
    connection: Callable[[str, int], dict[str, Any]]
    first_checks: Callable[[], dict[str, dict[str, Any]]] = dict

    def environment(self, url: str, budget: int) -> dict[str, str]:
        """Return the connection as an environment variable.

        :param budget: requests per minute, 0 for no limit
        """
        return {"AIRFLOW_CONN_BENCHMARK": json.dumps({"password": "benchmark-key", **self.connection(url, budget)})}

    def triggers(self) -> Callable[[str, float], Any]:
        """Import the trigger's class, and return a function that creates a trigger for a batch id and an interval."""
        module, _, name = self.trigger.rpartition(".")
        trigger_class = getattr(importlib.import_module(module), name)
        further = self.first_checks()
        return lambda batch_id, interval: trigger_class(
            **self.arguments(batch_id, interval), **further.get(batch_id, {})
        )


def _respan_connection(url: str, budget: int) -> dict[str, Any]:
    return {"conn_type": "respan", "host": url, "extra": {"requests_per_minute": budget}}


def _respan_first_checks() -> dict[str, dict[str, Any]]:
    """Log each batch as the sensor does, and return what was logged, so that the trigger does not repeat it."""
    from airflow_respan.hooks.respan import RespanHook
    from airflow_respan.waiting.policy import BatchWait

    hook, after, logged = RespanHook("benchmark"), None, {}
    while True:
        page = hook.list_batches(limit=100, after=after)
        for batch in page.batches:
            wait = BatchWait(batch_id=batch.id)
            wait.on_batch(batch)
            logged[batch.id] = {"last_logged": wait.last_logged}
        after = page.next_after
        if after is None:
            return logged


PROVIDERS = {
    provider.name: provider
    for provider in (
        Provider(
            name="respan",
            package="airflow-respan",
            trigger="airflow_respan.triggers.batch.RespanBatchTrigger",
            arguments=lambda batch_id, interval: {
                "respan_conn_id": "benchmark",
                "batch_id": batch_id,
                "poke_interval": interval,
                "timeout": DAY_SECONDS,
            },
            connection=_respan_connection,
            first_checks=_respan_first_checks,
        ),
        Provider(
            name="openai",
            package="apache-airflow-providers-openai",
            trigger="airflow.providers.openai.triggers.openai.OpenAIBatchTrigger",
            arguments=lambda batch_id, interval: {
                "conn_id": "benchmark",
                "batch_id": batch_id,
                "poll_interval": interval,
                "timeout": DAY_SECONDS,
            },
            connection=lambda url, _budget: {"conn_type": "openai", "host": f"{url}/v1"},
        ),
        Provider(
            name="anthropic",
            package="apache-airflow-providers-anthropic",
            trigger="airflow.providers.anthropic.triggers.batch.AnthropicBatchTrigger",
            arguments=lambda batch_id, interval: {
                "conn_id": "benchmark",
                "batch_id": batch_id,
                "poll_interval": interval,
                "end_time": time.time() + DAY_SECONDS,
            },
            connection=lambda url, _budget: {"conn_type": "anthropic", "host": url},
        ),
        Provider(
            name="common-ai",
            package="apache-airflow-providers-common-ai",
            trigger="airflow.providers.common.ai.triggers.llm_batch.LLMBatchTrigger",
            arguments=lambda batch_id, interval: {
                "llm_conn_id": "benchmark",
                "adapter": "openai",
                "batch_id": batch_id,
                "poll_interval": interval,
                "end_time": time.time() + DAY_SECONDS,
                "timeout": int(DAY_SECONDS),
                "cancel_on_kill": True,
                "cancel_on_timeout": False,
            },
            connection=lambda url, _budget: {"conn_type": "pydanticai", "host": f"{url}/v1"},
        ),
    )
}
OURS = PROVIDERS["respan"]

"""Who is measured: each provider's own trigger, made as its operator or sensor makes it.

The connection to the service stands in the environment, where a look-up costs next to nothing.
"""

from __future__ import annotations

import importlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from airflow_respan.get_provider_info import CONN_FIELDS

DAY = 24 * 3600.0


@dataclass(frozen=True, kw_only=True)
class Contender:
    """One provider.

    :param name: as the report has it
    :param package: its distribution
    :param trigger: the path of its trigger's class
    :param arguments: makes the trigger's arguments of a batch's id and an interval (seconds)
    :param connection: makes an Airflow connection of the service's address and a budget (requests per minute)
    :param first_looks: does what its sensor does before it defers; gives the further arguments for each batch's trigger
    """

    name: str
    package: str
    trigger: str
    arguments: Callable[[str, float], dict[str, Any]]
    connection: Callable[[str, int], dict[str, Any]]
    first_looks: Callable[[], dict[str, dict[str, Any]]] = dict

    def environment(self, url: str, budget: int) -> dict[str, str]:
        """Give the connection as an environment variable.

        :param budget: requests per minute, 0 for none
        """
        return {"AIRFLOW_CONN_BENCHMARK": json.dumps({"password": "benchmark-key", **self.connection(url, budget)})}

    def triggers(self) -> Callable[[str, float], Any]:
        """Import the trigger's class; gives what makes a trigger of a batch's id and an interval."""
        module, _, name = self.trigger.rpartition(".")
        trigger_class = getattr(importlib.import_module(module), name)
        seen = self.first_looks()
        return lambda batch_id, interval: trigger_class(**self.arguments(batch_id, interval), **seen.get(batch_id, {}))


def _respan_connection(url: str, budget: int) -> dict[str, Any]:
    # Releases without a budget refuse to be given one.
    extra = {"requests_per_minute": budget} if "requests_per_minute" in CONN_FIELDS else {}
    return {"conn_type": "respan", "host": url, "extra": extra}


def _respan_first_looks() -> dict[str, dict[str, Any]]:
    """Tell the log of each batch, as the sensor does, and the trigger that it was told."""
    from airflow_respan.hooks.respan import RespanHook
    from airflow_respan.waiting.policy import BatchWait

    hook, after, seen = RespanHook("benchmark"), None, {}
    while True:
        page = hook.list_batches(limit=100, after=after)
        for batch in page.batches:
            wait = BatchWait(batch_id=batch.id)
            wait.on_batch(batch)
            seen[batch.id] = {"told": wait.last_logged}
        after = page.next_after
        if after is None:
            return seen


CONTENDERS = {
    contender.name: contender
    for contender in (
        Contender(
            name="respan",
            package="airflow-provider-respan",
            trigger="airflow_respan.triggers.batch.RespanBatchTrigger",
            arguments=lambda batch_id, interval: {
                "respan_conn_id": "benchmark",
                "batch_id": batch_id,
                "poke_interval": interval,
                "timeout": DAY,
            },
            connection=_respan_connection,
            first_looks=_respan_first_looks,
        ),
        Contender(
            name="openai",
            package="apache-airflow-providers-openai",
            trigger="airflow.providers.openai.triggers.openai.OpenAIBatchTrigger",
            arguments=lambda batch_id, interval: {
                "conn_id": "benchmark",
                "batch_id": batch_id,
                "poll_interval": interval,
                "timeout": DAY,
            },
            connection=lambda url, _budget: {"conn_type": "openai", "host": f"{url}/v1"},
        ),
        Contender(
            name="anthropic",
            package="apache-airflow-providers-anthropic",
            trigger="airflow.providers.anthropic.triggers.batch.AnthropicBatchTrigger",
            arguments=lambda batch_id, interval: {
                "conn_id": "benchmark",
                "batch_id": batch_id,
                "poll_interval": interval,
                "end_time": time.time() + DAY,
            },
            connection=lambda url, _budget: {"conn_type": "anthropic", "host": url},
        ),
        Contender(
            name="common-ai",
            package="apache-airflow-providers-common-ai",
            trigger="airflow.providers.common.ai.triggers.llm_batch.LLMBatchTrigger",
            arguments=lambda batch_id, interval: {
                "llm_conn_id": "benchmark",
                "adapter": "openai",
                "batch_id": batch_id,
                "poll_interval": interval,
                "end_time": time.time() + DAY,
                "timeout": int(DAY),
                "cancel_on_kill": True,
                "cancel_on_timeout": False,
            },
            connection=lambda url, _budget: {"conn_type": "pydanticai", "host": f"{url}/v1"},
        ),
    )
}
OURS = CONTENDERS["respan"]

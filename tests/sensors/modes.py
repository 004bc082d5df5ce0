"""Runs a sensor in each mode as Airflow does, without its database: each of Airflow's processes is a fresh sensor."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pendulum
from airflow.providers.common.compat.sdk import AirflowSkipException, TaskDeferred
from airflow.triggers.base import BaseTrigger

from airflow_respan.compat import AirflowRescheduleException
from airflow_respan.sensors.batch import RespanBatchSensor
from airflow_respan.triggers.batch import RespanBatchTrigger
from airflow_respan.triggers.batches import RespanBatchesTrigger
from tests.task_instance import TaskInstance


@dataclass
class Outcome:
    """What came of a task."""

    ti: TaskInstance
    value: Any = None
    error: BaseException | None = None
    deferrals: int = 0

    @property
    def state(self) -> str:
        if self.error is None:
            return "success"
        return "skipped" if isinstance(self.error, AirflowSkipException) else "failed"


def make_sensor(mode: str, **options: Any) -> RespanBatchSensor:
    """Make a sensor for one of the three modes."""
    modes = {"poke": {}, "reschedule": {"mode": "reschedule"}, "deferrable": {"deferrable": True}}
    return RespanBatchSensor(task_id="wait", **{"deferrable": False, "poke_interval": 0.2, **modes[mode], **options})


def wait_for(batch_id: Any, mode: str, **options: Any) -> Outcome:
    """Run a sensor to its end."""
    outcome = Outcome(ti=TaskInstance())
    context: Any = {"ti": outcome.ti}
    step: Callable[[RespanBatchSensor], Any] = lambda sensor: sensor.execute(context)  # noqa: E731 (it changes below)
    while True:
        try:
            outcome.value = step(make_sensor(mode, batch_id=batch_id, **options))
        except AirflowRescheduleException as reschedule:
            outcome.ti.first_poke = outcome.ti.first_poke or outcome.ti.start_date
            sleep_until(reschedule.reschedule_date)
            outcome.ti.start_date = pendulum.now("UTC")
            continue
        except TaskDeferred as deferred:
            outcome.deferrals += 1
            event = asyncio.run(first_event(through_the_database(deferred.trigger)))
            name, kwargs = deferred.method_name, {**(deferred.kwargs or {}), "event": event}
            step = lambda sensor: sensor.resume_execution(name, kwargs, context)  # noqa: B023, E731 (called before the next turn)
            continue
        except Exception as error:  # noqa: BLE001 (an outcome like any other)
            outcome.error = error
        return outcome


TRIGGERS = {
    "airflow_respan.triggers.batch.RespanBatchTrigger": RespanBatchTrigger,
    "airflow_respan.triggers.batches.RespanBatchesTrigger": RespanBatchesTrigger,
}


def through_the_database(trigger: BaseTrigger) -> Any:
    """Write a trigger down and read it again, as on its way to a triggerer."""
    class_path, kwargs = trigger.serialize()
    return TRIGGERS[class_path](**json.loads(json.dumps(kwargs)))


async def first_event(trigger: BaseTrigger) -> Any:
    """Run a trigger, as a triggerer does, and insist that it yields one event."""
    events = [event.payload async for event in trigger.run()]
    assert len(events) == 1
    return json.loads(json.dumps(events[0]))


def sleep_until(moment: pendulum.DateTime) -> None:
    """Do what the scheduler does: nothing, until it is time."""
    while (left := (moment - pendulum.now("UTC")).total_seconds()) > 0:
        time.sleep(left)

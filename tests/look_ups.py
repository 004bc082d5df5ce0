"""Counts the look-ups of connections, and lets them hang: a secrets backend for Airflow that has no connection."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any, ClassVar

from airflow.secrets.base_secrets import BaseSecretsBackend


class CountingBackend(BaseSecretsBackend):
    """Airflow asks it first, and then reads the environment.

    Airflow keeps one object of it for the rest of the process, so the state is in the class.
    """

    look_ups: ClassVar[Counter[str]] = Counter()
    answers: ClassVar[threading.Event] = threading.Event()

    def get_connection(self, conn_id: str, *_args: Any, **_kwargs: Any) -> None:
        self.look_ups[conn_id] += 1
        self.answers.wait(60)

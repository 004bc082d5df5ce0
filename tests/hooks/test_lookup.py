"""What the look-up of a connection makes of errors that are not Airflow's."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from airflow_respan.exceptions import RespanConfigurationError
from airflow_respan.hooks.lookup import look_up_settings

KEY = "key-that-no-error-may-show"


def test_a_connection_that_cannot_be_read_is_no_outage_to_wait_for() -> None:
    found = SimpleNamespace(password=KEY, host=None, schema=None, port="http", extra_dejson={})
    hook: Any = SimpleNamespace(get_connection=lambda conn_id: found)

    with pytest.raises(RespanConfigurationError) as refused:
        look_up_settings(hook, "respan_default")

    assert str(refused.value) == (
        "Airflow connection 'respan_default' was found, but could not be read (TypeError). Check its fields; if they "
        "are valid, this is a defect of airflow_respan."
    )
    assert refused.value.__cause__ is None

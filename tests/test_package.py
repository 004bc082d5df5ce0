"""The published package: what its modules import and how long that takes, the provider info, the version."""

from __future__ import annotations

import importlib
import json
import math
import os
import subprocess
import sys
from importlib.metadata import entry_points, version
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import airflow_respan
from airflow_respan.api.connection import RespanConnection
from airflow_respan.api.connection_fields import CONNECTION_FIELDS
from airflow_respan.get_provider_info import CONN_FIELDS, get_provider_info
from airflow_respan.hooks.respan import RespanHook

PACKAGE = Path(airflow_respan.__file__).parent


def run_python(code: str, **variables: str) -> str:
    # The measured time must include neither coverage nor compiling, because an installed package is compiled.
    removed = ("COVERAGE", "PYTHONDONTWRITEBYTECODE")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(removed)} | variables
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[-1]


@pytest.mark.parametrize(
    "module", ["airflow_respan.sensors.batch", "airflow_respan.operators.batch", "airflow_respan.hooks.respan"]
)
def test_parsing_a_dag_imports_no_slow_library(module: str) -> None:
    code = f"""
import sys
import airflow.sdk
from airflow.providers.common.compat.sdk import BaseOperator, BaseSensorOperator, BaseHook
before = set(sys.modules)
import {module}
slow = {{'aiohttp', 'yarl', 'certifi', 'pyarrow', 'fsspec', 'upath'}}
print(sorted({{name.split('.')[0] for name in set(sys.modules) - before}} & slow))
"""
    assert run_python(code) == "[]"


def test_requests_is_not_imported_by_our_modules() -> None:
    code = """
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in ('requests', 'aiohttp'):
            caller = sys._getframe(1)
            while caller is not None:
                if caller.f_globals.get('__name__', '').startswith('airflow_respan'):
                    raise AssertionError(f"{name} imported by {caller.f_globals['__name__']}")
                caller = caller.f_back
        return None

for loaded in [name for name in sys.modules if name.split('.')[0] in ('requests', 'aiohttp')]:
    del sys.modules[loaded]
sys.meta_path.insert(0, Refuse())
import airflow_respan.sensors.batch, airflow_respan.operators.batch
print('clean')
"""
    assert run_python(code) == "clean"


def test_importing_what_reads_answers_imports_no_library_that_only_some_types_need() -> None:
    """Airflow imports two of them itself, so it counts which module asks for them."""
    code = """
import builtins

real = builtins.__import__

def refuse(name, globals=None, *args, **kwargs):
    caller = (globals or {}).get('__name__', '')
    if name.split('.')[0] in ('pyarrow', 'pydantic', 'jsonschema') and caller.startswith('airflow_respan'):
        raise AssertionError(f'{name} imported by {caller}')
    return real(name, globals, *args, **kwargs)

builtins.__import__ = refuse
import airflow_respan.results, airflow_respan.results.response_format
print('clean')
"""
    assert run_python(code) == "clean"


@pytest.mark.parametrize("module", ["airflow_respan.sensors.batch", "airflow_respan.operators.batch"])
def test_importing_tasks_costs_less_than_a_quarter_of_importing_requests(module: str, tmp_path: Path) -> None:
    timed = "; t = time.process_time(); import {}; print(time.process_time() - t)"
    ours = "import airflow.sdk, time" + timed.format(module)
    theirs = "import time" + timed.format("requests")

    # The smallest of several processor times, because the machine may be busy; if three are not enough, of up to ten.
    variables = {"PYTHONPYCACHEPREFIX": str(tmp_path)}
    best = dict.fromkeys((ours, theirs), math.inf)
    for attempt in range(10):
        best = {code: min(seconds, float(run_python(code, **variables))) for code, seconds in best.items()}
        if attempt >= 2 and best[ours] < best[theirs] / 4:
            break

    assert best[ours] < best[theirs] / 4


def test_the_provider_info_is_valid_by_airflows_schema() -> None:
    import airflow

    schema = json.loads((Path(airflow.__file__).parent / "provider_info.schema.json").read_text())
    info = get_provider_info()

    jsonschema.validate(info, schema)
    assert info["package-name"] == "airflow-respan"
    assert info["versions"] == [airflow_respan.__version__] == [version("airflow-respan")]


def test_everything_that_the_provider_info_names_exists() -> None:
    info = get_provider_info()

    for kind in ("hooks", "operators", "sensors", "triggers"):
        for entry in info[kind]:
            for module in entry["python-modules"]:
                importlib.import_module(module)
    [connection_type] = info["connection-types"]
    module, _dot, name = connection_type["hook-class-name"].rpartition(".")
    hook = getattr(importlib.import_module(module), name)
    assert hook is RespanHook
    assert (hook.conn_type, hook.hook_name) == (connection_type["connection-type"], connection_type["hook-name"])
    assert (hook.conn_name_attr, hook.default_conn_name) == ("respan_conn_id", "respan_default")


def test_airflow_finds_the_provider() -> None:
    [entry_point] = entry_points(group="apache_airflow_provider", name="provider_info").select(
        module="airflow_respan.get_provider_info"
    )

    assert entry_point.load()() == get_provider_info()


def test_the_form_shows_every_field_that_the_hook_reads() -> None:
    settings = {conn_field.name: conn_field.example for conn_field in CONNECTION_FIELDS}

    connection = RespanConnection.from_airflow(
        conn_id="respan_default", password="key", host=None, schema=None, port=None, extra=settings
    )

    assert {name: getattr(connection, name) for name in CONN_FIELDS} == settings
    assert all(conn_field.example != conn_field.default for conn_field in CONNECTION_FIELDS)


def test_older_airflow_versions_get_the_same_form_from_the_hook() -> None:
    widgets: dict[str, Any] = RespanHook.get_connection_form_widgets()

    assert {name: widget.args[0] for name, widget in widgets.items()} == {
        name: conn_field["label"] for name, conn_field in CONN_FIELDS.items()
    }


def test_older_airflow_versions_get_the_same_labels_from_the_hook() -> None:
    behaviour = RespanHook.get_ui_field_behaviour()

    assert behaviour["hidden_fields"] == ["schema", "login"]
    assert behaviour["relabeling"] == {"password": "API key", "host": "Base URL"}


def test_older_airflow_versions_show_objects_as_json_and_keep_all_values() -> None:
    from wtforms import Form, PasswordField

    widgets: dict[str, Any] = RespanHook.get_connection_form_widgets()
    form = type("ConnectionForm", (Form,), widgets)(data={"headers": {"X-Team": "it's"}, "timeout": 5})

    assert 'value="{&#34;X-Team&#34;: &#34;it&#39;s&#34;}"' in form.headers()
    assert (form.timeout(), form.provider_id()) == (
        '<input class="form-control" id="timeout" name="timeout" type="text" value="5">',
        '<input class="form-control" id="provider_id" name="provider_id" type="text" value="">',
    )
    # Airflow 2 shows a PasswordField empty, and deletes its value when it saves.
    assert not any(isinstance(form_field, PasswordField) for form_field in form)

"""The published package: what its modules import and how long that takes, the provider info, the version."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from importlib.metadata import entry_points, version
from pathlib import Path
from typing import Any

import jsonschema

import airflow_respan
from airflow_respan.api.connection import RespanConnection
from airflow_respan.api.connection_fields import CONNECTION_FIELDS
from airflow_respan.get_provider_info import CONN_FIELDS, get_provider_info
from airflow_respan.hooks.respan import RespanHook
from tests.conftest import environment_without_coverage

PACKAGE = Path(airflow_respan.__file__).parent


TASKS = ["airflow_respan.sensors.batch", "airflow_respan.operators.batch"]
FORKED = """
import json, os, sys, time

def in_a_fork(measure, *arguments):
    read, write = os.pipe()
    if not os.fork():
        os.write(write, json.dumps(measure(*arguments)).encode())
        os._exit(0)
    os.close(write)
    with open(read, "rb") as pipe:
        return json.loads(pipe.read())

def seconds_of_import(module):
    started = time.process_time()
    __import__(module)
    return time.process_time() - started
"""
"""Functions that import modules in forks of one process, so that Airflow is imported only once for all of them."""


def run_python(code: str) -> Any:
    # The measured time must not include coverage.
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment_without_coverage(),
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def test_parsing_a_dag_imports_no_slow_library() -> None:
    code = f"""{FORKED}
import airflow.sdk
from airflow.providers.common.compat.sdk import BaseOperator, BaseSensorOperator, BaseHook

def slow_libraries(module):
    before = set(sys.modules)
    __import__(module)
    slow = {{'aiohttp', 'yarl', 'certifi', 'pyarrow', 'fsspec', 'upath'}}
    return sorted({{name.split('.')[0] for name in set(sys.modules) - before}} & slow)

print(json.dumps({{module: in_a_fork(slow_libraries, module) for module in {[*TASKS, "airflow_respan.hooks.respan"]}}}))
"""
    assert run_python(code) == {module: [] for module in [*TASKS, "airflow_respan.hooks.respan"]}


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
print('"clean"')
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
print('"clean"')
"""
    assert run_python(code) == "clean"


ATTEMPTS = 10


def test_importing_tasks_costs_less_than_a_quarter_of_importing_requests(tmp_path: Path) -> None:
    # The smallest of several processor times, because the machine may be busy. The first one includes compiling, which
    # an installed package does not need.
    smallest = f"""
sys.dont_write_bytecode, sys.pycache_prefix = False, {str(tmp_path)!r}
print(json.dumps({{
    module: min(in_a_fork(seconds_of_import, module) for _ in range({ATTEMPTS})) for module in MODULES
}}))
"""

    ours = run_python(f"{FORKED}import airflow.sdk\n{smallest}".replace("MODULES", repr(TASKS)))
    [theirs] = run_python(f"{FORKED}{smallest}".replace("MODULES", '["requests"]')).values()

    assert ours.keys() == set(TASKS)
    assert max(ours.values()) < theirs / 4, (ours, theirs)


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

"""The description of this provider for Airflow, the connection form included.

Airflow reads it when it starts (entry point ``apache_airflow_provider``), so this module imports nothing slow. Airflow
3.2 and later build the form from ``conn-fields`` and ``ui-field-behaviour``. For earlier versions,
``hooks/connection_form.py`` builds the form from the same data.
"""

from __future__ import annotations

from typing import Any

import airflow_respan
from airflow_respan.api.connection_fields import CONNECTION_FIELDS, Kind

CONN_TYPE = "respan"
DEFAULT_CONN_ID = "respan_default"
HOOK_NAME = "Respan"
HOOK_CLASS = "airflow_respan.hooks.respan.RespanHook"

UI_FIELD_BEHAVIOUR: dict[str, Any] = {
    "hidden-fields": ["schema", "login"],
    "relabeling": {"password": "API key", "host": "Base URL"},
    "placeholders": {
        "host": "https://api.respan.ai",
        "password": "from platform.respan.ai/platform/api-keys",
        "port": "443",
    },
}


# From Airflow 3.3 on, an object is shown and saved as JSON; in earlier versions only text works. A field with the type
# object alone gets an editor that formats the text after each key, so typing goes wrong (3.3.2).
_OBJECT = {"type": ["string", "object", "null"]}
_TEXT = {"type": ["string", "null"]}
_SCHEMAS: dict[Kind, dict[str, Any]] = {
    Kind.TEXT: _TEXT,
    Kind.CHOICE: _TEXT,
    Kind.SECONDS: {"type": ["integer", "null"], "minimum": 1},
    Kind.COUNT: {"type": ["integer", "null"], "minimum": 0},
    Kind.FLAG: {"type": ["boolean", "null"]},
    Kind.FLAG_OR_PATH: _TEXT,
    Kind.OBJECT: _OBJECT,
    Kind.PROXIES: _OBJECT,
    Kind.HEADERS: _OBJECT,
}

CONN_FIELDS: dict[str, dict[str, Any]] = {
    conn_field.name: {
        "label": conn_field.label,
        "description": conn_field.help,
        "schema": {
            **_SCHEMAS[conn_field.kind],
            **({"enum": list(conn_field.choices)} if conn_field.choices else {}),
        },
    }
    for conn_field in CONNECTION_FIELDS
}


def get_provider_info() -> dict[str, Any]:
    """Return the description of the provider, valid by Airflow's ``provider_info.schema.json``."""
    return {
        "package-name": "airflow-respan",
        "name": "Respan",
        "description": "Send, await and collect batches of LLM requests with `Respan <https://respan.ai/>`__.",
        "versions": [airflow_respan.__version__],
        "integrations": [
            {
                "integration-name": "Respan",
                "external-doc-url": "https://docs.respan.ai/",
                "tags": ["service"],
            }
        ],
        "hooks": [{"integration-name": "Respan", "python-modules": ["airflow_respan.hooks.respan"]}],
        "sensors": [{"integration-name": "Respan", "python-modules": ["airflow_respan.sensors.batch"]}],
        "operators": [{"integration-name": "Respan", "python-modules": ["airflow_respan.operators.batch"]}],
        "triggers": [{"integration-name": "Respan", "python-modules": ["airflow_respan.triggers.batch"]}],
        "task-decorators": [
            {"name": "respan_batch", "class-name": "airflow_respan.decorators.respan_batch.respan_batch_task"}
        ],
        "hook-class-names": [HOOK_CLASS],
        "connection-types": [
            {
                "connection-type": CONN_TYPE,
                "hook-class-name": HOOK_CLASS,
                "hook-name": HOOK_NAME,
                "ui-field-behaviour": UI_FIELD_BEHAVIOUR,
                "conn-fields": CONN_FIELDS,
            }
        ],
    }

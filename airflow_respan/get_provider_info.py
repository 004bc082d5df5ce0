"""What Airflow is told about this provider; the one place that describes the connection form.

Read by Airflow itself at start-up (the entry point ``apache_airflow_provider``), so it imports nothing heavy.
Airflow 3.2 and later make the form of ``conn-fields`` and ``ui-field-behaviour``; for earlier ones ``RespanHook``
turns the same data into widgets.
"""

from __future__ import annotations

from typing import Any

import airflow_respan

CONN_TYPE = "respan"
DEFAULT_CONN_ID = "respan_default"
HOOK_NAME = "Respan"
HOOK_CLASS = "airflow_respan.hooks.respan.RespanHook"

UI_FIELD_BEHAVIOUR: dict[str, Any] = {
    "hidden-fields": ["schema", "login", "port"],
    "relabeling": {"password": "API key", "host": "Base URL"},
    "placeholders": {
        "host": "https://api.respan.ai",
        "password": "from platform.respan.ai/platform/api-keys",
    },
}


def _field(label: str, description: str, kind: str = "string", **schema: Any) -> dict[str, Any]:
    return {"label": label, "description": description, "schema": {"type": [kind, "null"], **schema}}


CONN_FIELDS: dict[str, dict[str, Any]] = {
    "provider_id": _field(
        "Provider", "Route batches to this provider, such as openai or parasail. Empty: Respan decides."
    ),
    "respan_params": _field(
        "Tracking parameters",
        'JSON object sent with every batch call, such as {"customer_identifier": "user123"}.',
    ),
    "respan_params_encoding": _field(
        "Encoding of tracking parameters",
        "How the header X-Data-Respan-Params is written: json (default) or base64.",
        enum=["json", "base64"],
    ),
    "timeout": _field(
        "Time-out (seconds)",
        "A call without a whole answer is given up after this. Default: 30.",
        "integer",
        minimum=1,
    ),
    "verify": _field(
        "Check certificate", "true (default), false, or the path of a CA bundle on workers and triggerers."
    ),
    "proxies": _field(
        "Proxies",
        'JSON object such as {"https": "http://proxy:3128"}. Empty: the environment decides.',
        format="password",
    ),
    "headers": _field("Further headers", "JSON object of HTTP headers for every call.", format="password"),
    "allow_http": _field(
        "Allow plain http", "Send the API key unencrypted to a host that is not this machine.", "boolean"
    ),
}


def get_provider_info() -> dict[str, Any]:
    """Describe the provider in the form of Airflow's ``provider_info.schema.json``."""
    return {
        "package-name": "airflow-provider-respan",
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
        "triggers": [{"integration-name": "Respan", "python-modules": ["airflow_respan.triggers.batch"]}],
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


def form_behaviour() -> dict[str, Any]:
    """Give ``UI_FIELD_BEHAVIOUR`` as a hook's ``get_ui_field_behaviour`` spells it."""
    return {name.replace("-", "_"): value for name, value in UI_FIELD_BEHAVIOUR.items()}


def form_widgets() -> dict[str, Any]:
    """Give ``CONN_FIELDS`` as a hook's ``get_connection_form_widgets`` wants them: WTForms fields."""
    from wtforms import BooleanField, IntegerField, PasswordField, StringField
    from wtforms.validators import Optional, any_of

    kinds = {
        "string": StringField,
        "integer": IntegerField,
        "boolean": BooleanField,
        "password": PasswordField,
    }
    widgets = {}
    for name, conn_field in CONN_FIELDS.items():
        schema = conn_field["schema"]
        validators = [Optional(), *([any_of(schema["enum"])] if "enum" in schema else [])]
        kind = kinds[schema.get("format", schema["type"][0])]
        widgets[name] = kind(conn_field["label"], validators=validators, description=conn_field["description"])
    return widgets

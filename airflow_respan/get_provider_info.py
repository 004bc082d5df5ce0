"""What Airflow is told about this provider; the one place that describes the connection form.

Read by Airflow itself at start-up (the entry point ``apache_airflow_provider``), so it imports nothing heavy.
Airflow 3.2 and later make the form of ``conn-fields`` and ``ui-field-behaviour``; for earlier ones ``RespanHook``
turns the same data into widgets.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import airflow_respan

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


def _field(label: str, description: str, *kinds: str, **schema: Any) -> dict[str, Any]:
    return {"label": label, "description": description, "schema": {"type": [*(kinds or ["string"]), "null"], **schema}}


# Airflow 3.3 shows an object as JSON, and saves what can be read as one; those before know the text alone. An object
# and nothing else would get an editor in which typing goes wrong: it formats what is there after each key (3.3.2).
_JSON = ("string", "object")


CONN_FIELDS: dict[str, dict[str, Any]] = {
    "provider_id": _field(
        "Provider", "Route batches to this provider, such as openai or parasail. Empty: Respan decides."
    ),
    "respan_params": _field(
        "Tracking parameters",
        'JSON object sent with every batch call, such as {"customer_identifier": "user123"}.',
        *_JSON,
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
    "requests_per_minute": _field(
        "Requests a minute",
        "What the deferred waits of one triggerer share, at most. Default: 60, the service's limit; 0: no limit.",
        "integer",
        minimum=0,
    ),
    "verify": _field(
        "Check certificate", "true (default), false, or the path of a CA bundle on workers and triggerers."
    ),
    "proxies": _field(
        "Proxies",
        'JSON object such as {"https": "http://proxy:3128"}. Empty: the environment decides.',
        *_JSON,
    ),
    "headers": _field(
        "Further headers", 'JSON object of HTTP headers for every call, such as {"X-Team": "data"}.', *_JSON
    ),
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
        "operators": [{"integration-name": "Respan", "python-modules": ["airflow_respan.operators.batch"]}],
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
    """Give ``CONN_FIELDS`` as a hook's ``get_connection_form_widgets`` wants them: WTForms fields.

    No field is a ``PasswordField``: Airflow 2 shows that empty, and saving the form would then delete its value.
    """
    from wtforms import BooleanField, IntegerField, StringField
    from wtforms.validators import Optional, any_of

    kinds = {
        "string": (StringField, _text_input),
        "integer": (IntegerField, _text_input),
        "boolean": (BooleanField, None),
    }
    widgets = {}
    for name, conn_field in CONN_FIELDS.items():
        schema = conn_field["schema"]
        kind, widget = kinds[schema["type"][0]]
        validators = [Optional(), *([any_of(schema["enum"])] if "enum" in schema else [])]
        widgets[name] = kind(
            conn_field["label"], validators=validators, description=conn_field["description"], widget=widget
        )
    return widgets


def _text_input(form_field: Any, **attributes: Any) -> Any:
    """Draw a field as wide as Airflow 2 draws its own, and an object as JSON, not as Python would print it."""
    from wtforms.widgets import TextInput

    if isinstance(form_field.data, Mapping):
        form_field.data = json.dumps(form_field.data)
    return TextInput()(form_field, **{**attributes, "class": "form-control"})

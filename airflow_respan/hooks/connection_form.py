"""The connection form for Airflow before 3.2, built of WTForms fields from the provider info.

Airflow 3.2 and later build the form from the provider info themselves.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from airflow_respan.get_provider_info import CONN_FIELDS, UI_FIELD_BEHAVIOUR


def form_behaviour() -> dict[str, Any]:
    """Return ``UI_FIELD_BEHAVIOUR`` with the key names that a hook's ``get_ui_field_behaviour`` must return."""
    return {name.replace("-", "_"): value for name, value in UI_FIELD_BEHAVIOUR.items()}


def form_widgets() -> dict[str, Any]:
    """Return ``CONN_FIELDS`` as WTForms fields, as a hook's ``get_connection_form_widgets`` must return them.

    No field is a ``PasswordField``, because Airflow 2 shows such a field empty and deletes its value when it saves.
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
    """Return the HTML of a field as wide as Airflow 2's own fields, with an object written as JSON."""
    from wtforms.widgets import TextInput

    if isinstance(form_field.data, Mapping):
        form_field.data = json.dumps(form_field.data)
    return TextInput()(form_field, **{**attributes, "class": "form-control"})

"""The connection form for Airflow before 3.2, which asks the hook for WTForms fields.

Later versions read the provider info.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from airflow_respan.get_provider_info import CONN_FIELDS, UI_FIELD_BEHAVIOUR


def form_behaviour() -> dict[str, Any]:
    """Return ``UI_FIELD_BEHAVIOUR`` as a hook's ``get_ui_field_behaviour`` spells it."""
    return {name.replace("-", "_"): value for name, value in UI_FIELD_BEHAVIOUR.items()}


def form_widgets() -> dict[str, Any]:
    """Return ``CONN_FIELDS`` as a hook's ``get_connection_form_widgets`` wants them: WTForms fields.

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

"""What a plain Airflow says of the installed package; run by its own Python, it prints JSON as its last line.

python -P inside.py imports MODULE ...
python -P inside.py imports_again MODULE ...
python -P inside.py origin
python -P inside.py form
"""

from __future__ import annotations

import importlib
import json
import sys
import warnings
from collections.abc import Callable
from importlib.metadata import distribution
from typing import Any


def imports(*modules: str) -> str | None:
    """Import them; with ``python -W error`` the first warning is the end.

    :return: the warning, if there was one
    """
    try:
        for module in modules:
            importlib.import_module(module)
    except Warning as warning:
        return f"{type(warning).__name__}: {warning}"
    return None


def imports_again(*modules: str) -> str | None:
    """Import them, and once more with warnings as errors, so that what others warn of at their own import is past."""
    imports(*modules)
    for name in [name for name in sys.modules if name.partition(".")[0] == "airflow_respan"]:
        del sys.modules[name]
    warnings.simplefilter("error")
    return imports(*modules)


def origin() -> dict[str, Any]:
    """Say where the package lies, and of which files it is."""
    files = distribution("airflow-provider-respan").files or []
    return {"file": importlib.import_module("airflow_respan").__file__, "files": [str(file) for file in files]}


def form() -> dict[str, Any]:
    """Say what this Airflow makes of the connection form, in one shape for all lines."""
    if importlib.import_module("airflow").__version__.startswith("2."):
        return _form_of_widgets()
    service = importlib.import_module("airflow.api_fastapi.core_api.services.ui.connections").HookMetaService
    [meta] = [meta for meta in service.hook_meta_data() if meta.connection_type == "respan"]
    shown = json.loads(meta.model_dump_json())
    standard = {
        {"url_schema": "schema"}.get(name, name): field
        for name, field in (shown["standard_fields"] or {}).items()
        if field
    }
    return {
        "hook": [shown["hook_class_name"], shown["hook_name"]],
        "hidden": sorted(name for name, field in standard.items() if field["hidden"]),
        "relabeling": {name: field["title"] for name, field in standard.items() if field["title"]},
        "placeholders": {name: field["placeholder"] for name, field in standard.items() if field["placeholder"]},
        "fields": [
            [
                name,
                param["schema"]["title"],
                param["description"],
                param["schema"].get("format", param["schema"]["type"][0]),
                param["schema"].get("enum"),
            ]
            for name, param in (shown["extra_fields"] or {}).items()
        ],
    }


def _form_of_widgets() -> dict[str, Any]:
    manager = importlib.import_module("airflow.providers_manager").ProvidersManager()
    hook, behaviour = manager.hooks["respan"], manager.field_behaviours["respan"]
    fields = []
    for key, widget in manager.connection_form_widgets.items():
        if key.startswith("extra__respan__"):
            field = widget.field  # WTForms keeps what a field will be made of
            allowed = [list(v.values) for v in field.kwargs["validators"] if hasattr(v, "values")]
            kind = field.field_class.__name__.removesuffix("Field").lower()
            fields.append(
                [widget.field_name, field.args[0], field.kwargs["description"], kind, allowed[0] if allowed else None]
            )
    return {
        "hook": [hook.hook_class_name, hook.hook_name],
        "hidden": sorted(behaviour["hidden_fields"]),
        "relabeling": behaviour["relabeling"],
        "placeholders": behaviour["placeholders"],
        "fields": fields,
    }


if __name__ == "__main__":
    questions: dict[str, Callable[..., Any]] = {
        question.__name__: question for question in (imports, imports_again, origin, form)
    }
    print(json.dumps(questions[sys.argv[1]](*sys.argv[2:])))

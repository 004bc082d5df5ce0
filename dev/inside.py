"""Questions about the installed package, answered inside a plain environment.

Its own Python runs this file, which prints the answer as JSON in the last line:

python -P inside.py imports MODULE ...
python -P inside.py imports_again MODULE ...
python -P inside.py origin
python -P inside.py form
python -P inside.py example_bundles
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
    """Import modules; with ``python -W error`` the first warning ends this.

    :return: the warning, or None
    """
    try:
        for module in modules:
            importlib.import_module(module)
    except Warning as warning:
        return f"{type(warning).__name__}: {warning}"
    return None


def imports_again(*modules: str) -> str | None:
    """Import modules, and import our modules once more with warnings as errors.

    Other packages may warn when they are imported; at the second time they are there already.

    :return: the warning of our modules, or None
    """
    imports(*modules)
    for name in [name for name in sys.modules if name.partition(".")[0] == "airflow_respan"]:
        del sys.modules[name]
    warnings.simplefilter("error")
    return imports(*modules)


def origin() -> dict[str, Any]:
    """Return the file of the package, and all files that were installed with it."""
    files = distribution("airflow-respan").files or []
    return {"file": importlib.import_module("airflow_respan").__file__, "files": [str(file) for file in files]}


def form() -> dict[str, Any]:
    """Return the connection form as this Airflow shows it, in the same shape for all lines."""
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


def example_bundles() -> dict[str, Any]:
    """Return the folders of DAGs that Airflow adds by its default ``load_examples``, and what it logs about them."""
    logged: list[str] = []
    manager = importlib.import_module("airflow.dag_processing.bundles.manager")
    manager.log.exception = lambda message, *values, **_: logged.append(f"{message} {values}")
    bundles = manager.DagBundlesManager()
    return {"bundles": sorted(bundle.name for bundle in bundles.get_all_dag_bundles()), "logged": logged}


def _form_of_widgets() -> dict[str, Any]:
    manager = importlib.import_module("airflow.providers_manager").ProvidersManager()
    hook, behaviour = manager.hooks["respan"], manager.field_behaviours["respan"]
    fields = []
    for key, widget in manager.connection_form_widgets.items():
        if key.startswith("extra__respan__"):
            field = widget.field  # WTForms stores the arguments from which it will create the field
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
        question.__name__: question for question in (imports, imports_again, origin, form, example_bundles)
    }
    print(json.dumps(questions[sys.argv[1]](*sys.argv[2:])))

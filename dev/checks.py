"""What must be true of the wheel in a plain environment, whichever the Airflow."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

from airflow_respan.get_provider_info import CONN_FIELDS, HOOK_CLASS, HOOK_NAME, UI_FIELD_BEHAVIOUR
from dev.plain_environment import PlainEnvironment

PACKAGE = "airflow-provider-respan"
INSIDE = str(Path(__file__).parent / "inside.py")
IMPORTED_OF_AIRFLOW = (
    "airflow.triggers.base",
    "airflow.providers.common.compat.sdk",
    "airflow.providers.common.compat.connection",
)

WHOLE_FORM: dict[str, Any] = {
    "hook": [HOOK_CLASS, HOOK_NAME],
    "hidden": sorted(UI_FIELD_BEHAVIOUR["hidden-fields"]),
    "relabeling": UI_FIELD_BEHAVIOUR["relabeling"],
    "placeholders": UI_FIELD_BEHAVIOUR["placeholders"],
    "fields": [
        [
            name,
            shown["label"],
            shown["description"],
            shown["schema"].get("format", shown["schema"]["type"][0]),
            shown["schema"].get("enum"),
        ]
        for name, shown in CONN_FIELDS.items()
    ],
}
NO_FORM: dict[str, Any] = {"hook": WHOLE_FORM["hook"], "hidden": [], "relabeling": {}, "placeholders": {}, "fields": []}


class CheckError(Exception):
    """Something is not as it should be: what, and how it is instead."""


def check_origin(plain: PlainEnvironment, wheel: Path) -> list[str]:
    """Check that the package is the wheel's.

    :return: its modules
    """
    held = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("airflow_respan/")}
    origin = ask(plain, "origin", "-P", INSIDE, "origin")
    if not Path(origin["file"]).is_relative_to(plain.venv):
        raise CheckError(f"airflow_respan was imported from {origin['file']}, not from {plain.venv}")
    compare("installed files", {name for name in origin["files"] if name in held}, held)
    modules = {name.removesuffix(".py").removesuffix("/__init__") for name in held if name.endswith(".py")}
    return sorted(module.replace("/", ".") for module in modules)


def check_imports(plain: PlainEnvironment, modules: list[str]) -> list[str]:
    """Check that importing our modules makes no warning; where Airflow alone makes one, that ours make none more."""
    ours = ask(plain, "imports", "-P", "-W", "error", INSIDE, "imports", *modules)
    if ours is None:
        return []
    airflows = ask(plain, "imports-airflow", "-P", "-W", "error", INSIDE, "imports", *IMPORTED_OF_AIRFLOW)
    if airflows is None:
        raise CheckError(f"python -W error, importing our modules: {ours}")
    again = ask(plain, "imports-again", "-P", INSIDE, "imports_again", *modules)
    compare("our modules imported again under -W error", again, None)
    return [f"cannot be imported under -W error itself ({airflows}); ours were, after it"]


def check_provider(plain: PlainEnvironment) -> None:
    """Check that Airflow lists the provider, its hook and its trigger."""
    expected: dict[str, list[dict[str, str]]] = {
        "get": [{"Provider": PACKAGE}],
        "hooks": [{"connection_type": "respan", "class": HOOK_CLASS, "package_name": PACKAGE, "hook_name": HOOK_NAME}],
        "triggers": [{"package_name": PACKAGE, "class": "airflow_respan.triggers.batch", "integration_name": "Respan"}],
    }
    for command, rows in expected.items():
        which = [PACKAGE] if command == "get" else []
        listed = ask(plain, f"providers-{command}", "-m", "airflow", "providers", command, *which, "-o", "json")
        ours = [row for row in listed if PACKAGE in row.values()]
        shown = [{key: row.get(key) for key in rows[0]} for row in ours]
        compare(f"airflow providers {command}", shown, rows)


def check_form(plain: PlainEnvironment, form: dict[str, Any]) -> None:
    """Check the connection form, its fields in order."""
    compare("connection form", ask(plain, "form", "-P", INSIDE, "form"), form)


def ask(plain: PlainEnvironment, what: str, *arguments: str, **settings: str) -> Any:
    """Run the environment's Python, and read the JSON in the last line: Airflow may log before it."""
    said = plain.run_python(what, *arguments, **settings).strip().splitlines()
    try:
        return json.loads(said[-1])
    except (ValueError, IndexError):
        raise CheckError(f"{what}: its last line is no JSON: {said[-1:]}") from None


def compare(what: str, seen: object, expected: object) -> None:
    """Insist that they are the same."""
    if seen != expected:
        raise CheckError(f"{what}:\n  seen      {seen}\n  expected  {expected}")

"""The checks that the wheel must pass in a plain environment, with every version of Airflow."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

from airflow_respan.get_provider_info import CONN_FIELDS, HOOK_CLASS, HOOK_NAME, UI_FIELD_BEHAVIOUR
from dev.plain_environment import PlainEnvironment

PACKAGE = "airflow-respan"
INSIDE = str(Path(__file__).parent / "inside.py")
AIRFLOW_MODULES = (
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
    """A check failed. The message has the expected and the actual value."""


def check_origin(plain: PlainEnvironment, wheel: Path) -> list[str]:
    """Check that the installed package is the one from the wheel.

    :return: its modules
    """
    in_wheel = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("airflow_respan/")}
    origin = ask(plain, "origin", "-P", INSIDE, "origin")
    if not Path(origin["file"]).is_relative_to(plain.venv):
        raise CheckError(f"airflow_respan was imported from {origin['file']}, not from {plain.venv}")
    compare("installed files", {name for name in origin["files"] if name in in_wheel}, in_wheel)
    modules = {
        name.removesuffix(".py").removesuffix("/__init__")
        for name in in_wheel
        if name.endswith(".py") and not name.startswith("airflow_respan/example_dags/")
    }
    return sorted(module.replace("/", ".") for module in modules)


def check_imports(plain: PlainEnvironment, modules: list[str]) -> list[str]:
    """Check that importing our modules causes no warning.

    If importing Airflow alone causes one, check that our modules cause no other.

    :return: notes for the report
    """
    warning = ask(plain, "imports", "-P", "-W", "error", INSIDE, "imports", *modules)
    if warning is None:
        return []
    airflow_warning = ask(plain, "imports-airflow", "-P", "-W", "error", INSIDE, "imports", *AIRFLOW_MODULES)
    if airflow_warning is None:
        raise CheckError(f"python -W error, importing our modules: {warning}")
    again = ask(plain, "imports-again", "-P", INSIDE, "imports_again", *modules)
    compare("warnings of our modules, imported again with -W error", again, None)
    return [f"Airflow itself cannot be imported with -W error ({airflow_warning}); our modules can, after it"]


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
        actual = [{key: row.get(key) for key in rows[0]} for row in listed if PACKAGE in row.values()]
        compare(f"airflow providers {command}", actual, rows)


def check_form(plain: PlainEnvironment, form: dict[str, Any]) -> None:
    """Check the connection form, its fields in order."""
    compare("connection form", ask(plain, "form", "-P", INSIDE, "form"), form)


def check_examples_in_ui(plain: PlainEnvironment) -> None:
    """Check that Airflow 3.3 finds the examples of the package by its defaults, and logs no error about it."""
    found = ask(plain, "examples", "-P", INSIDE, "example_bundles", AIRFLOW__CORE__LOAD_EXAMPLES="true")
    compare("errors about our examples", [line for line in found["logged"] if "respan" in line], [])
    compare("bundle of our examples", f"{PACKAGE}-example-dags" in found["bundles"], True)


def ask(plain: PlainEnvironment, what: str, *arguments: str, **settings: str) -> Any:
    """Run the environment's Python, and return the JSON in its last line of output; Airflow may log before it.

    :param what: the name of its log
    :raises CheckError: if the last line is not JSON
    """
    lines = plain.run_python(what, *arguments, **settings).strip().splitlines()
    try:
        return json.loads(lines[-1])
    except (ValueError, IndexError):
        raise CheckError(f"{what}: its last line is not JSON: {lines[-1:]}") from None


def compare(what: str, actual: object, expected: object) -> None:
    """Check that two values are equal.

    :raises CheckError: if they differ
    """
    if actual != expected:
        raise CheckError(f"{what}:\n  actual    {actual}\n  expected  {expected}")

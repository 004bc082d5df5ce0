"""Test the built wheel on every supported line of Airflow, each in a plain environment: ``make test-matrix``.

With names of lines as arguments it tests only these. The logs of a line are kept in ``.matrix/<line>``.
"""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from airflow_respan.sandbox import RespanSandbox
from dev.airflow_lines import LINES, Line
from dev.checks import NO_FORM, WHOLE_FORM, CheckError, check_form, check_imports, check_origin, check_provider, compare
from dev.plain_environment import PlainEnvironment, ProgramError, build, find_python
from dev.settings import CHECKOUT, connection_to
from tests.sensors.outcome_run import DAG_FILE, mapped, prepare, read_seen, table

FOLDER = CHECKOUT / ".matrix"
MAX_CONCURRENT_LINES = 2
REPORTED_PACKAGES = (
    "apache-airflow-providers-common-compat",
    "apache-airflow-task-sdk",
    "sqlalchemy",
    "pydantic",
    "pendulum",
    "requests",
    "aiohttp",
)

# Only a few rows: dag.test() of Airflow 3.1 and 3.2 takes some seconds for each start of a task. Each check of a
# rescheduled task and each resume after a deferral is such a start.
CASES = [
    *table(rows=["cancelling_first", "timeout", "answer_401"], options=["plain"]),
    *table(rows=["expired_later"], options=["soft"]),
    *mapped(rows=["cancelling_first", "every_request_failed"]),
]


@dataclass(kw_only=True)
class Result:
    """The result for a line.

    :param outcome: ``ok``, ``skipped`` or ``FAILED``
    :param notes: further lines for the report
    """

    line: Line
    outcome: str = "ok"
    airflow: str = "-"
    python: str = "-"
    seconds: float = 0
    notes: list[str] = field(default_factory=list)


def test_line(line: Line, wheel: Path) -> Result:
    """Test one line."""
    result = Result(line=line)
    started = time.monotonic()
    try:
        found = ((version, python) for version in line.pythons if (python := find_python(version)))
        result.python, python = next(found, ("-", None))
        if python is None:
            result.outcome = "skipped"
            result.notes.append(f"none of Python {', '.join(line.pythons)} is on this machine")
            return result
        if result.python != line.pythons[0]:
            result.notes.append(f"Python {line.pythons[0]} is not on this machine: {result.python} is used")
        _test_on(line, PlainEnvironment(FOLDER / line.name, python=python), wheel, result)
    except (CheckError, ProgramError) as error:
        result.outcome = "FAILED"
        result.notes.append(str(error))
    finally:
        result.seconds = time.monotonic() - started
        print(f"Airflow {line.name}: {result.outcome} after {result.seconds:.0f} s", flush=True)
    return result


def _test_on(line: Line, plain: PlainEnvironment, wheel: Path, result: Result) -> None:
    plain.install(*line.packages(), f"apache-airflow=={line.version}", str(wheel))
    versions = plain.versions()
    result.airflow = versions["apache-airflow"]
    result.notes.append(
        ", ".join(f"{name.removeprefix('apache-airflow-')} {versions.get(name, '-')}" for name in REPORTED_PACKAGES)
    )

    modules = check_origin(plain, wheel)
    result.notes.extend(check_imports(plain, modules))
    check_provider(plain)
    if line.form_needs:
        check_form(plain, NO_FORM)
        result.notes.append(f"shows no provider's connection form without {line.form_needs}")
    plain.run_python("migrate", "-m", "airflow", "db", "migrate")
    _check_outcomes(line, plain)
    _check_examples(plain)
    if line.form_needs:
        plain.install(*line.packages(), line.form_needs)
    check_form(plain, WHOLE_FORM)


def _check_outcomes(line: Line, plain: PlainEnvironment) -> None:
    """Check the outcomes of waits in every mode, by a DAG run."""
    dags = plain.folder / "dags"
    dags.mkdir()
    shutil.copy(DAG_FILE, dags)
    seen_file = plain.folder / "seen.jsonl"
    with RespanSandbox(pace=None) as sandbox:
        plain.run_python(
            "dag",
            str(dags / DAG_FILE.name),
            AIRFLOW__CORE__DAGS_FOLDER=str(dags),
            OUTCOME_CASES=prepare(sandbox, CASES),
            OUTCOME_SEEN=str(seen_file),
            AIRFLOW_CONN_RESPAN_DEFAULT=json.dumps(connection_to(sandbox)),
        )
    seen = read_seen(seen_file)
    for case in CASES:
        expected = case.expected_end()
        end = case.end(seen)
        if not line.callbacks_get_error:
            compare(f"error that callbacks got for {case.name}", end.pop("error"), None)
            del expected["error"]
        compare(case.name, end, expected)
        compare(f"XComs of {case.name}", case.xcoms(seen), case.expected_xcoms())
        compare(
            f"return value of {case.name}",
            case.returned(seen),
            case.expected_xcoms() if expected["state"] == "success" else None,
        )


def _check_examples(plain: PlainEnvironment) -> None:
    """Check that the examples write the results of their batches."""
    examples = plain.folder / "example_dags"
    shutil.copytree(CHECKOUT / "example_dags", examples)
    for name, batches in (("batch_lifecycle", 1), ("failure_handling", 1)):
        results = plain.folder / name
        with RespanSandbox(pace=0.3) as sandbox:
            plain.run_python(
                name,
                str(examples / f"{name}.py"),
                f"file://{examples}/questions.jsonl",
                f"file://{results}",
                AIRFLOW__CORE__DAGS_FOLDER=str(examples),
                AIRFLOW_CONN_RESPAN_DEFAULT=json.dumps(connection_to(sandbox)),
            )
        manifests = [json.loads(path.read_text()) for path in results.rglob("manifest.json")]
        compare(f"batches of {name}", (len(sandbox.batches), len(manifests)), (batches, batches))
        compare(f"answers of {name}", sum(manifest["counts"]["succeeded"] for manifest in manifests), 5)
    results = plain.folder / "ask_rows"
    with RespanSandbox(pace=0.3, outcomes={"r-2": "429, ok"}) as sandbox:
        plain.run_python(
            "ask_rows",
            str(examples / "ask_rows.py"),
            f"file://{results}",
            AIRFLOW__CORE__DAGS_FOLDER=str(examples),
            AIRFLOW_CONN_RESPAN_DEFAULT=json.dumps(connection_to(sandbox)),
        )
    [manifest] = [json.loads(path.read_text()) for path in results.glob("*/manifest.json")]
    compare("rounds of ask_rows", [each["requests"] for each in manifest["rounds"]], [6, 1])
    compare("answers of ask_rows", manifest["counts"]["succeeded"], 6)


def main(names: list[str]) -> int:
    """Test the lines, and print the results.

    :return: 0 if no line failed and at least one was tested
    """
    if unknown := set(names) - {line.name for line in LINES}:
        sys.exit(
            f"No such line of Airflow: {', '.join(sorted(unknown))}. There are {', '.join(x.name for x in LINES)}."
        )
    chosen = [line for line in LINES if not names or line.name in names]
    shutil.rmtree(FOLDER / "dist", ignore_errors=True)
    wheel = build("wheel", FOLDER / "dist")
    print(
        f"Testing {wheel.name} on Airflow {', '.join(line.name for line in chosen)}, {MAX_CONCURRENT_LINES} at a time.",
        flush=True,
    )
    with ThreadPoolExecutor(MAX_CONCURRENT_LINES) as pool:
        results = list(pool.map(lambda line: test_line(line, wheel), chosen))

    print(f"\n{'line':<6}{'Airflow':<10}{'Python':<8}{'seconds':>7}  result")
    for result in results:
        print(
            f"{result.line.name:<6}{result.airflow:<10}{result.python:<8}{result.seconds:>7.0f}  {result.outcome}"
            + textwrap.indent("".join(f"\n{note}" for note in result.notes), " " * 6).lstrip(" ")
        )
    outcomes = [result.outcome for result in results]
    if set(outcomes) == {"skipped"}:
        print("\nNothing was tested: this machine has none of the Pythons that are needed.")
        return 1
    print(f"\n{outcomes.count('ok')} ok, {outcomes.count('FAILED')} failed, {outcomes.count('skipped')} skipped")
    return int("FAILED" in outcomes)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

"""Every block of code in the README and in the pages works as it is shown."""

from __future__ import annotations

import inspect
import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from textwrap import indent
from typing import Any

import pytest

from airflow_respan.hooks.respan import RespanHook
from airflow_respan.operators.batch import RespanBatchResultsOperator
from airflow_respan.sandbox import RespanSandbox
from airflow_respan.sandbox.model import FAILING_MODEL
from tests.conftest import CHECKOUT
from tests.docs.pages import ALL_BLOCKS, PAGES, Block
from tests.operators.landings import TaskInstance

EXAMPLES = CHECKOUT / "example_dags"
EXAMPLE, PART, SAME = "example: ", "part of example: ", "same as: "
QUESTIONS = [
    json.loads(line)["body"]["messages"][0]["content"]
    for line in (EXAMPLES / "questions.jsonl").read_text().splitlines()
]
IN_CONNECTED, IN_RESULTS = "run in: connected", "run in: results"


def blocks_with(language: str, *, mark: str = "") -> list[Any]:
    found = [block for block in ALL_BLOCKS if block.language == language and block.mark.startswith(mark)]
    assert found, f"no page has a {language} block with the mark {mark!r}"
    return [pytest.param(block, id=block.place) for block in found]


def run(block: Block) -> dict[str, Any]:
    """Run a block as if it were pasted into a file, and return its global names."""
    namespace: dict[str, Any] = {"__name__": "pasted"}
    exec(compile(block.code, block.place, "exec"), namespace)
    return namespace


@pytest.fixture
def questions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with ``questions.jsonl``; its last request fails in the sandbox."""
    monkeypatch.chdir(tmp_path)
    text = (EXAMPLES / "questions.jsonl").read_text()
    *good, last = text.splitlines(keepends=True)
    (tmp_path / "questions.jsonl").write_text("".join(good) + last.replace("gpt-4o-mini", FAILING_MODEL))
    return tmp_path


@pytest.fixture
def results(questions: Path, connect: Callable[..., None]) -> Path:
    """The same directory, with the results of a batch of these questions in ``results/``."""
    with RespanSandbox(pace=0) as sandbox:
        connect(host=sandbox.url, password=sandbox.api_key)
        hook = RespanHook()
        batch = hook.create_batch(hook.upload_file("questions.jsonl").id)
        while not sandbox.batches[0]["completed_at"]:
            hook.get_batch(batch.id)
        land = RespanBatchResultsOperator(
            task_id="land", batch_id=batch.id, path=str(questions / "results"), parquet=True
        )
        land.execute({"ti": TaskInstance()})
    return questions


def test_every_block_has_a_language_and_a_mark_that_a_test_reads() -> None:
    languages = {block.language for block in ALL_BLOCKS if not block.language.startswith("{")}
    marks = {block.mark for block in ALL_BLOCKS if not block.mark.startswith((EXAMPLE, PART, SAME))}

    assert languages == {"python", "json", "console", "text"}
    assert marks == {"", IN_CONNECTED, IN_RESULTS}


@pytest.mark.parametrize("block", blocks_with("python", mark=EXAMPLE))
def test_an_example_is_a_part_of_its_file_and_runs_by_itself(block: Block) -> None:
    name = block.mark.removeprefix(EXAMPLE)

    assert block.code.strip() in (EXAMPLES / name).read_text(), f"{block.place} and example_dags/{name} differ"
    assert "wait" in run(block)["wait_for_batch_dag"].task_ids


@pytest.mark.parametrize("block", blocks_with("python", mark=PART))
def test_a_part_of_an_example_is_in_its_file(block: Block) -> None:
    name = block.mark.removeprefix(PART)

    assert indent(block.code, "    ") in (EXAMPLES / name).read_text(), f"{block.place} and example_dags/{name} differ"


@pytest.mark.parametrize("block", [param for param in blocks_with("python") if not param.values[0].mark])
def test_a_block_without_a_mark_runs_by_itself(block: Block) -> None:
    run(block)


@pytest.mark.parametrize("block", [param for param in blocks_with("python") if "@dag(" in param.values[0].code])
def test_airflow_loads_the_dag_of_a_block(block: Block, airflow_db: None, tmp_path: Path) -> None:
    from airflow.dag_processing.dagbag import DagBag

    (tmp_path / "pasted.py").write_text(block.code)
    bag = DagBag(str(tmp_path))

    assert bag.import_errors == {}
    assert len(bag.dags) == 1


@pytest.mark.parametrize("block", blocks_with("python", mark=IN_CONNECTED))
def test_a_block_runs_beside_a_local_respan(
    block: Block, connected: RespanSandbox, questions: Path, request: pytest.FixtureRequest
) -> None:
    defined = run(block)
    tests = [thing for name, thing in defined.items() if name.startswith("test_")]
    for test in tests:
        test(**{name: request.getfixturevalue(name) for name in inspect.signature(test).parameters})

    assert tests or connected.requests


ECHOES = {f"question-{number}": f"echo: {text}" for number, text in enumerate(QUESTIONS[:4], start=1)}
EXPECTED = {
    "texts": lambda texts: texts == ECHOES,
    "codes": lambda codes: codes == {"question-5": "server_error"},
    "contents": lambda contents: contents == {**ECHOES, "question-5": None},
    "failed": lambda failed: [row["custom_id"] for row in failed] == ["question-5"],
    "finish_reasons": lambda reasons: reasons == ["stop"] * 4,
    "pairs": lambda pairs: dict(pairs) == {**{text: f"echo: {text}" for text in QUESTIONS[:4]}, QUESTIONS[4]: None},
}
"""What each recipe must have read, by the name of its variable."""


@pytest.mark.parametrize("block", blocks_with("python", mark=IN_RESULTS))
def test_a_recipe_reads_the_results_of_a_batch(block: Block, results: Path) -> None:
    defined = run(block)

    names = EXPECTED.keys() & defined.keys()
    assert names
    for name in names:
        assert EXPECTED[name](defined[name]), defined[name]


@pytest.mark.parametrize("block", blocks_with("json"))
def test_json_is_json(block: Block) -> None:
    data = json.loads(block.code)

    if block.mark:
        assert data == json.loads((CHECKOUT / block.mark.removeprefix(SAME)).read_text())


CONNECTIONS = [
    pytest.param(found, id=block.place)
    for block in ALL_BLOCKS
    if block.language == "console"
    for found in re.findall(r"'(\{.*?\})'\n", block.code, re.DOTALL)
]


@pytest.mark.parametrize("text", CONNECTIONS)
def test_airflow_and_the_hook_read_a_connection(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_RESPAN_DEFAULT", text)

    assert RespanHook().get_conn().connection.api_key == "your-respan-api-key"


def test_there_are_four_connections_to_test() -> None:
    assert len(CONNECTIONS) == 4


def test_the_example_dags_are_listed_in_the_readme_and_in_the_quick_start() -> None:
    names = sorted(example.name for example in EXAMPLES.glob("*.py"))
    for page, folder in (("README.md", "example_dags"), ("docs/index.md", "../example_dags")):
        listed = re.findall(
            rf"^\| \[`(\w+\.py)`\]\({folder}/(\w+\.py)\) \|", (CHECKOUT / page).read_text(), re.MULTILINE
        )

        assert sorted(listed) == [(name, name) for name in names], page


def test_every_make_target_on_a_page_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (CHECKOUT / "Makefile").read_text(), re.MULTILINE))
    named = set()
    for page in PAGES:
        named |= set(re.findall(r"(?:`|^)make ([a-z][a-z-]*)", page.read_text(), re.MULTILINE))

    assert named
    assert named <= targets


def test_every_command_on_a_page_is_a_known_one() -> None:
    for block in ALL_BLOCKS:
        if block.language == "console":
            command, *arguments = shlex.split(block.code.splitlines()[0].partition("'")[0])
            assert command in ("make", "pip", "export", "airflow", "python"), block.place
            if command == "python":
                assert arguments[:2] == ["-m", "airflow_respan.sandbox"], block.place

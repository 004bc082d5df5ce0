"""The sdist and the wheel: their content, and the wheel in environments of its own."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import airflow_respan
from dev.airflow_lines import LINES
from dev.checks import WHOLE_FORM, check_examples_in_ui, check_form, check_imports, check_origin, check_provider
from dev.plain_environment import PlainEnvironment, build
from tests.conftest import CHECKOUT

pytestmark = pytest.mark.built

VERSION = airflow_respan.__version__
DIST_INFO = f"airflow_respan-{VERSION}.dist-info"
SOURCES = ("airflow_respan", "dev", "docs", "example_dags", "tests")
FAST_TESTS = (
    "api/test_clients.py",
    "api/test_connection.py",
    "api/test_download.py",
    "hooks",
    "operators/test_results.py",
    "polling",
    "sandbox/test_sandbox.py",
    "sensors/test_batch.py",
    "triggers",
    "waiting",
)


def files_of(folder: str) -> set[str]:
    """Return the files in a folder of the checkout, without those that programs create."""
    found = (CHECKOUT / folder).rglob("*")
    return {
        path.relative_to(CHECKOUT).as_posix()
        for path in found
        if path.is_file() and not {"__pycache__", "_build"} & set(path.parts)
    }


@pytest.fixture(scope="session")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("sdist", tmp_path_factory.mktemp("sdist"))


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("wheel", tmp_path_factory.mktemp("wheel"))


def test_the_wheel_has_the_package_with_its_examples_and_nothing_else(wheel: Path) -> None:
    files = files_of("airflow_respan") | {f"airflow_respan/{name}" for name in files_of("example_dags")}
    extra = {f"{DIST_INFO}/{name}" for name in ("METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE")}

    assert set(zipfile.ZipFile(wheel).namelist()) == files | extra
    assert "airflow_respan/py.typed" in files_of("airflow_respan")


def test_the_wheel_has_the_metadata_of_the_project(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as opened:
        metadata = Parser().parsestr(opened.read(f"{DIST_INFO}/METADATA").decode())
        entry_points = opened.read(f"{DIST_INFO}/entry_points.txt").decode().split()

    assert (metadata["Name"], metadata["Version"]) == ("airflow-respan", VERSION)
    assert (metadata["License-Expression"], metadata["License-File"]) == ("Apache-2.0", "LICENSE")
    assert metadata["Requires-Python"] == ">=3.11"
    assert {url.partition(", ")[0] for url in metadata.get_all("Project-URL")} == {"Respan", "Respan's documentation"}
    assert entry_points == [
        "[apache_airflow_provider]",
        "provider_info",
        "=",
        "airflow_respan.get_provider_info:get_provider_info",
    ]


def test_the_description_for_pypi_is_the_readme_without_links_that_lead_nowhere(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as opened:
        metadata = Parser().parsestr(opened.read(f"{DIST_INFO}/METADATA").decode())
    description = metadata.get_payload()

    assert metadata["Description-Content-Type"] == "text/markdown"
    assert re.findall(r"\]\((?!https?://)[^)]*\)", description) == []
    assert "](https://airflow.apache.org/)" in description
    assert "All fields: base URL" in description
    assert description.endswith("\nThe pages and files that are named here are in the source distribution.\n")


def test_the_sdist_has_all_files_to_build_and_test_the_package(sdist: Path) -> None:
    with tarfile.open(sdist) as opened:
        in_sdist = {name.partition("/")[2] for name in opened.getnames()}
    files = set().union(*map(files_of, SOURCES))

    assert in_sdist == files | {
        ".gitignore",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "LICENSE",
        "Makefile",
        "PKG-INFO",
        "README.md",
        "SECURITY.md",
        "pyproject.toml",
    }


def test_the_wheel_of_the_sdist_is_the_wheel_of_the_checkout(wheel: Path, sdist: Path, tmp_path: Path) -> None:
    assert build("wheel", tmp_path, source=sdist).read_bytes() == wheel.read_bytes()


def test_twine_accepts_both(wheel: Path, sdist: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "twine", "check", "--strict", str(wheel), str(sdist)],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr


def test_the_wheel_works_with_its_own_dependencies_only(wheel: Path, tmp_path: Path) -> None:
    plain = PlainEnvironment(tmp_path, python=Path(sys.executable))
    plain.install(str(wheel))

    assert check_imports(plain, check_origin(plain, wheel)) == []
    check_provider(plain)
    check_form(plain, WHOLE_FORM)
    check_examples_in_ui(plain)


def test_the_lowest_versions_that_are_allowed_work(wheel: Path, tmp_path: Path) -> None:
    dependencies = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]["dependencies"]
    lowest = {}
    for requirement in map(Requirement, dependencies):
        [floor] = requirement.specifier
        lowest[canonicalize_name(requirement.name)] = Version(floor.version)
    plain = PlainEnvironment(tmp_path, python=Path(sys.executable))
    plain.install("--resolution", "lowest-direct", *LINES[0].packages(), str(wheel), *dependencies)
    plain.install("--group", f"{CHECKOUT / 'pyproject.toml'}:test")
    versions = plain.versions()
    # Only the tests: the code must come from the wheel.
    for name in ("pyproject.toml", "tests", "dev"):
        (plain.work / name).symlink_to(CHECKOUT / name)

    assert {name: Version(versions[name]) for name in lowest} == lowest
    plain.run_python("fast-tests", "-m", "pytest", "-q", "-n3", *(f"tests/{name}" for name in FAST_TESTS))

"""A Python environment with nothing in it but what is asked for, in which programs run and do not see the checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
UV = str(Path(sys.executable).parent / "uv")
PATIENCE = 600.0
"""Seconds that a program may take."""


class ProgramError(Exception):
    """A program ended badly: which one, and the end of what it said."""


class PlainEnvironment:
    """A fresh environment in a folder of its own, with an Airflow home beside it.

    Its programs see no setting of this process's Airflow or Python, and each leaves its output in the folder.

    :param folder: is emptied first
    :param python: the interpreter
    """

    def __init__(self, folder: Path, *, python: Path) -> None:
        self.folder = folder
        self.venv = folder / "venv"
        self.python = self.venv / "bin" / "python"
        self.work = folder / "work"
        shutil.rmtree(folder, ignore_errors=True)
        self.work.mkdir(parents=True)
        loopback = ",".join(filter(None, (os.environ.get("NO_PROXY"), "127.0.0.1", "localhost")))
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("AIRFLOW", "PYTHON", "COVERAGE", "VIRTUAL_ENV"))
        }
        self.settings = {
            **inherited,
            "AIRFLOW_HOME": str(folder / "home"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "false",
            "NO_PROXY": loopback,
            "no_proxy": loopback,
        }
        self.run("venv", UV, "venv", "--quiet", "--no-project", "--python", str(python), str(self.venv))

    def install(self, *arguments: str) -> None:
        """Install packages, with the arguments of ``uv pip install``."""
        self.run("install", UV, "pip", "install", "--quiet", "--python", str(self.python), *arguments)

    def versions(self) -> dict[str, str]:
        """Say what is installed."""
        frozen = self.run("freeze", UV, "pip", "list", "--format", "freeze", "--python", str(self.python))
        return dict(line.split("==") for line in frozen.splitlines())

    def run_python(self, what: str, *arguments: str, **settings: str) -> str:
        """Run the environment's Python; see :meth:`run`."""
        return self.run(what, str(self.python), *arguments, **settings)

    def run(self, what: str, *command: str, **settings: str) -> str:
        """Run a program in the empty folder ``work``.

        :param what: the name of its log
        :param settings: environment variables
        :return: what it printed
        :raises ProgramError: if it ended badly, or did not end
        """
        out, err = self.folder / f"{what}.out", self.folder / f"{what}.err"
        with out.open("w") as stdout, err.open("w") as stderr:
            try:
                subprocess.run(
                    command,
                    cwd=self.work,
                    env={**self.settings, **settings},
                    stdout=stdout,
                    stderr=stderr,
                    check=True,
                    timeout=PATIENCE,
                )
            except subprocess.SubprocessError as error:
                ended = f"status {error.returncode}" if isinstance(error, subprocess.CalledProcessError) else str(error)
                said = "\n".join(log.read_text().strip()[-2000:] for log in (out, err))
                raise ProgramError(f"{what}: {ended}\n{said}\nAll of it: {out} and {err.name}") from None
        return out.read_text()


def build(kind: str, folder: Path, *, source: Path = CHECKOUT) -> Path:
    """Build the package.

    :param kind: ``wheel`` or ``sdist``
    :param folder: where it is put
    :param source: the checkout, or an sdist
    """
    subprocess.run([UV, "build", "--quiet", f"--{kind}", "--out-dir", str(folder), str(source)], check=True)
    [built] = folder.glob("*.whl" if kind == "wheel" else "*.tar.gz")
    return built

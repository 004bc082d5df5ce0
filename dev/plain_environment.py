"""A new Python environment with the given packages only, whose programs do not see the checkout; and our builds."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from dev.settings import CHECKOUT, NO_PROXY_FOR_LOOPBACK

UV = str(Path(sys.executable).parent / "uv")
MAX_PROGRAM_SECONDS = 600.0


class ProgramError(Exception):
    """A program failed or did not end. The message has its name and the end of its output."""


class PlainEnvironment:
    """A new environment in a folder of its own, with an Airflow home beside it.

    Its programs get none of this process's settings for Airflow or Python. The output of each is kept in the folder.

    :param folder: an existing folder is deleted first
    :param python: the interpreter
    """

    def __init__(self, folder: Path, *, python: Path) -> None:
        self.folder = folder
        self.venv = folder / "venv"
        self.python = self.venv / "bin" / "python"
        self.work = folder / "work"
        shutil.rmtree(folder, ignore_errors=True)
        self.work.mkdir(parents=True)
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("AIRFLOW", "PYTHON", "COVERAGE", "VIRTUAL_ENV"))
        }
        self.settings = {
            **inherited,
            "AIRFLOW_HOME": str(folder / "home"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "false",
            **NO_PROXY_FOR_LOOPBACK,
        }
        self.run("venv", UV, "venv", "--quiet", "--no-project", "--python", str(python), str(self.venv))

    def install(self, *arguments: str) -> None:
        """Install packages, with the arguments of ``uv pip install``."""
        self.run("install", UV, "pip", "install", "--quiet", "--python", str(self.python), *arguments)

    def versions(self) -> dict[str, str]:
        """Return the version of each installed package."""
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
        :raises ProgramError: if its status is not 0, or if it does not end within :data:`MAX_PROGRAM_SECONDS`
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
                    timeout=MAX_PROGRAM_SECONDS,
                )
            except subprocess.SubprocessError as error:
                ended = f"status {error.returncode}" if isinstance(error, subprocess.CalledProcessError) else str(error)
                output = "\n".join(log.read_text().strip()[-2000:] for log in (out, err))
                raise ProgramError(f"{what}: {ended}\n{output}\nThe whole output: {out} and {err.name}") from None
        return out.read_text()


def find_python(version: str) -> Path | None:
    """Return a Python of this machine, or None if there is none; nothing is downloaded.

    :param version: such as ``3.12``
    """
    # A shim of pyenv on PATH fails unless its version is the chosen one. So the versions themselves come first.
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    path = os.pathsep.join([*map(str, pyenv.glob(f"versions/{version}.*/bin")), os.environ["PATH"]])
    found = subprocess.run(
        [UV, "python", "find", "--no-python-downloads", "--no-project", "--system", version],
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    return Path(found.stdout.strip()) if found.returncode == 0 else None


def build(kind: str, folder: Path, *, source: Path = CHECKOUT) -> Path:
    """Build the package.

    :param kind: ``wheel`` or ``sdist``
    :param folder: the folder for the result
    :param source: the checkout, or an sdist
    """
    subprocess.run([UV, "build", "--quiet", f"--{kind}", "--out-dir", str(folder), str(source)], check=True)
    [built] = folder.glob("*.whl" if kind == "wheel" else "*.tar.gz")
    return built

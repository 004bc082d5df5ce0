"""Finds the Pythons of this machine; none is downloaded."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from dev.plain_environment import UV


def find_python(version: str) -> Path | None:
    """Find a Python that really runs.

    :param version: such as ``3.12``
    """
    says_its_version = "import sys; print('{}.{}'.format(*sys.version_info))"
    for candidate in _candidates(version):
        # A shim of pyenv's may stand for a version that is not chosen, and fails.
        said = subprocess.run([candidate, "-c", says_its_version], capture_output=True, text=True, check=False)
        if said.returncode == 0 and said.stdout.strip() == version:
            return candidate
    return None


def _candidates(version: str) -> Iterator[Path]:
    name = f"python{version}"
    if on_path := shutil.which(name):
        yield Path(on_path)
    known = subprocess.run(
        [UV, "python", "find", "--no-python-downloads", "--no-project", version],
        capture_output=True,
        text=True,
        check=False,
    )
    if known.returncode == 0:
        yield Path(known.stdout.strip())
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    yield from sorted(pyenv.glob(f"versions/{version}.*/bin/{name}"))

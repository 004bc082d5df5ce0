"""Processes that are forked from one that has imported Airflow, which takes a new one one and a half seconds."""

from __future__ import annotations

import multiprocessing
import multiprocessing.forkserver
import os
import runpy
import sys
from collections.abc import Callable
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import pytest

from tests.conftest import environment_without_coverage

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["tests.operators.landing_process", "tests.operators.test_killed"])


def start(target: Callable[..., None], *arguments: object) -> ForkServerProcess:
    """Call a function in a process of its own, which has this process's environment, and is not measured."""
    with pytest.MonkeyPatch.context() as patch:
        for name in os.environ.keys() - environment_without_coverage().keys():
            patch.delenv(name)
        multiprocessing.forkserver.ensure_running()
    process = PROCESSES.Process(target=_call, args=(dict(os.environ), target, *arguments))
    process.start()
    return process


def run_program(module: str, *arguments: object, output: Path) -> int | None:
    """Run a module as a program, and return its exit status.

    :param output: the file for what it prints and logs
    """
    process = start(_run_module, module, list(map(str, arguments)), output)
    process.join()
    return process.exitcode


def _call(environment: dict[str, str], target: Callable[..., None], *arguments: object) -> None:
    os.environ.clear()
    os.environ.update(environment)
    target(*arguments)


def _run_module(module: str, arguments: list[str], output: Path) -> None:
    with output.open("wb") as file:
        for descriptor in (1, 2):
            os.dup2(file.fileno(), descriptor)
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)

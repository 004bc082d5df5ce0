"""The lines of Airflow that the package supports, and how each is tried: one table, for the matrix and the README."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Line:
    """A line of Airflow.

    :param version: what is installed; ``3.3.*`` is the newest of its line
    :param pythons: the Python that the line is tried on; the further ones stand in where that is missing
    :param packages_of: no package that came later is installed (ISO 8601 date), as Airflow's own constraints have it:
        the older lines install with today's packages, and then fail their tasks. None: the newest ones
    :param form_needs: a package without which this Airflow shows no provider's connection form
    :param tells_callbacks_the_error: whether callbacks are given the exception within ``dag.test()``
    """

    name: str
    version: str
    pythons: tuple[str, ...]
    packages_of: str | None = None
    form_needs: str | None = None
    tells_callbacks_the_error: bool = True

    def packages(self) -> list[str]:
        """Give the options of ``uv pip install`` for it; our own dependency has to be newer than some lines are."""
        if self.packages_of is None:
            return []
        ours = "apache-airflow-providers-common-compat=false"
        return [f"--exclude-newer={self.packages_of}", f"--exclude-newer-package={ours}"]


LINES = (
    Line(name="2.11", version="2.11.2", pythons=("3.11", "3.12"), packages_of="2026-03-25"),
    Line(
        name="3.0",
        version="3.0.6",
        pythons=("3.12", "3.11"),
        packages_of="2025-09-15",
        form_needs="wtforms",
        tells_callbacks_the_error=False,
    ),
    Line(
        name="3.1",
        version="3.1.8",
        pythons=("3.13", "3.12", "3.11"),
        packages_of="2026-04-01",
        tells_callbacks_the_error=False,
    ),
    Line(
        name="3.2",
        version="3.2.2",
        pythons=("3.12", "3.13", "3.11"),
        packages_of="2026-06-15",
        tells_callbacks_the_error=False,
    ),
    Line(name="3.3", version="3.3.*", pythons=("3.13", "3.12", "3.11")),
)

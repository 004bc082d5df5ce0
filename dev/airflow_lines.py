"""The supported lines of Airflow, and how each is tested: one table for the matrix, the build tests and the README."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Line:
    """A line of Airflow.

    :param version: the version that is installed; ``3.3.*`` is the newest of its line
    :param pythons: the Python that the line is tested on; the others replace it on a machine without it
    :param packages_of: no package that was released later is installed (ISO 8601 date). Older lines can be installed
        with today's packages, but then their tasks fail. None: the newest packages
    :param form_needs: the package without which this Airflow shows no connection form of any provider
    :param callbacks_get_error: whether callbacks get the exception within ``dag.test()``
    """

    name: str
    version: str
    pythons: tuple[str, ...]
    packages_of: str | None = None
    form_needs: str | None = None
    callbacks_get_error: bool = True

    def packages(self) -> list[str]:
        """Return the options of ``uv pip install`` for this line.

        Our own dependency is exempt from the date, because it must be newer than some of the lines.
        """
        if self.packages_of is None:
            return []
        exempt = "apache-airflow-providers-common-compat=false"
        return [f"--exclude-newer={self.packages_of}", f"--exclude-newer-package={exempt}"]


LINES = (
    Line(name="2.11", version="2.11.2", pythons=("3.11", "3.12"), packages_of="2026-03-25"),
    Line(
        name="3.0",
        version="3.0.6",
        pythons=("3.12", "3.11"),
        packages_of="2025-09-15",
        form_needs="wtforms",
        callbacks_get_error=False,
    ),
    Line(
        name="3.1",
        version="3.1.8",
        pythons=("3.13", "3.12", "3.11"),
        packages_of="2026-04-01",
        callbacks_get_error=False,
    ),
    Line(
        name="3.2",
        version="3.2.2",
        pythons=("3.12", "3.13", "3.11"),
        packages_of="2026-06-15",
        callbacks_get_error=False,
    ),
    Line(name="3.3", version="3.3.*", pythons=("3.13", "3.12", "3.11")),
)

"""Apache Airflow provider for the batch API of Respan, the LLM gateway.

Nothing is imported here: Airflow imports this package at every parse of every DAG file that uses it.
"""

from __future__ import annotations

__version__ = "0.2.0"

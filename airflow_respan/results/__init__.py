"""How the output and error file of a batch are downloaded, checked, written into a folder with a manifest, and read.

Users import from here what reads a folder back. May import ``hooks``, ``waiting`` and ``api``; only ``rounds`` and
``operators`` import it.
"""

from airflow_respan.results.answer import Answer, answers
from airflow_respan.results.arrow import to_arrow
from airflow_respan.results.row_error import RowError

__all__ = ["Answer", "RowError", "answers", "to_arrow"]

"""The choices of a landing. It imports nothing heavy, because DAG files that are parsed need it. No I/O."""

from __future__ import annotations

from typing import Literal

OnMissing = Literal["by_status", "fail", "warn"]
"""What requests without a row do.

``fail`` fails the task; ``warn`` is a warning; ``by_status`` is a warning if the batch did not complete, and at least
as many rows have an answer as its counts have completed requests.
"""

OnBadRows = Literal["fail", "warn", "drop"]
"""What lines that are no usable rows do.

``fail`` fails the task; ``warn`` writes everything, and these lines also into ``rejected.jsonl``; ``drop`` writes them
into ``rejected.jsonl`` alone.
"""

Deletable = Literal["input", "output", "error"]
"""A file at the service that may be deleted after the landing."""

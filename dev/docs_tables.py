"""``python -m dev.docs_tables``: write the tables in docs/ whose data is in the code."""

from __future__ import annotations

import re
from textwrap import indent

from airflow_respan.api.connection_fields import CONNECTION_FIELDS
from airflow_respan.api.response import TRANSIENT_STATUSES
from airflow_respan.api.statuses import STATUSES
from dev.settings import CHECKOUT

DOCS = CHECKOUT / "docs"


def connection_fields() -> str:
    """Return the rows of the fields in the extra of a connection."""
    rows = [f"| {field.label} | extra `{field.name}` | {field.details} |" for field in CONNECTION_FIELDS]
    return "\n".join(["| field | in the extra | meaning |", "|---|---|---|", *rows])


def statuses() -> str:
    """Return the table of the statuses of a batch."""
    rows = [
        f"| `{status.name}` | {'ended' if status.is_terminal else 'running'} | {status.meaning} |"
        for status in STATUSES.values()
    ]
    return "\n".join(["| status | the batch | meaning |", "|---|---|---|", *rows])


def transient_statuses() -> str:
    """Return the transient HTTP statuses: a wait continues after them."""
    return f"{', '.join(map(str, sorted(TRANSIENT_STATUSES)))} and every status from 500 on"


TABLES = {
    ("connection.md", "connection fields"): connection_fields,
    ("respan-api.md", "statuses"): statuses,
    ("respan-api.md", "transient statuses"): transient_statuses,
}


def with_table(text: str, name: str, table: str) -> str:
    """Return the text of a page with a table between its two comments.

    :raises ValueError: if the page does not have these two comments exactly once
    """
    begin, end = f"<!-- {name}: python -m dev.docs_tables -->", f"<!-- end of {name} -->"
    changed, count = re.subn(
        f"( *){re.escape(begin)}.*?{re.escape(end)}",
        lambda found: f"{found[1]}{begin}\n\n{indent(table, found[1])}\n\n{found[1]}{end}",
        text,
        flags=re.DOTALL,
    )
    if count != 1:
        raise ValueError(f"the page has the comments of {name!r} {count} times, and should have them once")
    return changed


if __name__ == "__main__":
    for (page, name), make in TABLES.items():
        path = DOCS / page
        path.write_text(with_table(path.read_text(), name, make()))
        print(f"Written: {name} in docs/{page}")

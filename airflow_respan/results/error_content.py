"""Finds the error of a service or of a store that was sent, with the status 200, as the content of a file.

Some gateways send it if their own request for the file failed. No Airflow.
"""

from __future__ import annotations

from typing import IO

from airflow_respan.api import failures
from airflow_respan.api.service_errors import read_body
from airflow_respan.results.lenient_json import decode_leniently

_MAX_BYTES = 2**16
_BLANKS = b"\xef\xbb\xbf \t\r\n"
_ROW_KEYS = {"custom_id", "response"}


def find_service_error(file: IO[bytes]) -> str | None:
    """Return the text of the error that was sent as the content of a file; None if the content is anything else.

    The content is an error if all of it is a page of HTML or XML, or one JSON object that has the fields of an error
    and not those of a row.

    :param file: the content, open for reading, and seekable
    """
    file.seek(0)
    content = file.read(_MAX_BYTES + 1).strip(_BLANKS)
    if content.startswith(b"<"):
        return failures.not_json(content)
    if len(content) > _MAX_BYTES or not content.startswith(b"{"):
        return None
    try:
        data, _unusual = decode_leniently(content)
    except ValueError:
        return None
    is_error = not data.keys() & _ROW_KEYS and read_body(data) is not None
    return failures.service_message(content) if is_error else None

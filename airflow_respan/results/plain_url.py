"""URLs that other programs can open. No I/O, no Airflow."""

from __future__ import annotations


def plain_url(uri: str) -> str:
    """Return the URI of a file without the name of the Airflow connection, as pandas, Polars and DuckDB read it.

    :param uri: as for ``ObjectStoragePath``: ``s3://my_conn@bucket/file``, or a local path
    :return: ``s3://bucket/file``; a local path without ``file://``. Everything before the ``@`` is removed, also a
        password that somebody wrote there
    """
    scheme, separator, rest = uri.partition("://")
    if not separator:
        return uri
    authority, slash, path = rest.partition("/")
    host = authority.rpartition("@")[2]
    return f"{slash}{path}" if scheme == "file" and not host else f"{scheme}://{host}{slash}{path}"

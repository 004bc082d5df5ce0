"""What a task says to do after an error of a store depends on what went wrong."""

from __future__ import annotations

import errno
import socket
import ssl

import pytest

from airflow_respan.results.store_errors import advice_for

FULL = "Check free space and permissions, and clear the task."
REFUSED = "Check the permissions, and the Airflow connection in the path, and clear the task."
UNREACHABLE = "The store cannot be reached or is overloaded. Clear the task when the worker can reach it again."
PATH = "Check that the path is right, and that its bucket or parent folder exists, and clear the task."
OTHER = "Check the path and the Airflow connection in it, and clear the task."


def named(name: str, *, base: type[Exception] = Exception, cause: Exception | None = None) -> Exception:
    """Make an error of a library that need not be installed."""
    error: Exception = type(name, (base,), {})("a text")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), FULL),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), FULL),
        (named("UploadError", cause=OSError(errno.ENOSPC, "No space left on device")), FULL),
        (PermissionError(errno.EACCES, "Permission denied"), REFUSED),
        (PermissionError("Access Denied"), REFUSED),
        (OSError(errno.EROFS, "Read-only file system"), REFUSED),
        (named("NoCredentialsError"), REFUSED),
        (named("ClientAuthenticationError"), REFUSED),
        (ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"), UNREACHABLE),
        (ConnectionResetError("reset"), UNREACHABLE),
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), UNREACHABLE),
        (TimeoutError(), UNREACHABLE),
        (socket.gaierror(-2, "Name or service not known"), UNREACHABLE),
        (ssl.SSLError("handshake"), UNREACHABLE),
        (OSError(errno.ENETUNREACH, "Network is unreachable"), UNREACHABLE),
        (OSError(errno.EBUSY, "SlowDown"), UNREACHABLE),
        (named("EndpointConnectionError"), UNREACHABLE),
        (named("ReadTimeoutError"), UNREACHABLE),
        (named("ServerDisconnectedError", base=OSError), UNREACHABLE),
        (named("ServiceRequestError"), UNREACHABLE),
        (named("HttpError", cause=named("ClientConnectorError", base=OSError)), UNREACHABLE),
        (FileNotFoundError("no such bucket"), PATH),
        (NotADirectoryError(errno.ENOTDIR, "Not a directory"), PATH),
        (ValueError("odd"), OTHER),
    ],
)
def test_each_kind_of_error_has_its_advice(error: Exception, advice: str) -> None:
    assert advice_for(error) == advice

"""What can stand between us and a usable response; :mod:`airflow_respan.exceptions` draws the whole tree.

No Airflow here: what a task makes of an error is decided by its base class, and none of these is an
``AirflowException``.
"""

from __future__ import annotations


class RespanError(Exception):
    """Anything that stood between us and a usable answer; says nothing about the batch itself."""


class RespanConfigurationError(RespanError):
    """The Airflow connection is missing, lacks the key, or holds a setting that cannot work."""


class RespanMissingConnectionError(RespanConfigurationError):
    """Airflow says that the connection does not exist, as it also does when it cannot ask its own database."""


class RespanAPIError(RespanError):
    """The service answered that it will not do this, and would say so again.

    :param message: who, what, and what to do next
    :param status_code: the HTTP status
    """

    def __init__(self, message: str, *, status_code: int | None = None) -> None:
        super().__init__(message)
        self.status_code = status_code


class RespanAuthenticationError(RespanAPIError):
    """401 or 403: the Respan key, or the provider's key behind it, was not accepted."""


class RespanNotFoundError(RespanAPIError):
    """404: no such batch or file, or not yet."""


class RespanTransientError(RespanError):
    """No usable answer this time: connection trouble, time-out, 408, 409, 425, 429, 5xx, or not what was asked.

    :param message: who, what, and what to do next
    :param status_code: the HTTP status, or None if there was no answer
    :param retry_after: how long the service asked to be left alone (seconds), or None
    """

    def __init__(self, message: str, *, status_code: int | None = None, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.status_code = status_code
        self.retry_after = retry_after

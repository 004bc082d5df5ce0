"""The errors of API calls; :mod:`airflow_respan.exceptions` has the whole tree.

None of them is an ``AirflowException``, and nothing here imports Airflow. What Airflow does with a task depends on the
base class of its error.
"""

from __future__ import annotations


class RespanError(Exception):
    """A call had no usable response. The state of the batch itself is unknown."""


class RespanConfigurationError(RespanError):
    """The Airflow connection does not exist, has no API key, or has an invalid setting."""


class RespanMissingConnectionError(RespanConfigurationError):
    """Airflow reports that the connection does not exist, which it also does when its database cannot be reached."""


class RespanAPIError(RespanError):
    """Respan refused the request, and would refuse it again.

    :param message: the call, the cause, and what to do next
    :param status_code: the HTTP status
    """

    def __init__(self, message: str, *, status_code: int | None = None) -> None:
        super().__init__(message)
        self.status_code = status_code


class RespanAuthenticationError(RespanAPIError):
    """401 or 403: the Respan key or the provider's key was not accepted."""


class RespanNotFoundError(RespanAPIError):
    """404: there is no such batch or file, or not yet."""


class RespanTransientError(RespanError):
    """There was no usable response, but a retry may succeed.

    The cause is a connection error, a timeout, the status 408, 409, 425, 429 or 5xx, or an unexpected body.

    :param message: the call, the cause, and what to do next
    :param status_code: the HTTP status, or None if there was no response
    :param retry_after: seconds to wait before the next request, as the response says, or None
    """

    is_untrusted = False
    """Whether the certificate of the server was not accepted."""

    def __init__(self, message: str, *, status_code: int | None = None, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.status_code = status_code
        self.retry_after = retry_after

    @property
    def is_rate_limit(self) -> bool:
        """Whether the service asked its callers to pause: 429 or 503, with the seconds. It may mean all of them."""
        return self.status_code in (429, 503) and bool(self.retry_after)


class RespanWrongIdError(RespanTransientError):
    """The response is about another batch or file, so nothing is known about the requested one.

    A gateway or a cache may have mixed up responses. So a wait continues for a short time, as after a 404.
    """

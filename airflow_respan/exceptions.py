"""What can go wrong, and what Airflow then does with the task.

::

    Exception
    ├── RespanError                          fails the task, retried by Airflow
    │   ├── RespanConfigurationError         the Airflow connection cannot work
    │   │   └── RespanMissingConnectionError it is not there; or Airflow could not find out
    │   ├── RespanAPIError                   the service said no: asking again gives the same
    │   │   ├── RespanAuthenticationError    401 and 403
    │   │   └── RespanNotFoundError          404
    │   ├── RespanTransientError             no usable answer this time: a wait goes on
    │   ├── RespanStorageError               a file of the user's cannot be read where it is
    │   └── RespanResultsError               results are not whole, or cannot be landed
    └── airflow AirflowException
        ├── AirflowFailException
        │   ├── RespanBatchFailed            the batch ended badly: not retried, skipped with soft_fail
        │   ├── RespanInputError             no batch can be made of this input: not retried
        │   └── RespanInputChangedError      an earlier attempt made a batch of another input: not retried
        └── AirflowSensorTimeout
            └── RespanBatchTimeout           the wait's time is over: not retried, skipped with soft_fail

The base classes are the point. With ``soft_fail`` a plain ``AirflowException`` fails a sensor that pokes and
skips one that resumes (Airflow 2.11-3.3), so no ``RespanError`` is one.
"""

from __future__ import annotations

from airflow.providers.common.compat.sdk import AirflowFailException, AirflowSensorTimeout


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


class RespanStorageError(RespanError):
    """A store is not known to Airflow, or a file in it cannot be read."""


class RespanResultsError(RespanError):
    """The results of a batch are not what it should have left, or they could not be landed."""


class RespanBatchFailed(AirflowFailException):
    """The batch has ended and the verdict does not accept it; waiting again would change nothing."""


class RespanInputError(AirflowFailException):
    """The input is not what a batch can be made of; nothing was uploaded or created."""


class RespanInputChangedError(AirflowFailException):
    """An earlier attempt of this task made a batch of another input, and that batch goes on or is complete."""


class RespanBatchTimeout(AirflowSensorTimeout):
    """The batch had not ended when the sensor's ``timeout`` was over; the batch itself goes on."""

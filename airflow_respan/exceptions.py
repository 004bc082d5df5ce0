"""All errors of this package, and what Airflow does with a task that raises them.

::

    Exception
    ├── RespanError                          fails the task, retried by Airflow
    │   ├── RespanConfigurationError         the Airflow connection cannot work
    │   │   └── RespanMissingConnectionError it does not exist, or Airflow could not find out
    │   ├── RespanAPIError                   Respan refused the request, and would refuse it again
    │   │   ├── RespanAuthenticationError    401 and 403
    │   │   └── RespanNotFoundError          404
    │   ├── RespanTransientError             no usable response, which may be temporary: a wait continues
    │   │   └── RespanWrongIdError           the response is about another batch or file: a wait continues for a while
    │   ├── RespanStorageError               a file in object storage cannot be read
    │   ├── RespanResultsError               results are incomplete, or cannot be landed
    │   └── RespanTaskKilledError            Airflow has killed this attempt: not skipped with never_fail
    └── airflow AirflowException
        ├── AirflowFailException
        │   ├── RespanBatchFailed            the batch was not successful: not retried, skipped with soft_fail
        │   ├── RespanInputError             the input is invalid: not retried
        │   └── RespanInputChangedError      an earlier attempt created a batch from another input: not retried
        └── AirflowSensorTimeout
            └── RespanBatchTimeout           the timeout of the wait has passed: not retried, skipped with soft_fail

Airflow decides by the base class. With ``soft_fail`` a plain ``AirflowException`` fails a sensor that pokes but skips
one that resumes (Airflow 2.11-3.3). Therefore ``RespanError`` is not an ``AirflowException``.
"""

from __future__ import annotations

from airflow_respan.api.exceptions import (
    RespanAPIError,
    RespanAuthenticationError,
    RespanConfigurationError,
    RespanError,
    RespanMissingConnectionError,
    RespanNotFoundError,
    RespanTransientError,
    RespanWrongIdError,
)
from airflow_respan.compat import AirflowFailException, AirflowSensorTimeout

__all__ = [
    "RespanAPIError",
    "RespanAuthenticationError",
    "RespanBatchFailed",
    "RespanBatchTimeout",
    "RespanConfigurationError",
    "RespanError",
    "RespanInputChangedError",
    "RespanInputError",
    "RespanMissingConnectionError",
    "RespanNotFoundError",
    "RespanResultsError",
    "RespanStorageError",
    "RespanTaskKilledError",
    "RespanTransientError",
    "RespanWrongIdError",
]


class RespanStorageError(RespanError):
    """Airflow has no file system for the store of a URI, or a file in a store cannot be read."""


class RespanResultsError(RespanError):
    """The results of a batch are incomplete or inconsistent, or they could not be landed."""


class RespanTaskKilledError(RespanError):
    """Airflow has killed this attempt of the task, so it ends without an outcome of its batch."""


class RespanBatchFailed(AirflowFailException):
    """The batch has ended and its outcome is not accepted. Waiting again would not help."""


class RespanInputError(AirflowFailException):
    """The input is not valid for a batch. Nothing was uploaded or created."""


class RespanInputChangedError(AirflowFailException):
    """An earlier attempt of this task created a batch from another input, and that batch is running or completed."""


class RespanBatchTimeout(AirflowSensorTimeout):
    """The batch was not seen to end within the ``timeout`` of the wait. It may still be running, and be billed."""

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

from airflow_respan.api.exceptions import (
    RespanAPIError,
    RespanAuthenticationError,
    RespanConfigurationError,
    RespanError,
    RespanMissingConnectionError,
    RespanNotFoundError,
    RespanTransientError,
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
    "RespanTransientError",
]


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

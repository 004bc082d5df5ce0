"""What to do after an error of a store. The libraries of stores have errors of their own, so names decide too."""

from __future__ import annotations

import errno
import re

from airflow_respan.worker_disk import causes_of, is_disk_full

_REFUSED = {errno.EACCES, errno.EPERM, errno.EROFS}
_UNREACHABLE = {
    errno.EBUSY,  # s3fs: SlowDown, ServiceUnavailable
    errno.ECONNABORTED,
    errno.ECONNREFUSED,
    errno.ECONNRESET,
    errno.EHOSTDOWN,
    errno.EHOSTUNREACH,
    errno.ENETDOWN,
    errno.ENETUNREACH,
    errno.EPIPE,
    errno.EREMOTEIO,  # s3fs: InternalError
    errno.ETIMEDOUT,
}
_UNREACHABLE_NAMES = re.compile(
    r"(?i:connect|timeout|gaierror|network|transport|httpclient|servicere(quest|sponse)|unavailable)|SSL"
)
_REFUSED_NAMES = re.compile(r"(?i:permission|credential|forbidden|unauthori|accessdenied|refresherror|authenti)")


def advice_for(error: BaseException) -> str:
    """Return one sentence about what to do after an error of a store.

    :param error: what the file system of the store raised; its causes are looked at too
    """
    if is_disk_full(error):
        return "Check free space and permissions, and clear the task."
    for cause in causes_of(error):
        number = cause.errno if isinstance(cause, OSError) else None
        names = " ".join(base.__name__ for base in type(cause).__mro__)
        if number in _REFUSED or _REFUSED_NAMES.search(names):
            return "Check the permissions, and the Airflow connection in the path, and clear the task."
        if number in _UNREACHABLE or _UNREACHABLE_NAMES.search(names):
            return "The store cannot be reached or is overloaded. Clear the task when the worker can reach it again."
        if isinstance(cause, FileNotFoundError | NotADirectoryError | IsADirectoryError | FileExistsError):
            return "Check that the path is right, and that its bucket or parent folder exists, and clear the task."
    return "Check the path and the Airflow connection in it, and clear the task."

"""The claim of a folder: a small file that says which landing writes into the folder at the moment.

Two tasks may land into one folder by mistake, and an attempt that was suspended may wake up beside its successor. The
claim lets one of them write. An attempt that was killed leaves its claim, which its successor takes over.
"""

from __future__ import annotations

import json
import logging
import time
import uuid
from collections.abc import Mapping
from typing import Any

from airflow_respan.exceptions import RespanResultsError
from airflow_respan.results.folder import Folder
from airflow_respan.results.manifest import MANIFEST_NAME, ResultsKey, printable_batch_id

log = logging.getLogger(__name__)

CLAIM_NAME = f".{MANIFEST_NAME}.part"
MAX_CLAIM_BYTES = 2**16
MAX_ATTEMPTS = 100
STALE_SECONDS = 3600.0
"""The claim of another landing is taken over after this time, because the task that made it was probably killed."""


OWN_FOLDER = "Give each batch its own folder, for example with {{ run_id }} and {{ ti.map_index }} in the path"


class ClaimLostError(RespanResultsError):
    """Another attempt or another task has taken the folder over."""


class Claim:
    """The claim of a folder for one landing, as a context manager.

    :param folder: the folder
    :param key: what is to be written
    :param overwrite: whether to take the folder over from a landing of another batch
    """

    def __init__(self, folder: Folder, key: ResultsKey, *, overwrite: bool) -> None:
        self._folder = folder
        self._key = key
        self._overwrite = overwrite
        self._content = json.dumps(
            {"landing": key.to_dict(), "started_at": round(time.time()), "owner": uuid.uuid4().hex}
        ).encode()

    def __enter__(self) -> Claim:
        """Claim the folder, and return this object.

        :raises RespanResultsError: if a landing of another batch has claimed it, or the store refuses
        """
        for _attempt in range(MAX_ATTEMPTS):
            if self._folder.create(CLAIM_NAME, self._content):
                return self
            found = self._read()
            if found is not None:
                if not self._may_take_over(found):
                    raise RespanResultsError(self._refusal(found))
                log.info("Taking over %s from an attempt that has not completed it.", self._folder.uri)
                self._folder.remove_if(CLAIM_NAME, found)
        raise self._lost(None)

    def __exit__(self, *_error: object) -> None:
        """Remove the claim, if it is still this one."""
        try:
            self._folder.remove_if(CLAIM_NAME, self._content)
        except RespanResultsError as error:  # what the task has written, or why it failed, does not depend on it
            log.warning("The next landing in this folder will remove a file that is left: %s", error)

    def check(self) -> None:
        """Check that the folder is still claimed by this object.

        :raises ClaimLostError: if it is not
        """
        found = self._read()
        if found != self._content:
            raise self._lost(found)

    def _lost(self, found: bytes | None) -> ClaimLostError:
        other = _decode(found)
        if found is not None and not self._key.matches(other):
            return ClaimLostError(
                f"{_owner(other)} has taken over {self._folder.uri} and overwrites the results there. {OWN_FOLDER}."
            )
        return ClaimLostError(
            f"Another attempt or task has taken over {self._folder.uri} and did not complete this landing. Clear the "
            f"task. If this happens again, other tasks write into this folder. {OWN_FOLDER}."
        )

    def _read(self) -> bytes | None:
        return self._folder.read(CLAIM_NAME, max_bytes=MAX_CLAIM_BYTES)

    def _may_take_over(self, content: bytes) -> bool:
        other = _decode(content)
        return self._overwrite or self._key.has_same_files(other) or _age_seconds(other) > STALE_SECONDS

    def _refusal(self, content: bytes) -> str:
        other = _decode(content)
        return (
            f"{_owner(other)} is writing its results into {self._folder.uri}, or was killed while it wrote. "
            f"{OWN_FOLDER}. To use this folder nevertheless, set overwrite=True, or clear the task when an hour has "
            "passed."
        )


def is_claimed(folder: Folder) -> bool:
    """Return whether a landing writes into the folder at the moment, or was killed while it did."""
    return folder.size(CLAIM_NAME) is not None


def _decode(content: bytes | None) -> Mapping[str, Any]:
    try:
        claim = json.loads(content or b"")
    except (ValueError, RecursionError):
        claim = None
    return claim if isinstance(claim, dict) else {}


def _owner(claim: Mapping[str, Any]) -> str:
    landing = claim.get("landing")
    batch_id = printable_batch_id(landing) if isinstance(landing, Mapping) else None
    return f"The landing of batch {batch_id}" if batch_id else "The landing of another batch"


def _age_seconds(claim: Mapping[str, Any]) -> float:
    started_at = claim.get("started_at")
    if not isinstance(started_at, int | float):
        return float("inf")  # not a claim of ours
    return abs(time.time() - started_at)

"""The folder of a landing: what is there already, and how the files and the manifest are written beside other attempts.

The manifest is read before the download, before the folder is claimed, and once more afterwards: another attempt of the
same landing may have written it meanwhile, and then it is returned.
"""

from __future__ import annotations

import io
import json
import logging
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import IO, Any

from airflow_respan.exceptions import RespanResultsError
from airflow_respan.results.claim import CLAIM_NAME, OWN_FOLDER, Claim, ClaimLostError, is_claimed
from airflow_respan.results.folder import Folder
from airflow_respan.results.manifest import (
    MANIFEST_NAME,
    MAX_MANIFEST_BYTES,
    RESULT_FILES,
    ResultsKey,
    printable_batch_id,
    read_manifest,
    with_paths,
)

log = logging.getLogger(__name__)

MAX_SUCCESSOR_SECONDS = 300.0
"""So long an attempt waits for the one that has taken over its folder."""

SUCCESSOR_PAUSE_SECONDS = 0.1
MAX_UNCLAIMED_CHECKS = 5


class Destination:
    """The folder of one landing.

    :param folder: the folder
    :param key: what is written, and how it is checked
    :param overwrite: whether to replace the results of another batch
    """

    def __init__(self, folder: Folder, key: ResultsKey, *, overwrite: bool) -> None:
        self.folder = folder
        self._key = key
        self._overwrite = overwrite

    def find_manifest(self) -> dict[str, Any] | None:
        """Return the manifest of an attempt that completed this landing, or None.

        The files at the service are not needed then; they may have been deleted meanwhile.

        :raises RespanResultsError: if the folder has the manifest of another batch, or cannot be read
        """
        manifest = self._read_complete_manifest()
        if manifest and is_claimed(self.folder):
            # Its writer was killed just before the end, or is about to end.
            with suppress(RespanResultsError), Claim(self.folder, self._key, overwrite=False) as claim:
                manifest = self._confirm_manifest(claim)
        return manifest

    def write(
        self, files: Mapping[str, IO[bytes]], make_manifest: Callable[..., Mapping[str, Any]]
    ) -> tuple[dict[str, Any], bool]:
        """Write the files and then the manifest, unless another attempt has done so meanwhile.

        :param files: the files, by their keys in the manifest
        :param make_manifest: returns the manifest; its keyword ``sizes`` has the bytes of each file
        :return: the manifest, and whether it was written by this call
        :raises RespanResultsError: if another batch has the folder, or it cannot be written
        """
        try:
            if found := self._read_complete_manifest():
                return found, False
            with Claim(self.folder, self._key, overwrite=self._overwrite) as claim:
                if found := self._confirm_manifest(claim):
                    return found, False
                # Removed first, so that a folder with a manifest is always complete.
                self.folder.remove(MANIFEST_NAME, check=claim.check)
                sizes = {
                    name: self.folder.write(RESULT_FILES[name], file, check=claim.check) for name, file in files.items()
                }
                for name in RESULT_FILES.keys() - sizes.keys():
                    self.folder.remove(RESULT_FILES[name], check=claim.check)
                manifest = dict(make_manifest(sizes=sizes))
                self._write_manifest(manifest, claim)
                return manifest, True
        except ClaimLostError:
            if found := self._await_manifest():
                return found, False
            raise

    def _read_complete_manifest(self) -> dict[str, Any] | None:
        content = self.folder.read(MANIFEST_NAME, max_bytes=MAX_MANIFEST_BYTES)
        if content is None or not content.strip(b"\0 \r\n"):  # a disk may keep nothing else after a power failure
            return None
        manifest = read_manifest(content)
        if manifest and self._key.matches(manifest):
            sizes = self._key.sizes_in(manifest)
            if sizes is not None and all(self.folder.size(name) == size for name, size in sizes.items()):
                log.info("An earlier attempt wrote all of this into %s already.", self.folder.uri)
                return with_paths(manifest, self.folder.uri)
        elif not self._overwrite and not (manifest and self._key.has_same_files(manifest)):
            batch_id = printable_batch_id(manifest or {})
            raise RespanResultsError(
                f"The folder has the results of {f'batch {batch_id}' if batch_id else 'something else'}: "
                f"{self.folder.uri_of(MANIFEST_NAME)} would be overwritten. "
                f"{OWN_FOLDER}, or set overwrite=True."
            )
        return None

    def _confirm_manifest(self, claim: Claim) -> dict[str, Any] | None:
        """Return the manifest of an attempt that completed this landing, or None, after the folder was claimed.

        The manifest is written again, because its writer removes it if it finds that its claim is lost.
        """
        self.folder.remove_leftovers(*RESULT_FILES.values(), MANIFEST_NAME, CLAIM_NAME, check=claim.check)
        manifest = self._read_complete_manifest()
        if manifest:
            self._write_manifest(manifest, claim)
        return manifest

    def _write_manifest(self, manifest: Mapping[str, Any], claim: Claim) -> None:
        content = json.dumps(manifest, indent=2).encode()
        self.folder.write(MANIFEST_NAME, io.BytesIO(content), check=claim.check)

    def _await_manifest(self) -> dict[str, Any] | None:
        """Return the manifest of the attempt that has taken over the folder, or None if it is not of this landing."""
        deadline = time.monotonic() + MAX_SUCCESSOR_SECONDS
        unclaimed = 0  # checks in a row: while a claim is taken over, there is none for a moment
        while unclaimed < MAX_UNCLAIMED_CHECKS and time.monotonic() < deadline:
            if is_claimed(self.folder):
                unclaimed = 0
            elif (found := self._read_complete_manifest()) or self.folder.size(MANIFEST_NAME) is not None:
                return found
            else:
                unclaimed += 1
            time.sleep(SUCCESSOR_PAUSE_SECONDS)
        return None

"""The list of the data that one release saves and a later release reads, and the names in earlier releases.

A task can be deferred before an upgrade and resume after it, or be retried or cleared after it. So this release must
read these data as each earlier release wrote them. ``tests/releases`` tests this with recorded data of each release:

* trigger arguments, in Airflow's database while a task is deferred: ``triggers/`` and ``waiting/policy.py``
* arguments of the resume, in the same place: ``operators/waiting.py``, ``create.py`` and ``rounds.py`` there
* the trigger's event, in the same place until the task resumes: ``waiting/event.py``
* the note of an attempt, in ``task_state_store`` (Airflow 3.3): ``submission/note.py``
* the metadata of a batch and the name of its input file, at Respan: ``submission/identity.py``
* the manifest, in the folder of the results: ``results/manifest.py``; with several rounds: ``rounds/merge.py``
* the claim, in the same folder while results are written: ``results/claim.py``
* the owner, the plans and the notes of a task with rounds, in the same folder: ``rounds/``

To change one of them: give a new field a default, add a renamed field to a table below, and never use the name of an
old field for a new meaning. Then record what the new release writes: ``python -m tests.releases``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

RENAMED_TRIGGER_ARGUMENTS = {"told": "last_logged", "next_look_at": "next_check_at"}
"""Names in 0.1.0 -> names in this release."""

RENAMED_RESUME_ARGUMENTS = {"begun_at": "started_at"}
"""Names in 0.1.0 -> names in this release."""

RENAMED_NOTE_FIELDS = {"made_of": "fingerprint"}
"""Names in 0.1.0 -> names in this release."""


def with_todays_names(written: Mapping[str, Any], renamed: Mapping[str, str]) -> dict[str, Any]:
    """Return data that an earlier release wrote, with the field names of this release.

    :param written: the data, with the names of the release that wrote it
    :param renamed: one of the tables of this module
    """
    return {renamed.get(name, name): value for name, value in written.items()}

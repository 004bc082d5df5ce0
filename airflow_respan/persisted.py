"""What this package writes down that a later release reads, and the names that earlier releases used.

A task can be deferred, retried or cleared across an upgrade. These things are therefore read from every earlier
release, and ``tests/releases`` replays what each release wrote:

* trigger arguments, in Airflow's database while a task defers: ``triggers/batch.py`` and ``waiting/policy.py``
* arguments of the resume, there too: ``operators/waiting.py`` and ``operators/create.py``
* the trigger's event, there until the task resumes: ``waiting/event.py``
* the note of an attempt, in ``task_state_store`` (Airflow 3.3): ``submission/note.py``
* the metadata of a batch and the name of its input file, at the service: ``submission/identity.py``
* the manifest, in the folder of the results: ``results/manifest.py``

A field that is added needs a default; a field that is renamed needs an entry below; a field is never reused for
another meaning. Then record what the new release writes: ``python -m tests.releases``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

RENAMED_TRIGGER_ARGUMENTS = {"told": "last_logged", "next_look_at": "next_check_at"}
"""Names in 0.1.0 -> today's names."""

RENAMED_RESUME_ARGUMENTS = {"begun_at": "started_at"}
"""Names in 0.1.0 -> today's names."""

RENAMED_NOTE_FIELDS = {"made_of": "fingerprint"}
"""Names in 0.1.0 -> today's names."""


def with_todays_names(kept: Mapping[str, Any], renamed: Mapping[str, str]) -> dict[str, Any]:
    """Return what an earlier release wrote, under the names of this release.

    :param kept: what was written, by the names of the release that wrote it
    :param renamed: one of the tables of this module
    """
    return {renamed.get(name, name): value for name, value in kept.items()}

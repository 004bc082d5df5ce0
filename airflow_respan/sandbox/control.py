"""What another process may do to the sandbox: inject and heal faults, make and change batches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from aiohttp import web

from airflow_respan.sandbox.batches import Batches
from airflow_respan.sandbox.downloads import Download
from airflow_respan.sandbox.faults import Fault

CONTROL = "/_sandbox/"
"""Below this path, which the service does not have, no key is asked for and nothing is logged."""


@dataclass(kw_only=True)
class Injected:
    """A fault that lies in wait for requests.

    :param times: how many requests it will still hit; None hits until it is healed
    """

    fault: Fault
    times: int | None
    path: str
    method: str | None

    def hits(self, request: web.Request) -> bool:
        """Say whether a request meets it; what spoils a file's content lies in wait for downloads alone."""
        return (
            self.path in f"{request.path}$"
            and self.method in (None, request.method)
            and (self.fault.download is None or request.path.rstrip("/").endswith("/content"))
        )


@dataclass(kw_only=True)
class Control:
    """The control endpoints.

    :param batches: the service's batches
    :param faults: the service's faults, changed in place
    """

    batches: Batches
    faults: list[Injected]

    async def post_faults(self, request: web.Request) -> web.Response:
        """Inject a fault from another process: ``{"fault": {"status": 503}, "times": 3, "path": "/batches/"}``.

        What spoils a download is ``{"fault": {"download": {"missing_row": 3}}}``. An empty object heals all.
        """
        wanted = await json_object(request)
        if not wanted:
            self.faults.clear()
            return web.json_response({"faults": 0})
        fault = dict(wanted["fault"])
        if "download" in fault:
            fault["download"] = Download(**fault["download"])
        self.faults.append(
            Injected(
                fault=Fault(**fault),
                times=wanted.get("times", 1),
                path=wanted.get("path", ""),
                method=wanted.get("method"),
            )
        )
        return web.json_response({"faults": len(self.faults)})

    async def post_batches(self, request: web.Request) -> web.Response:
        """Make a batch from nothing, or change one, from another process: its fields, ``id`` to change one."""
        fields = await json_object(request)
        batch_id = fields.pop("id", None)
        if batch_id is None:
            batch_id = self.batches.add(**fields)
        else:
            self.batches.change(batch_id, **fields)
        return web.json_response(self.batches.get(batch_id))


async def json_object(request: web.Request) -> dict[str, Any]:
    """Read a request's body.

    :raises web.HTTPBadRequest: if it is no JSON object
    """
    try:
        data = await request.json()
    except ValueError:
        raise web.HTTPBadRequest(reason="JSON parse error") from None
    if not isinstance(data, dict):
        raise web.HTTPBadRequest(reason="A JSON object is expected")
    return data

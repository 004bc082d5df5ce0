"""The HTTP endpoints by which another process injects and removes faults, and creates and changes batches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from aiohttp import web

from airflow_respan.sandbox.batches import Batches
from airflow_respan.sandbox.downloads import Download
from airflow_respan.sandbox.faults import Fault

CONTROL_PATH = "/_sandbox/"
"""The service has no such path. Requests below it need no key, and are not recorded."""


@dataclass(kw_only=True)
class InjectedFault:
    """A fault, and the requests that get it.

    :param times: how many more requests get it; None if all do until it is removed
    :param path: only requests with this in their path, or at its end if this ends with ``$``
    :param method: only requests with this method; None for every method
    """

    fault: Fault
    times: int | None
    path: str
    method: str | None

    def matches(self, request: web.Request) -> bool:
        """Return whether a request gets the fault; a fault of a file's content is for downloads only."""
        return (
            self.path in f"{request.path}$"
            and self.method in (None, request.method)
            and (self.fault.download is None or request.path.rstrip("/").endswith("/content"))
        )


@dataclass(kw_only=True)
class Control:
    """The control endpoints.

    :param batches: the batches of the service
    :param faults: the faults of the service; this list is changed in place
    """

    batches: Batches
    faults: list[InjectedFault]

    async def post_faults(self, request: web.Request) -> web.Response:
        """Inject a fault: ``{"fault": {"status": 503}, "times": 3, "path": "/batches/"}``.

        ``{"fault": {"download": {"missing_row": 3}}}`` is a fault of a file's content. An empty object removes all
        faults.
        """
        body = await json_object(request)
        if not body:
            self.faults.clear()
            return web.json_response({"faults": 0})
        fault = dict(body["fault"])
        if "download" in fault:
            fault["download"] = Download(**fault["download"])
        self.faults.append(
            InjectedFault(
                fault=Fault(**fault),
                times=body.get("times", 1),
                path=body.get("path", ""),
                method=body.get("method"),
            )
        )
        return web.json_response({"faults": len(self.faults)})

    async def post_batches(self, request: web.Request) -> web.Response:
        """Create a batch with the given fields, or change the batch with the given ``id``."""
        fields = await json_object(request)
        batch_id = fields.pop("id", None)
        if batch_id is None:
            batch_id = self.batches.add(**fields)
        else:
            self.batches.change(batch_id, **fields)
        return web.json_response(self.batches.get(batch_id))


async def json_object(request: web.Request) -> dict[str, Any]:
    """Return the body of a request, parsed.

    :raises web.HTTPBadRequest: if it is not a JSON object
    """
    try:
        data = await request.json()
    except ValueError:
        raise web.HTTPBadRequest(reason="JSON parse error") from None
    if not isinstance(data, dict):
        raise web.HTTPBadRequest(reason="A JSON object is expected")
    return data

"""The HTTP endpoints by which another process controls the sandbox: faults, batches, outcomes, and what was run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from aiohttp import web

from airflow_respan.sandbox import error_responses
from airflow_respan.sandbox.batches import Batches
from airflow_respan.sandbox.downloads import Download
from airflow_respan.sandbox.faults import Fault
from airflow_respan.sandbox.outcomes import read_outcomes

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

    async def post_outcomes(self, request: web.Request) -> web.Response:
        """Choose how single requests end: ``{"outcomes": "20% 429, ok"}`` or ``{"outcomes": {"r-7": "429, ok"}}``."""
        outcomes = (await json_object(request)).get("outcomes")
        texts = outcomes.values() if isinstance(outcomes, dict) else [outcomes]
        if not isinstance(outcomes, str | dict) or not all(isinstance(text, str) for text in texts):
            return error_responses.invalid_field("outcomes", "A text is expected, or an object of texts.")
        try:
            self.batches.outcomes = read_outcomes(outcomes)
        except ValueError as error:
            return error_responses.invalid_field("outcomes", str(error))
        return web.json_response({"outcomes": outcomes})

    async def get_runs(self, request: web.Request) -> web.Response:
        """Respond with how often each request was run, and with the requests that each batch has run."""
        del request
        runs = self.batches.runs
        return web.json_response({"requests": runs.by_request(), "batches": runs.by_batch()})


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

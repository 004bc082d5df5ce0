"""The HTTP endpoints of the sandbox: all of the API, with and without trailing slash. Each request is recorded."""

from __future__ import annotations

import base64
import binascii
import json
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import BodyPartReader, web

from airflow_respan.sandbox import error_responses, model
from airflow_respan.sandbox.batches import Batches
from airflow_respan.sandbox.content import Content
from airflow_respan.sandbox.control import CONTROL_PATH, Control, InjectedFault, json_object
from airflow_respan.sandbox.faults import Fault
from airflow_respan.sandbox.files import Files
from airflow_respan.sandbox.received import ReceivedRequest

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(kw_only=True)
class Service:
    """The state of the sandbox, and its endpoints.

    :param api_keys: the keys that are accepted
    """

    api_keys: set[str]
    files: Files
    batches: Batches
    faults: list[InjectedFault] = field(default_factory=list)
    requests: deque[ReceivedRequest] = field(default_factory=lambda: deque(maxlen=100_000))

    def app(self) -> web.Application:
        """Return the web application."""
        app = web.Application(middlewares=[self._handle], client_max_size=2**30)
        routes: list[tuple[str, str, Handler]] = [
            ("GET", "/api/v1/batches", self.list_batches),
            ("POST", "/api/v1/batches", self.create_batch),
            ("GET", "/api/v1/batches/{id}", self.get_batch),
            ("POST", "/api/v1/batches/{id}/cancel", self.cancel_batch),
        ]
        # Respan has its files at /api/files. The openai client has one base URL and requests files beside batches.
        for files in ("/api/files", "/api/v1/files"):
            routes += [
                ("GET", files, self.list_files),
                ("POST", files, self.upload_file),
                ("GET", f"{files}/{{id}}", self.get_file),
                ("DELETE", f"{files}/{{id}}", self.delete_file),
                ("GET", f"{files}/{{id}}/content", self.file_content),
            ]
        for method, path, handler in routes:
            app.router.add_route(method, path, handler)
            app.router.add_route(method, f"{path}/", handler)
        app.on_response_prepare.append(self._record_content_status)
        control = Control(batches=self.batches, faults=self.faults)
        app.router.add_post(f"{CONTROL_PATH}faults", control.post_faults)
        app.router.add_post(f"{CONTROL_PATH}batches", control.post_batches)
        app.router.add_post(f"{CONTROL_PATH}outcomes", control.post_outcomes)
        app.router.add_get(f"{CONTROL_PATH}runs", control.get_runs)
        return app

    @web.middleware
    async def _handle(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Record a request, and respond to it."""
        if request.path.startswith(CONTROL_PATH):
            return await handler(request)
        params = _respan_params(request.headers.get("X-Data-Respan-Params"))
        headers = {name: value for name, value in request.headers.items() if name.lower() != "authorization"}
        received = ReceivedRequest(
            method=request.method,
            path=request.path,
            query=dict(request.query),
            headers=headers,
            params=params or {},
            body=await request.read() if request.content_type == "application/json" else b"",
            peer=str(request.transport and request.transport.get_extra_info("peername")),
            at=time.monotonic(),
        )
        self.requests.append(received)
        response = await self._respond(request, handler, params, received)
        if request.transport is not None and not request.transport.is_closing():
            received.status = response.status
        return response

    async def _record_content_status(self, request: web.Request, response: web.StreamResponse) -> None:
        """Record the status of a file's content, which aiohttp decides only when it starts to send the response."""
        if isinstance(response, Content) and request.transport is not None and not request.transport.is_closing():
            response.record_status(response.status)

    async def _respond(
        self, request: web.Request, handler: Handler, params: dict[str, Any] | None, received: ReceivedRequest
    ) -> web.StreamResponse:
        faults = self._matching_faults(request)
        for fault in faults:
            response = await fault.play(request)
            if response is not None:
                return response
        if refusal := self._check_key_and_params(request, params):
            return refusal
        try:
            response = await handler(request)
        except web.HTTPException as error:
            response = web.json_response({"detail": error.reason}, status=error.status)
        if isinstance(response, Content):
            response.received = received
        for fault in faults:
            response = await fault.spoil(request, response)
        return response

    def _check_key_and_params(self, request: web.Request, params: object) -> web.Response | None:
        scheme, _space, key = request.headers.get("Authorization", "").partition(" ")
        if scheme != "Bearer" or not key:
            return error_responses.make_error(401, "Authentication credentials were not provided.")
        if key not in self.api_keys:
            return error_responses.make_error(401, "Invalid API key.")
        if params is None:
            return error_responses.invalid_field("X-Data-Respan-Params", "Neither a JSON object nor one in Base64.")
        return None

    def _matching_faults(self, request: web.Request) -> list[Fault]:
        """Return the faults that this request gets, and count it for each of them."""
        matching = []
        for injected in list(self.faults):
            if injected.matches(request):
                matching.append(injected.fault)
                if injected.times is not None:
                    injected.times -= 1
                    if injected.times <= 0:
                        self.faults.remove(injected)
                if injected.fault.status is not None or injected.fault.download is not None:
                    break
        return matching

    async def list_batches(self, request: web.Request) -> web.Response:
        """Respond to ``GET /api/v1/batches/``."""
        limit = request.query.get("limit", "20")
        if not limit.isdecimal() or not 1 <= int(limit) <= 100:
            return error_responses.invalid_field("limit", "Ensure this value is between 1 and 100.")
        return web.json_response(self.batches.page(limit=int(limit), after=request.query.get("after")))

    async def create_batch(self, request: web.Request) -> web.Response:
        """Respond to ``POST /api/v1/batches/``."""
        fields = await json_object(request)
        for name in ("input_file_id", "endpoint", "completion_window"):
            if not isinstance(fields.get(name), str):
                return error_responses.invalid_field(name, "This field is required.")
        file = self.files.get(fields["input_file_id"])
        if file is None:
            return error_responses.make_error(400, f"No such file: {fields['input_file_id']}")
        if fields["endpoint"] not in model.ENDPOINTS:
            return error_responses.make_error(400, f"Invalid endpoint: {fields['endpoint']}")
        if refusal := error_responses.check_metadata(fields.get("metadata")):
            return refusal
        accepted = {name: fields.get(name) for name in ("endpoint", "completion_window", "metadata")}
        return web.json_response(self.batches.create(file, accepted))

    async def get_batch(self, request: web.Request) -> web.Response:
        """Respond to ``GET /api/v1/batches/{id}/``."""
        return self._batch_response(request, self.batches.get(request.match_info["id"]))

    async def cancel_batch(self, request: web.Request) -> web.Response:
        """Respond to ``POST /api/v1/batches/{id}/cancel/``."""
        return self._batch_response(request, self.batches.cancel(request.match_info["id"]))

    async def list_files(self, request: web.Request) -> web.Response:
        """Respond to ``GET /api/files/``."""
        del request
        files = [file.to_dict() for file in self.files.all()]
        return web.json_response({"object": "list", "data": files, "has_more": False})

    async def upload_file(self, request: web.Request) -> web.Response:
        """Respond to ``POST /api/files/``; the content is written to disk as it arrives."""
        if not request.content_type.startswith("multipart/"):
            return error_responses.invalid_field("file", "This field is required.")
        file, purpose = None, None
        try:
            async for part in await request.multipart():
                if isinstance(part, BodyPartReader) and part.name == "purpose":
                    purpose = await part.text()
                elif isinstance(part, BodyPartReader) and part.name == "file":
                    file = self.files.new(filename=part.filename or "file", purpose="batch")
                    with file.path.open("wb") as target:
                        while piece := await part.read_chunk(2**16):
                            target.write(piece)
            if file is None or purpose is None:
                return error_responses.invalid_field("purpose" if file else "file", "This field is required.")
            self.files.add(file)
            return web.json_response(file.to_dict())
        finally:
            if file is not None and self.files.get(file.id) is None:
                file.path.unlink()  # the upload was cut off or refused

    async def get_file(self, request: web.Request) -> web.Response:
        """Respond to ``GET /api/files/{id}/``."""
        file = self.files.get(request.match_info["id"])
        return web.json_response(file.to_dict()) if file else error_responses.file_not_found(request.match_info["id"])

    async def delete_file(self, request: web.Request) -> web.Response:
        """Respond to ``DELETE /api/files/{id}/``."""
        file_id = request.match_info["id"]
        if not self.files.delete(file_id):
            return error_responses.file_not_found(file_id)
        return web.json_response({"id": file_id, "object": "file", "deleted": True})

    async def file_content(self, request: web.Request) -> web.StreamResponse:
        """Respond to ``GET /api/files/{id}/content/`` from disk."""
        file = self.files.get(request.match_info["id"])
        return Content(file.path) if file else error_responses.file_not_found(request.match_info["id"])

    def _batch_response(self, request: web.Request, batch: dict[str, Any] | None) -> web.Response:
        if batch is None:
            return error_responses.make_error(404, f"No such batch: {request.match_info['id']}")
        return web.json_response(batch)


def _respan_params(header: str | None) -> dict[str, Any] | None:
    """Return the tracking parameters in the header, JSON or Base64 of JSON; None if it is neither."""
    if header is None:
        return {}
    try:
        text = header if header.startswith("{") else base64.b64decode(header, validate=True)
        params = json.loads(text)
    except (ValueError, binascii.Error):
        return None
    return params if isinstance(params, dict) else None

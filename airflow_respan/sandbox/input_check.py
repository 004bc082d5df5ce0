"""Checks the lines of a batch's input file, as a provider does before it runs them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from airflow_respan.sandbox import model

Problem = tuple[str, str, str | None]
"""Why a line is refused: the code, the message, and the key that is wrong."""


class InputCheck:
    """The check of one input file, line by line.

    :param endpoint: the endpoint of the batch
    :param one_model: whether all lines must name the same model
    """

    def __init__(self, *, endpoint: str, one_model: bool) -> None:
        self._endpoint = endpoint
        self._one_model = one_model
        self._model: object = None
        self._custom_ids: set[str] = set()

    def check(self, line: bytes) -> Problem | None:
        """Return why a provider would refuse the next line, or None if it would accept the line."""
        try:
            request = json.loads(line)
        except (ValueError, RecursionError):
            return "invalid_json_line", "This line is not parseable as valid JSON.", None
        if not isinstance(request, Mapping):
            return "invalid_request", "This line is not a JSON object.", None
        for name, kind in (("custom_id", str), ("method", str), ("url", str), ("body", Mapping)):
            if not isinstance(request.get(name), kind):
                return "missing_required_parameter", f"Missing required parameter: '{name}'.", name
        return self._check_request(request)

    def _check_request(self, request: Mapping[str, Any]) -> Problem | None:
        custom_id = request["custom_id"]
        if custom_id in self._custom_ids:
            return "duplicate_custom_id", f"The custom_id {custom_id!r} is used by another line.", "custom_id"
        self._custom_ids.add(custom_id)
        for name, code, expected in (("method", "invalid_method", "POST"), ("url", "url_mismatch", self._endpoint)):
            if request[name] != expected:
                return code, f"The {name} {request[name]!r} is not the batch's {expected!r}.", name
        chosen = request["body"].get("model")
        if self._model is None:
            self._model = chosen
        if self._one_model and chosen != self._model:
            message = f"The model {chosen!r} is not {self._model!r}, which the first line has. A batch has one model."
            return "model_mismatch", message, "body.model"
        try:
            model.own_outcomes(request["body"])
        except ValueError as reason:
            return "sandbox", f"The prompt chooses an outcome for the sandbox: {reason}", "body"
        return None

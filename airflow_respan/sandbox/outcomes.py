"""How single requests end: which request fails, how, and in which attempt.

The short form of outcomes is a text. A comma separates the attempts, and the last outcome holds for all further
attempts: ``429, ok`` fails the first time and succeeds from then on. A semicolon separates groups of requests:
``20% 429, ok; 5% missing`` gives the first outcomes to a fifth of the requests, and the second to a twentieth.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

_CODES = {429: "rate_limit_exceeded"}
_GROUP = re.compile(r"(?:(?P<percent>\d+(?:\.\d+)?)\s*%)?(?P<attempts>.*)", re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How one request ends; the class methods create the usual outcomes.

    :param status: the HTTP status of the response; None for a request that has no response
    :param code: the code of the error; None if the error has none
    :param message: the message of the error
    :param has_row: whether the request has a row, in the output file or in the error file
    """

    status: int | None = 200
    code: str | None = None
    message: str = ""
    has_row: bool = True

    @classmethod
    def ok(cls) -> Outcome:
        """Return the outcome of a request that is answered."""
        return cls()

    @classmethod
    def error(cls, status: int, *, code: str | None = None, message: str | None = None) -> Outcome:
        """Return the outcome of a request whose response is an error.

        :param status: the HTTP status, from 400 to 599
        :param code: the code of the error; None takes the usual code of the status, if there is one
        :param message: the message of the error
        :raises ValueError: if the status is not one of an error
        """
        if not 400 <= status <= 599:
            raise ValueError(f"The status of an error is between 400 and 599, not {status}.")
        text = f"The sandbox was told to fail with {status}." if message is None else message
        return cls(status=status, code=_CODES.get(status) if code is None else code, message=text)

    @classmethod
    def content_filter(cls) -> Outcome:
        """Return the outcome of a request that the provider's content filter refuses; it would be refused again."""
        return cls.error(400, code="content_filter", message="The content filter refused the prompt.")

    @classmethod
    def expired(cls) -> Outcome:
        """Return the outcome of a request that was not run before the batch expired: a row without a response."""
        return cls(status=None, code="batch_expired", message="The request was not run before the batch expired.")

    @classmethod
    def cancelled(cls) -> Outcome:
        """Return the outcome of a request that was not run before the batch was cancelled."""
        return cls(status=None, code="batch_cancelled", message="The request was not run before the cancellation.")

    @classmethod
    def timeout(cls) -> Outcome:
        """Return the outcome of a request that the model did not answer in time: a row without a response."""
        return cls(status=None, code="request_timeout", message="The model did not answer in time.")

    @classmethod
    def missing(cls) -> Outcome:
        """Return the outcome of a request that has no row, although ``request_counts`` count it as completed."""
        return cls(has_row=False)

    @property
    def succeeded(self) -> bool:
        """Whether ``request_counts`` count the request as completed."""
        return self.status == 200

    def make_error(self) -> dict[str, Any]:
        """Return the error as it is in a row, or in the response of a row."""
        if self.status is None:
            return {"code": self.code, "message": self.message}
        kind = "server_error" if self.status >= 500 else "invalid_request_error"
        return {"message": self.message, "type": kind, "param": None, "code": self.code}


OutcomeRule = Callable[[str, int], Outcome | None]
"""Returns the outcome of a request by its ``custom_id`` and its attempt, counted from 1; None if it is answered."""

Outcomes = str | Mapping[str, str] | OutcomeRule
"""The short form for all requests, the short form by ``custom_id``, or a function."""

WORDS: Mapping[str, Outcome] = {
    "ok": Outcome.ok(),
    "content_filter": Outcome.content_filter(),
    "expired": Outcome.expired(),
    "cancelled": Outcome.cancelled(),
    "timeout": Outcome.timeout(),
    "missing": Outcome.missing(),
}
"""The words of the short form; the HTTP statuses of errors are words, too."""


def read_outcomes(outcomes: Outcomes) -> OutcomeRule:
    """Return outcomes in any of their forms as a function.

    :raises ValueError: if a text is not in the short form; the message says which word is wrong
    """
    if isinstance(outcomes, str):
        return parse_outcomes(outcomes)
    if isinstance(outcomes, Mapping):
        rules = {custom_id: parse_outcomes(text) for custom_id, text in outcomes.items()}
        return lambda custom_id, attempt: rules[custom_id](custom_id, attempt) if custom_id in rules else None
    return outcomes


@lru_cache(maxsize=1000)  # each of 50,000 prompts may have the same text in it
def parse_outcomes(text: str) -> OutcomeRule:
    """Return the short form of outcomes as a function.

    :raises ValueError: if the text is not in the short form; the message says which word is wrong
    """
    groups = [_parse_group(group) for group in text.split(";")]

    def choose(custom_id: str, attempt: int) -> Outcome | None:
        position = _position(custom_id)
        for ratio, attempts in groups:
            if position < ratio:
                return attempts[min(attempt, len(attempts)) - 1]
            position -= ratio
        return None

    return choose


def _parse_group(group: str) -> tuple[float, list[Outcome]]:
    found = _GROUP.fullmatch(group.strip())
    assert found is not None  # noqa: S101 (for the type checker; the pattern matches every text)
    percent, attempts = found["percent"], found["attempts"].split(",")
    return 1.0 if percent is None else float(percent) / 100, [_parse_word(word.strip()) for word in attempts]


def _parse_word(word: str) -> Outcome:
    if word in WORDS:
        return WORDS[word]
    if re.fullmatch(r"[45][0-9][0-9]", word):
        return Outcome.error(int(word))
    raise ValueError(f"{word!r} is not an outcome. Use an HTTP status from 400 to 599, or one of: {', '.join(WORDS)}.")


def _position(custom_id: str) -> float:
    """Return the position of a request among all requests (ratio 0-1), the same in each run and in each attempt."""
    digest = hashlib.sha256(custom_id.encode(errors="surrogatepass")).digest()
    return float(int.from_bytes(digest[:6]) / 2**48)

"""Calls methods of the hook by name, so that one test runs over requests and over aiohttp."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Any

from airflow_respan.hooks.respan import RespanHook

WRITES = ("cancel_batch", "acancel_batch", "create_batch", "upload_file", "delete_file")
"""The methods whose requests are no GET."""


def call_hook(name: str, *arguments: Any) -> Any:
    """Call a method of the hook; one whose name starts with ``a`` in an event loop."""

    async def call() -> Any:
        async with aclosing(RespanHook()) as hook:
            return await getattr(hook, name)(*arguments)

    return asyncio.run(call()) if name.startswith("a") else getattr(RespanHook(), name)(*arguments)

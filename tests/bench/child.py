"""A process beside the benchmark that answers questions, one JSON object a line."""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from typing import Any, Self


class Child:
    """`python -m MODULE ARGUMENTS...` as a process of its own. Use as an async context manager."""

    def __init__(self, module: str, *arguments: str) -> None:
        self._command = (sys.executable, "-m", module, *arguments)
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            *self._command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.close()
        await self._process.wait()

    async def ask(self, **question: Any) -> Any:
        """The answer to one question. Raises RuntimeError when the process ends instead."""
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(question).encode() + b"\n")
        line = await self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{' '.join(self._command[1:])} ended with {await self._process.wait()}")
        return json.loads(line)


async def answer(handle: Callable[[dict[str, Any]], Awaitable[Any]]) -> None:
    """The other side: answer questions until there are no more."""
    while line := await asyncio.to_thread(sys.stdin.readline):
        sys.stdout.write(json.dumps(await handle(json.loads(line))) + "\n")
        sys.stdout.flush()

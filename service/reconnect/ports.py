"""What the supervisor needs of an engine and of the session file (`service.engine` has both)."""

from pathlib import Path
from typing import Protocol

from service.engine.content import AnyContent
from service.engine.exits import ExitReport
from service.engine.protocol import Answered, Hello, Refused, Sent


class Engine(Protocol):
    """One engine process: starts once, ends once."""

    async def start(self) -> Hello: ...

    async def connect(self, *, database: Path, device_name: str, proxy: str | None) -> None: ...

    async def send(
        self,
        *,
        token: int,
        chat: str,
        content: AnyContent,
        file: Path | None,
        secret: bytes,
        behind: int | None,
        traceparent: str | None,
    ) -> Sent | Refused: ...

    async def pair_phone(self, phone: str) -> str: ...

    async def presence(self, *, available: bool) -> None: ...

    async def ask_server(self) -> Answered: ...

    async def logout(self) -> None: ...

    async def stop(self) -> ExitReport: ...

    async def kill(self) -> ExitReport: ...

    async def wait(self) -> ExitReport: ...


class Session(Protocol):
    """The session database as far as the supervisor looks into it."""

    @property
    def path(self) -> Path: ...

    def prepare(self) -> None: ...

    def remove(self) -> None: ...

    async def device_jid(self) -> str | None: ...

    async def forget_device(self) -> None: ...

"""The owner of the connection, as the rest of the service sees it: its state, sends, and the operator's
wishes. What is done when something happens stands in `keeper`."""

import asyncio
from collections.abc import Callable
from pathlib import Path

from service.engine.content import AnyContent
from service.engine.protocol import AnyEvent, Refusal, Refused, Sent
from service.errors import EngineRefused
from service.reconnect.clearing import answer
from service.reconnect.keeper import Keeper
from service.reconnect.life import Life
from service.reconnect.policy import RULES
from service.reconnect.reason import Reason
from service.reconnect.rule import Rule
from service.reconnect.status import State, Status


class Supervisor(Keeper):
    """Keeps the account connected, and is asked to do so differently.

    A wish is handled in its turn, behind everything that happened before it.
    """

    def subscribe(self, listener: Callable[[Status], None]) -> Callable[[], None]:
        """Be told of every change of the status; the answer ends that."""
        return self._announcer.subscribe(listener)

    def listen(self, listener: Callable[[AnyEvent], None]) -> None:
        """Be told of every engine event, after the state has moved."""
        self._listeners.append(listener)

    @property
    def fence(self) -> int | None:
        """The number of the lease that is held: greater than that of every process before."""
        return self._tenancy.fence

    # --- with the engine that is connected ----------------------------------------------------------

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
    ) -> Sent | Refused:
        """Send one message; `Refusal.NOT_CONNECTED` when there is no usable connection.

        Raises EngineGone and EngineTimeout, both with the outcome unknown.
        """
        if self._life is None or not self.connected:
            return Refused(id=0, refusal=Refusal.NOT_CONNECTED, text=f"the connection is {self.status.state}")
        reply = await self._life.process.send(
            token=token,
            chat=chat,
            content=content,
            file=file,
            secret=secret,
            behind=behind,
            traceparent=traceparent,
        )
        if isinstance(reply, Sent):
            self._hearing.heard()
        return reply

    async def presence(self, *, available: bool) -> None:
        """Tell WhatsApp whether this device is in use.

        Raises EngineRefused when not connected or when WhatsApp refuses; EngineGone, EngineTimeout.
        """
        await self._online_life("presence").process.presence(available=available)

    async def logout(self) -> None:
        """Unlink this device at WhatsApp and forget the session; then nothing is done until `restart`.

        Raises EngineRefused when not connected, because nobody can be told then (`clear` forgets the
        session without telling), or when WhatsApp refuses. After EngineGone and EngineTimeout the device
        may be unlinked or not; the next login finds out.
        """
        await self._online_life("a logout").process.logout()
        await self._in_turn(self._wished, RULES[Reason.LOGOUT_ASKED])

    # --- pairing ------------------------------------------------------------------------------------

    async def pair_phone(self, phone: str) -> str:
        """The code to type into the phone with that number (digits only), to be used instead of the QR code.

        Raises EngineRefused when not in state `pairing` or when WhatsApp refuses; EngineGone, EngineTimeout.
        """
        life = self._life
        if life is None or self.status.state is not State.PAIRING:
            raise EngineRefused(f"pairing is not possible while the connection is {self.status.state}")
        code = await life.process.pair_phone(phone)
        self._post(self._code_given, life, code)
        return code

    async def abort_pairing(self) -> None:
        """Offer no codes any more; the state is `unpaired` until `restart`.

        Raises EngineRefused when no pairing is under way.
        """
        await self._in_turn(self._abort_pairing)

    # --- at any time --------------------------------------------------------------------------------

    async def restart(self) -> None:
        """A new engine now, whatever is waited for, the counts forgotten."""
        self._post(self._restart)

    async def clear(self) -> None:
        """End the engine, remove the session from the disk, and begin pairing anew.

        WhatsApp is not told: the phone shows the device as linked until it is removed there. Returns when
        the session is gone. Raises StoreUnavailable when it could not be removed, EngineRefused when the
        supervisor does not run.
        """
        await self._in_turn(self._clear)

    # --- how ----------------------------------------------------------------------------------------

    def _online_life(self, what: str) -> Life:
        if self._life is None or not self.connected:
            raise EngineRefused(f"{what} is not possible while the connection is {self.status.state}")
        return self._life

    async def _in_turn(self, handle: Callable[..., None], *arguments: object) -> None:
        """Have it handled; it answers through the future that it is given first."""
        if self._tasks is None:
            raise EngineRefused(f"the connection is {self.status.state}")
        asked: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._asked.add(asked)
        asked.add_done_callback(self._asked.discard)
        self._post(handle, asked, *arguments)
        await asked

    def _code_given(self, life: Life, code: str) -> None:
        life.code_asked = True
        if life is self._life and self.status.state is State.PAIRING:
            self._announcer.show_code(code)

    def _restart(self) -> None:
        self._begin_anew()
        self._apply(RULES[Reason.RESTARTED])

    def _wished(self, asked: "asyncio.Future[None]", rule: Rule) -> None:
        self._apply(rule)
        answer(asked)

    def _abort_pairing(self, asked: "asyncio.Future[None]") -> None:
        if self.status.state in {State.UNPAIRED, State.PAIRING}:
            self._wished(asked, RULES[Reason.PAIRING_ABORTED])
        else:
            refusal = EngineRefused(f"no pairing is under way while the connection is {self.status.state}")
            answer(asked, refusal)

    def _clear(self, asked: "asyncio.Future[None]") -> None:
        self._begin_anew()
        self._clearing.ask(asked)
        self._apply(RULES[Reason.SESSION_CLEARED])
        if self._life is None:
            self._clearing.begin(self._group)

    def _begin_anew(self) -> None:
        self._pacing.forget()
        self._not_before = 0.0
        self._deadlines.keep(None)

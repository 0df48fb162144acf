"""The page in a real browser, at desktop and phone width, on a real queue; only WhatsApp is scripted."""

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio
from aiohttp import web
from opentelemetry.trace import NoOpTracer
from playwright.async_api import Browser, Page, expect

from service.alerting.desk import AlertDesk
from service.alerting.metrics import AlertMetrics
from service.alerting.rendering import Rendering
from service.clock import SystemClock
from service.config import Settings
from service.engine.content import Text
from service.errors import EngineRefused
from service.queue.metrics import QueueMetrics
from service.queue.model import NewMessage, SendResult, State
from service.queue.outbox import Outbox
from service.queue.sqlite import SqliteStore
from service.telemetry.bound import Bound, BoundMetrics
from service.telemetry.registry import build_registry
from service.web import qr
from service.web.application import build
from service.web.health import Health
from service.web.metrics import WebMetrics
from tests.component.web.backed_up import BackedUp
from tests.component.web.browser import SIZES, browser, page
from tests.component.web.scripted import BACKING_OFF, CONNECTED, PAIRING, QR_TEXT, ScriptedConnection
from tests.ports import free_port

pytestmark = pytest.mark.asyncio(loop_scope="module")  # one browser for all, and it lives in one loop

expect.set_options(timeout=40_000)  # a deadline for a machine that does much else at the same time

API_TOKEN = "correct-horse-battery"
ANN = NewMessage(chat="4915123456789@s.whatsapp.net", content=Text(text="Hello, Ann"))


class Served:
    """A service with its HTTP side on a port of its own."""

    def __init__(self, folder: Path, *, backed_up: bool = False, **settings: object) -> None:
        self.clock = SystemClock()
        self.connection = ScriptedConnection(replace(PAIRING, since=self.clock.now()))
        self._settings = Settings(**settings)  # type: ignore[arg-type]
        self._registry = build_registry("default")
        metrics = QueueMetrics(self._registry, "default")
        self.store = SqliteStore(folder / "queue.db", account="default", metrics=metrics, clock=self.clock)
        self.outbox = Outbox(
            store=self.store,
            wake=lambda: None,
            clock=self.clock,
            metrics=metrics,
            tracer=NoOpTracer(),
            bound=Bound(0, clock=self.clock),
            bound_metrics=BoundMetrics(self._registry, "default"),
        )
        self.backups = (
            BackedUp(folder, registry=self._registry, clock=self.clock, tracer=NoOpTracer())
            if backed_up
            else None
        )
        self._metrics = WebMetrics(self._registry, "default")
        self._alerts = AlertDesk(
            chats=(),
            rendering=Rendering(),
            enqueue=self.outbox.enqueue,
            clock=self.clock,
            metrics=AlertMetrics(self._registry, "default"),
        )
        self._runner: web.AppRunner | None = None
        self.port = free_port()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    async def listen(self) -> None:
        """Serve, on the same port again after `stop`."""
        health = Health(
            clock=self.clock,
            started_at=self.clock.now(),
            heartbeat_age_s=lambda: None,
            store_trouble=lambda: None,
            status=lambda: self.connection.status,
            engine=lambda: None,
            counts=self.outbox.counts,
            oldest_queued_at=self.outbox.oldest_queued_at,
            held_back=lambda: None,
        )
        application = build(
            settings=self._settings,
            outbox=self.outbox,
            connection=self.connection,
            health=health,
            registry=self._registry,
            metrics=self._metrics,
            tracer=NoOpTracer(),
            clock=self.clock,
            alerts=self._alerts,
            backups=None if self.backups is None else self.backups.desk,
        )
        self._runner = web.AppRunner(application, shutdown_timeout=1.0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True)
        await site.start()

    async def stop(self) -> None:
        """Close the port and every stream."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def deliver_one(self) -> None:
        """What the dispatcher and a receipt do with the next message."""
        now = self.clock.now()
        (claim,) = await self.store.claim(worker="test", now=now)
        await self.store.complete(claim, whatsapp_id="3EB0AA", now=now)
        await self.store.receive(["3EB0AA"], state=State.DELIVERED, at=now, now=now)

    async def give_up_one(self) -> None:
        """What the dispatcher does with a message that can never be sent."""
        now = self.clock.now()
        (claim,) = await self.store.claim(worker="test", now=now)
        await self.store.fail(claim, result=SendResult.PERMANENT, error="refused", retry_at=None, now=now)


Serve = Callable[..., Awaitable[Served]]


@pytest_asyncio.fixture(loop_scope="module")
async def serve(tmp_path: Path) -> AsyncIterator[Serve]:
    running: list[Served] = []

    async def start(*, backed_up: bool = False, **settings: object) -> Served:
        served = Served(tmp_path, backed_up=backed_up, **settings)
        await served.store.open()
        running.append(served)
        await served.listen()
        return served

    yield start
    for served in running:
        await served.stop()
        await served.store.close()
        if served.backups is not None:
            await served.backups.close()


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def chromium() -> AsyncIterator[Browser]:
    async with browser() as running:
        yield running


async def no_sideways_scrolling(shown: Page) -> None:
    widths = await shown.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
    assert widths[0] <= widths[1]


@pytest.mark.parametrize("size", SIZES)
async def test_the_code_is_shown_then_the_state_and_the_counters_move_by_themselves(
    serve: Serve, chromium: Browser, size: str
) -> None:
    served = await serve()
    async with page(chromium, size=size) as shown:
        await shown.goto(served.url)
        code = shown.get_by_role("img", name="QR code to link a phone")
        await expect(shown.get_by_role("heading", level=1)).to_have_text("Link your phone")
        await expect(code).to_be_in_viewport(ratio=1)
        assert await code.evaluate("image => decodeURIComponent(image.src)") == (
            f"data:image/svg+xml,{qr.svg(QR_TEXT)}"
        )
        await expect(code).to_have_js_property("complete", True)
        assert await code.evaluate("image => image.naturalWidth") > 0
        await no_sideways_scrolling(shown)

        served.connection.become(replace(PAIRING, qr=QR_TEXT + "2"))
        await expect(code).to_have_attribute("data-text", QR_TEXT + "2")

        served.connection.become(replace(CONNECTED, since=served.clock.now()))
        await expect(shown.get_by_role("heading", level=1)).to_have_text("Connected")
        await expect(code).to_be_hidden()
        await expect(shown).to_have_title("Connected · Beacon")

        await served.outbox.enqueue([ANN] * 3)
        await expect(shown.locator("#waiting")).to_have_text("3")
        await served.deliver_one()
        await expect(shown.locator("#count-queued")).to_have_text("2")
        await expect(shown.locator("#count-delivered")).to_have_text("1")
        await expect(shown.locator("#rate")).to_have_text("1")
        await expect(shown.locator("#oldest")).not_to_have_text("nothing waits")
        await no_sideways_scrolling(shown)


@pytest.mark.parametrize("size", SIZES)
async def test_a_state_that_needs_somebody_says_what_to_do(
    serve: Serve, chromium: Browser, size: str
) -> None:
    served = await serve()
    async with page(chromium, size=size) as shown:
        await shown.goto(served.url)
        now = served.clock.now()
        served.connection.become(replace(BACKING_OFF, since=now, next_attempt_at=now + 30))

        await expect(shown.get_by_text(BACKING_OFF.sentence)).to_be_visible()
        await expect(shown.get_by_text("WHATSAPP_PROXY")).to_be_visible()
        await expect(shown.locator("#next")).to_be_visible()
        await no_sideways_scrolling(shown)


@pytest.mark.parametrize("size", SIZES)
async def test_a_phone_is_linked_by_code(serve: Serve, chromium: Browser, size: str) -> None:
    served = await serve()
    async with page(chromium, size=size) as shown:
        await shown.goto(served.url)
        await shown.get_by_label("Phone number with country code").fill("+49 151 23456789")
        await shown.get_by_role("button", name="Get a code").click()

        await expect(shown.locator("#code")).to_have_text("ABCD-1234")
        assert served.connection.asked_to_pair == ["4915123456789"]


async def test_a_wrong_number_is_answered_beside_the_field(serve: Serve, chromium: Browser) -> None:
    served = await serve()
    async with page(chromium, size="phone", quiet=False) as shown:  # Chromium logs every 4xx itself
        await shown.goto(served.url)
        await shown.get_by_label("Phone number with country code").fill("0151 23456789")
        await shown.get_by_role("button", name="Get a code").click()

        await expect(shown.get_by_role("alert")).to_contain_text("begins with its country code")


@pytest.mark.parametrize("size", SIZES)
async def test_logging_out_needs_a_second_press_and_restarting_does_not(
    serve: Serve, chromium: Browser, size: str
) -> None:
    served = await serve()
    async with page(chromium, size=size) as shown:
        await shown.goto(served.url)
        logout = shown.get_by_role("button", name="Log out", exact=True)
        surely = shown.get_by_role("button", name="Yes, log out")
        await expect(shown.get_by_role("heading", level=1)).to_have_text("Link your phone")
        await expect(logout).to_be_hidden()
        restart = shown.get_by_role("button", name="Restart connection")
        await expect(restart).to_be_hidden()

        served.connection.become(replace(CONNECTED, since=served.clock.now()))
        await restart.click()
        await expect(restart).to_be_enabled()
        assert served.connection.asked == ["restart"]
        await logout.click()
        await expect(shown.get_by_role("button", name="Stay linked")).to_be_focused()
        await no_sideways_scrolling(shown)
        await shown.keyboard.press("Enter")
        await expect(surely).to_be_hidden()
        await expect(logout).to_be_focused()

        await logout.click()
        await surely.click()
        await expect(surely).to_be_hidden()
        assert served.connection.asked == ["restart", "logout"]


@pytest.mark.parametrize("size", SIZES)
async def test_who_looks_can_decide_about_dead_and_held_messages(
    serve: Serve, chromium: Browser, size: str
) -> None:
    served = await serve()
    async with page(chromium, size=size) as shown:
        await shown.goto(served.url)
        undecided = shown.locator("#undecided")
        await expect(shown.locator("#count-queued")).to_have_text("0")
        await expect(undecided).to_be_hidden()

        kept = [one.message.id for one in await served.outbox.enqueue([ANN] * 3)]
        await served.give_up_one()
        for message_id in kept[1:]:
            await served.outbox.hold(message_id)
        rows = undecided.get_by_role("listitem")
        await expect(rows).to_have_count(3)
        await expect(rows.last).to_contain_text("4915123456789 text, dead: refused")
        await no_sideways_scrolling(shown)

        await rows.last.get_by_role("button", name="Try again").click()
        await expect(shown.locator("#count-queued")).to_have_text("1")
        await rows.first.get_by_role("button", name="Take back").click()
        await expect(shown.locator("#count-cancelled")).to_have_text("1")
        await rows.first.get_by_role("button", name="Send").click()
        await expect(shown.locator("#count-queued")).to_have_text("2")
        await expect(undecided).to_be_hidden()


@pytest.mark.parametrize("size", SIZES)
async def test_backups_are_seen_and_one_is_made_with_a_button(
    serve: Serve, chromium: Browser, size: str
) -> None:
    served = await serve(backed_up=True)
    assert served.backups is not None
    await served.backups.own()
    async with page(chromium, size=size) as shown:
        await shown.goto(served.url)
        last = shown.locator("#backup-last")
        await expect(last).to_have_text("none yet")
        await expect(shown.locator("#backup-verified")).to_have_text("never")
        await expect(shown.locator("#backup-place")).to_have_text("BACKUP_DIR")

        await shown.get_by_role("button", name="Back up now").click()
        await expect(shown.locator("#backup-said")).to_have_text("Done: the session is kept as backup 1.")
        await expect(last).to_have_text(re.compile(r"^\d+ s ago$"))
        await expect(shown.locator("#backup-kept")).to_have_text("1")
        await expect(shown.locator("#backup-note")).to_be_hidden()
        await no_sideways_scrolling(shown)


async def test_why_a_backup_was_not_made_is_said_beside_its_button(serve: Serve, chromium: Browser) -> None:
    served = await serve(backed_up=True)
    async with page(chromium, size="phone", quiet=False) as shown:  # Chromium logs every 4xx itself
        await shown.goto(served.url)
        await shown.get_by_role("button", name="Back up now").click()

        await expect(shown.locator("#backup-error")).to_contain_text("does not own the account")
        await expect(shown.locator("#backup-note")).to_contain_text("The last backup failed")
        await no_sideways_scrolling(shown)


async def test_without_backups_the_page_says_what_that_means(serve: Serve, chromium: Browser) -> None:
    served = await serve()
    async with page(chromium, size="phone") as shown:
        await shown.goto(served.url)
        await expect(shown.locator("#backup-last")).to_have_text("off")
        await expect(shown.locator("#backup-note")).to_contain_text("BACKUP_ENABLED=false")
        await expect(shown.get_by_role("button", name="Back up now")).to_be_hidden()
        await no_sideways_scrolling(shown)


async def test_a_question_that_the_state_has_answered_goes_away(serve: Serve, chromium: Browser) -> None:
    served = await serve()
    async with page(chromium, size="desktop") as shown:
        await shown.goto(served.url)
        served.connection.become(replace(CONNECTED, since=served.clock.now()))
        await shown.get_by_role("button", name="Log out").click()
        await expect(shown.get_by_text("Log out of WhatsApp?")).to_be_visible()

        served.connection.become(replace(BACKING_OFF, since=served.clock.now()))
        await expect(shown.get_by_text("Log out of WhatsApp?")).to_be_hidden()


async def test_what_cannot_be_done_now_is_said_beside_the_buttons(serve: Serve, chromium: Browser) -> None:
    served = await serve()
    served.connection.refusal = EngineRefused("the session is connecting")
    async with page(chromium, size="phone", quiet=False) as shown:  # Chromium logs every 4xx itself
        await shown.goto(served.url)
        served.connection.become(replace(BACKING_OFF, since=served.clock.now()))
        await shown.get_by_role("button", name="Restart connection").click()

        await expect(shown.get_by_role("alert")).to_contain_text("the session is connecting")


@pytest.mark.parametrize("size", SIZES)
async def test_with_a_token_the_page_opens_after_signing_in_and_closes_after_signing_out(
    serve: Serve, chromium: Browser, size: str
) -> None:
    served = await serve(api_token=API_TOKEN, host="127.0.0.1")
    async with page(chromium, size=size) as shown:
        await shown.goto(served.url)
        await no_sideways_scrolling(shown)
        await shown.get_by_label("Token").fill(API_TOKEN)
        await shown.get_by_role("button", name="Sign in").click()

        await expect(shown.get_by_role("heading", level=1)).to_have_text("Link your phone")
        await expect(shown.locator("#live-text")).to_have_text("live")
        (cookie,) = await shown.context.cookies()
        assert cookie["httpOnly"]
        assert API_TOKEN not in cookie["value"]

        await shown.get_by_role("button", name="Sign out").click()
        await expect(shown.get_by_label("Token")).to_be_visible()


async def test_a_wrong_token_is_said_to_be_wrong(serve: Serve, chromium: Browser) -> None:
    served = await serve(api_token=API_TOKEN, host="127.0.0.1")
    async with page(chromium, size="phone", quiet=False) as shown:  # Chromium logs every 4xx itself
        await shown.goto(served.url)
        await shown.get_by_label("Token").fill("a guess")
        await shown.keyboard.press("Enter")

        await expect(shown.get_by_role("alert")).to_contain_text("That is not the token")


async def test_a_page_that_lost_beacon_says_so_and_comes_back_by_itself(
    serve: Serve, chromium: Browser
) -> None:
    served = await serve()
    async with page(chromium, size="desktop", quiet=False) as shown:  # Chromium logs what it cannot reach
        await shown.goto(served.url)
        live = shown.locator("#live-text")
        await expect(live).to_have_text("live")

        await served.stop()
        await expect(live).to_have_text("connection to Beacon lost")

        served.connection.become(replace(CONNECTED, since=served.clock.now()))
        await served.listen()
        await expect(live).to_have_text("live")
        await expect(shown.get_by_role("heading", level=1)).to_have_text("Connected")


async def test_every_control_has_a_name_and_can_be_reached_by_keyboard(
    serve: Serve, chromium: Browser
) -> None:
    served = await serve()
    async with page(chromium, size="desktop") as shown:
        await shown.goto(served.url)
        await expect(shown.locator("#live-text")).to_have_text("live")
        reached = []
        for _ in range(6):
            await shown.keyboard.press("Tab")
            reached.append(
                await shown.evaluate("document.activeElement.innerText || document.activeElement.id")
            )

        assert reached == ["To the content", "Beacon", "phone", "Get a code", "Metrics", "Health"]
        assert await shown.evaluate(
            "[...document.querySelectorAll('input:not([hidden])')].every(field => field.labels.length === 1)"
        )

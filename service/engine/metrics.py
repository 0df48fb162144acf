"""What the engine tells: the life of the process, its commands, its events, its output."""

from collections.abc import Iterable
from enum import StrEnum
from typing import Final, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info

from service.engine.exits import ExitCause
from service.engine.output import Stream, TracebackKind
from service.engine.protocol import AnyEvent, EventsDropped, Heartbeat, Hello, Undecryptable, Unread
from service.engine.turns import Use

EVENT_KINDS: Final = tuple(str(event.__struct_config__.tag) for event in get_args(AnyEvent))

START_BUCKETS: Final = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 20.0, 30.0)
COMMAND_BUCKETS: Final = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0, 75.0, 90.0),  # 75 s is whatsmeow's own limit for a send, 90 s ours
)

_AT_FIRST: Final = Heartbeat(
    connected=False,
    logged_in=False,
    events_queued=0,
    sends_at_hand=0,
    resident_bytes=0,
    threads=0,
    open_fds=0,
    unraisable=0,
)


class CommandKind(StrEnum):
    """What the parent asks of an engine."""

    CONNECT = "connect"
    PAIR_PHONE = "pair_phone"
    SEND = "send"
    PRESENCE = "presence"
    ASK_SERVER = "ask_server"
    LOGOUT = "logout"
    STOP = "stop"


class CommandResult(StrEnum):
    """How a command ended; the refusals are `protocol.Refusal`."""

    OK = "ok"
    FAILED = "failed"
    SKIPPED = "skipped"
    NOT_CONNECTED = "not_connected"
    BUSY = "busy"
    GONE = "gone"
    TIMEOUT = "timeout"


class EngineMetrics:
    """Metrics of all engine processes of one account, of which at most one is alive."""

    def __init__(self, registry: CollectorRegistry, account: str) -> None:
        self._registry, self._account = registry, account
        self.starts = self._counter("starts", "Engine processes started.")
        self.exits = self._counters("exits", "Engine processes that ended, by cause.", "cause", ExitCause)
        self.up = self._gauge("up", "1 while an engine process has said hello and not ended.")
        self.start_seconds = Histogram(
            "whatsapp_engine_start_seconds",
            "Seconds from the start of an engine process to its first frame.",
            ["account"],
            buckets=START_BUCKETS,
            registry=registry,
        ).labels(account)
        self.resident_bytes = 0
        """Resident memory of the engine that runs, as its last heartbeat said; 0 without one."""
        self._command_metrics()
        self._event_metrics()
        self._process_metrics()

    def _command_metrics(self) -> None:
        commands = Counter(
            "whatsapp_engine_commands",
            "Commands to the engine that ended, by result.",
            ["account", "command", "result"],
            registry=self._registry,
        )
        self.commands = {
            (command, result): commands.labels(self._account, command.value, result.value)
            for command in CommandKind
            for result in CommandResult
        }
        seconds = Histogram(
            "whatsapp_engine_command_seconds",
            "Seconds from a command to its end, as the service sees it.",
            ["account", "command"],
            buckets=COMMAND_BUCKETS,
            registry=self._registry,
        )
        self.command_seconds = {
            command: seconds.labels(self._account, command.value) for command in CommandKind
        }

    def _event_metrics(self) -> None:
        self.events = self._counters("events", "Events from the engine, by kind.", "kind", EVENT_KINDS)
        self.events_dropped = self._counter(
            "events_dropped", "Events lost because the engine's queue to the service was full."
        )
        self.listener_errors = self._counter(
            "listener_errors", "Events whose handling in the service raised an error."
        )
        self.heartbeat = self._gauge("heartbeat_timestamp_seconds", "When the last heartbeat came.")
        self.last_event = self._gauge(
            "last_event_timestamp_seconds", "When the last event other than a heartbeat came."
        )
        self.undecryptable = self._counters(
            "undecryptable", "Messages that came and could not be decrypted.", "reason", Unread
        )

    def _process_metrics(self) -> None:
        self.events_queued = self._gauge("events_queued", "Events waiting in the engine to be handed over.")
        self.sends_at_hand = self._gauge("sends_at_hand", "Sends in the engine, the one in flight included.")
        self.resident_memory = self._gauge("resident_memory_bytes", "Resident memory of the engine process.")
        self.threads = self._gauge("threads", "Threads of the engine process.")
        self.open_fds = self._gauge("open_fds", "Open file descriptors of the engine process.")
        self.output_lines = self._counters(
            "output_lines", "Lines that the engine wrote, by stream.", "stream", Stream
        )
        self.output_lines_suppressed = self._counter(
            "output_lines_suppressed", "Lines that the engine wrote and that were too many to be logged."
        )
        self.tracebacks = self._counters(
            "tracebacks", "Tracebacks that the engine printed, by kind.", "kind", TracebackKind
        )
        self.turns = self._counters("turns", "Uses of encryption sessions, in turn.", "use", Use)
        self.turn_overruns = self._counter(
            "turn_overruns", "Uses of encryption sessions that did not wait any longer for their turn."
        )
        self.unraisable = self._counter(
            "unraisable_errors", "Errors in the engine that Python could only print (ctypes callbacks)."
        )
        self._info = Info(
            "whatsapp_engine", "Versions inside the engine.", ["account"], registry=self._registry
        ).labels(self._account)

    def hello(self, hello: Hello) -> None:
        """An engine is up."""
        self.up.set(1)
        self._info.info({"neonize": hello.neonize, "whatsmeow": hello.whatsmeow})

    def event(self, event: AnyEvent, *, at: float) -> None:
        """An event came at that Unix time."""
        self.events[str(event.__struct_config__.tag)].inc()
        match event:
            case Heartbeat():
                self.heartbeat.set(at)
            case EventsDropped(count=count):
                self.events_dropped.inc(count)
                self.last_event.set(at)
            case Undecryptable(reason=reason):
                self.undecryptable[reason].inc()
                self.last_event.set(at)
            case _:
                self.last_event.set(at)

    def beat(self, heartbeat: Heartbeat, *, before: Heartbeat | None) -> None:
        """What a heartbeat says of the process, and since the one `before`."""
        self.events_queued.set(heartbeat.events_queued)
        self.sends_at_hand.set(heartbeat.sends_at_hand)
        self.resident_bytes = heartbeat.resident_bytes
        self.resident_memory.set(heartbeat.resident_bytes)
        self.threads.set(heartbeat.threads)
        self.open_fds.set(heartbeat.open_fds)
        since = before or _AT_FIRST
        self.unraisable.inc(max(0, heartbeat.unraisable - since.unraisable))
        self.turn_overruns.inc(max(0, heartbeat.turn_overruns - since.turn_overruns))
        for use, taken in heartbeat.turns.items():
            self.turns[use].inc(max(0, taken - since.turns.get(use, 0)))

    def ended(self, cause: ExitCause) -> None:
        """The engine is gone, and what it held with it."""
        self.exits[cause].inc()
        self.resident_bytes = 0
        for gauge in (
            *(self.up, self.events_queued, self.sends_at_hand),
            *(self.resident_memory, self.threads, self.open_fds),
        ):
            gauge.set(0)

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(f"whatsapp_engine_{name}", text, ["account"], registry=self._registry).labels(
            self._account
        )

    def _counter(self, name: str, text: str) -> Counter:
        return Counter(f"whatsapp_engine_{name}", text, ["account"], registry=self._registry).labels(
            self._account
        )

    def _counters(self, name: str, text: str, label: str, values: Iterable[str]) -> dict[str, Counter]:
        counter = Counter(f"whatsapp_engine_{name}", text, ["account", label], registry=self._registry)
        return {value: counter.labels(self._account, str(value)) for value in values}

"""The engine process: `python -m service.engine.child --fd N`, N being its end of a Unix socket pair.

The order of the first lines matters: faulthandler before the Go library takes over SIGSEGV, logging before
neonize configures it, and only then neonize (failure-modes.md H11, H13). The process ends with os._exit:
an ordinary exit would join threads that hang inside Go for ever.
"""

import argparse
import asyncio
import ctypes
import faulthandler
import importlib.util
import logging
import os
import select
import signal
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Final, NoReturn

import uvloop

from service.engine.lines import log_to_stderr
from service.engine.protocol import PROTOCOL_VERSION, Hello
from service.errors import FrameError

log = logging.getLogger("engine.child")

EXIT_UNAVAILABLE: Final = 69  # EX_UNAVAILABLE: neonize cannot be loaded
EXIT_SOFTWARE: Final = 70  # EX_SOFTWARE: an error of ours
EXIT_PROTOCOL: Final = 76  # EX_PROTOCOL: the parent talks nonsense

_PR_SET_PDEATHSIG: Final = 1  # linux/prctl.h


class Faults:
    """Counts errors that Python could only print: in ctypes callbacks, event handlers, loop callbacks."""

    def __init__(self) -> None:
        self.count = 0

    def add(self, _error: BaseException | None = None) -> None:
        self.count += 1

    def install(self) -> None:
        """Take over sys.unraisablehook; what it printed is printed as before."""

        def hook(unraisable: Any, /) -> None:
            self.add()
            sys.__unraisablehook__(unraisable)

        sys.unraisablehook = hook

    def install_in(self, loop: asyncio.AbstractEventLoop) -> None:
        """Count, and report as before, what the loop would only report."""

        def handler(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
            self.add()
            loop.default_exception_handler(context)

        loop.set_exception_handler(handler)


def main(argv: Sequence[str] | None = None, prepare: Callable[[], None] | None = None) -> NoReturn:
    """Run an engine; never returns. `prepare` is called when neonize is loaded, before the first frame."""
    faulthandler.enable()
    log_to_stderr()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent to judge
    arguments = _parse(argv)
    end = socket.socket(fileno=arguments.fd)
    end.set_inheritable(False)
    _die_with_parent(end)
    try:
        client = _load()
        if prepare is not None:
            prepare()
    except (Exception, SystemExit):
        log.critical("neonize cannot be loaded", exc_info=True)
        _leave(EXIT_UNAVAILABLE)
    uvloop.run(_run(end, client, arguments.heartbeat))
    _leave(EXIT_SOFTWARE)


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="service.engine.child", description="Started by the service.")
    parser.add_argument("--fd", type=int, required=True, help="descriptor of the socket to the parent")
    parser.add_argument("--heartbeat", type=float, default=5.0, help="seconds between heartbeats")
    return parser.parse_args(argv)


def _die_with_parent(end: socket.socket) -> None:
    """End at once when the parent is gone, even while the event loop hangs: a second engine may already
    be starting on the same session, and two of them throw each other out."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # reaches even a stopped process

    def watch() -> None:
        poll = select.poll()
        poll.register(end, select.POLLHUP)
        poll.poll()
        os._exit(0)

    threading.Thread(target=watch, name="parent", daemon=True).start()


def _load() -> ModuleType:
    """Import neonize (0.9 s). Raises ImportError instead of letting it download a library (H12)."""
    spec = importlib.util.find_spec("neonize")
    if spec is None or not spec.submodule_search_locations:
        raise ImportError("neonize is not installed")
    folder = Path(spec.submodule_search_locations[0])
    if not any(folder.glob("neonize-*")):
        raise ImportError(f"{folder} has no library for this platform; install neonize's wheel again")
    from service.engine import client  # noqa: PLC0415 - logging and faulthandler had to come first

    return client


async def _run(end: socket.socket, client: ModuleType, heartbeat_s: float) -> NoReturn:
    code = EXIT_SOFTWARE
    try:
        code = await _serve(end, client, heartbeat_s)
    except FrameError as error:
        log.critical("the parent sent a frame that cannot be read: %s", error)
        code = EXIT_PROTOCOL
    except Exception:
        log.critical("the engine failed", exc_info=True)
    _leave(code)  # from inside the loop: leaving asyncio.run would wait for Go


async def _serve(end: socket.socket, client: ModuleType, heartbeat_s: float) -> int:
    from service.engine.server import Server  # noqa: PLC0415 - not before a failed load was told

    faults, loop = Faults(), asyncio.get_running_loop()
    faults.install()
    faults.install_in(loop)
    reader, writer = await asyncio.open_unix_connection(sock=end)
    server = Server(
        client=lambda emit: client.Client(emit=emit, fault=faults.add),
        heartbeat_s=heartbeat_s,
        unraisable=lambda: faults.count,
    )
    loop.add_signal_handler(signal.SIGTERM, server.terminate)
    neonize, whatsmeow = client.versions()
    hello = Hello(protocol=PROTOCOL_VERSION, pid=os.getpid(), neonize=neonize, whatsmeow=whatsmeow)
    return await server.serve(reader, writer, hello)


def _leave(code: int) -> NoReturn:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main()

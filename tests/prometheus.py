"""A real Prometheus of a test's own, on loopback, with exemplar storage, its data in a temporary folder."""

import asyncio
import ctypes
import json
import shutil
import signal
import tempfile
import time
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import aiohttp
import yaml

from tests.ports import free_port

PROGRAM: Final = "prometheus"
DEADLINE_S: Final = 30.0
POLL_S: Final = 0.1
STARTS: Final = 3
_PR_SET_PDEATHSIG: Final = 1  # linux/prctl.h


@dataclass(frozen=True, slots=True)
class Target:
    """One address to scrape, and labels for all that it says."""

    address: str
    labels: Mapping[str, str] = field(default_factory=dict)
    token: str | None = None


@dataclass(frozen=True, slots=True)
class Sample:
    """One element of an instant vector."""

    labels: Mapping[str, str]
    value: float


@dataclass(frozen=True, slots=True)
class Exemplar:
    """An exemplar as Prometheus keeps it, with the labels of its series."""

    series: Mapping[str, str]
    labels: Mapping[str, str]
    value: float


class PrometheusRefused(AssertionError):
    """It did not start, or answered with an error; the message says what it wrote or said."""


class Prometheus:
    """`prometheus`, running. Use as an async context manager.

    `jobs` are the targets by job name, `rules` files of rules, `alertmanagers` addresses (HOST:PORT), `flags`
    what else is on the command line. Intervals in seconds; below one second is allowed.
    """

    def __init__(
        self,
        jobs: Mapping[str, Sequence[Target]],
        *,
        rules: Sequence[Path] = (),
        alertmanagers: Sequence[str] = (),
        scrape_interval_s: float = 1.0,
        evaluation_interval_s: float = 1.0,
        flags: Sequence[str] = (),
    ) -> None:
        self.jobs = {name: list(targets) for name, targets in jobs.items()}
        self.rules = list(rules)
        self.alertmanagers = list(alertmanagers)
        self._scrape_ms = round(scrape_interval_s * 1000)
        self._evaluate_ms = round(evaluation_interval_s * 1000)
        self._flags = flags

    async def __aenter__(self) -> Self:
        program = shutil.which(PROGRAM)
        assert program is not None, "these tests need Debian's `prometheus` (.ci/run installs it)"
        self._folder = Path(tempfile.mkdtemp(prefix="beacon-prometheus-"))
        self._log = self._folder / "log"
        self._config = self._folder / "prometheus.yml"
        self._write()
        try:
            for left in reversed(range(STARTS)):  # a port found free may be taken a moment later
                self.url = f"http://127.0.0.1:{free_port()}"
                self._process = await self._start(program)
                self._http = aiohttp.ClientSession(self.url)
                if await self._ready(last=not left):
                    return self
                await self._end()
            raise AssertionError("the last start raises")
        except BaseException:
            await self._end()
            shutil.rmtree(self._folder)
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._end()
        shutil.rmtree(self._folder)

    async def query(self, expression: str) -> list[Sample]:
        """An instant query's vector; a scalar is a vector of one without labels."""
        found = await self._ask("/api/v1/query", query=expression)
        if found["resultType"] == "scalar":
            return [Sample({}, float(found["result"][1]))]
        return [Sample(one["metric"], float(one["value"][1])) for one in found["result"]]

    async def value(self, expression: str) -> float:
        """The value of a query that answers with exactly one sample."""
        found = await self.query(expression)
        assert len(found) == 1, f"{expression}: {found}"
        return found[0].value

    async def query_range(
        self, expression: str, *, last_s: float, step_s: float = 1.0
    ) -> list[tuple[dict[str, str], list[float]]]:
        """Labels and values of each series over the last seconds."""
        now = time.time()
        found = await self._ask(
            "/api/v1/query_range", query=expression, start=now - last_s, end=now, step=step_s
        )
        return [(one["metric"], [float(value) for _, value in one["values"]]) for one in found["result"]]

    async def exemplars(self, expression: str, *, last_s: float = 600.0) -> list[Exemplar]:
        """The exemplars of the series that the expression names."""
        now = time.time()
        found = await self._ask(
            "/api/v1/query_exemplars", query=expression, start=now - last_s, end=now + 1.0
        )
        return [
            Exemplar(one["seriesLabels"], exemplar["labels"], float(exemplar["value"]))
            for one in found
            for exemplar in one["exemplars"]
        ]

    async def label_values(self, label: str, match: str | None = None) -> list[str]:
        """What Grafana's `label_values(match, label)` answers."""
        selected = {} if match is None else {"match[]": match}
        found: list[str] = await self._ask(f"/api/v1/label/{label}/values", **selected)
        return found

    async def alerts(self) -> list[dict[str, Any]]:
        """Alerts that are pending or firing."""
        found: list[dict[str, Any]] = (await self._ask("/api/v1/alerts"))["alerts"]
        return found

    async def until(
        self, expression: str, *, deadline_s: float = DEADLINE_S, holds: Callable[[float], bool] = bool
    ) -> list[Sample]:
        """Wait until every sample of the query, at least one, has a value that holds."""
        found: list[Sample] = []
        try:
            async with asyncio.timeout(deadline_s):
                while not (found := await self.query(expression)) or not all(
                    holds(sample.value) for sample in found
                ):
                    await asyncio.sleep(POLL_S)
        except TimeoutError as error:
            raise AssertionError(f"after {deadline_s:.0f} s {expression} is {found}") from error
        return found

    async def reload(self) -> None:
        """Read `jobs`, `rules` and `alertmanagers` anew, as they are now."""
        self._write()
        async with self._http.post("/-/reload") as response:
            if response.status != 200:
                raise PrometheusRefused(await response.text() + self._log.read_text()[-2000:])

    def _write(self) -> None:
        config: dict[str, Any] = {
            "global": {
                "scrape_interval": f"{self._scrape_ms}ms",
                "scrape_timeout": f"{self._scrape_ms}ms",
                "evaluation_interval": f"{self._evaluate_ms}ms",
            },
            "rule_files": [str(path.resolve()) for path in self.rules],
            "alerting": {"alertmanagers": [{"static_configs": [{"targets": self.alertmanagers}]}]},
            "scrape_configs": [
                part for name, targets in self.jobs.items() for part in _scrapes(name, targets)
            ],
        }
        self._config.write_text(yaml.safe_dump(config))

    async def _start(self, program: str) -> Process:
        with self._log.open("ab") as log:
            return await asyncio.create_subprocess_exec(
                program,
                f"--config.file={self._config}",
                f"--storage.tsdb.path={self._folder / 'data'}",
                f"--web.listen-address={self.url.removeprefix('http://')}",
                "--web.enable-lifecycle",
                "--enable-feature=exemplar-storage",
                *self._flags,
                cwd=self._folder,
                stdin=DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=end_with_parent,
            )

    async def _ready(self, *, last: bool) -> bool:
        async with asyncio.timeout(DEADLINE_S):
            while self._process.returncode is None:
                try:
                    async with self._http.get("/-/ready") as response:
                        if response.status == 200:
                            return True
                except aiohttp.ClientError:
                    pass
                await asyncio.sleep(POLL_S)
        written = self._log.read_text()
        if last or "address already in use" not in written:
            raise PrometheusRefused(written)
        return False

    async def _end(self) -> None:
        if hasattr(self, "_http"):
            await self._http.close()
        if hasattr(self, "_process") and self._process.returncode is None:
            self._process.kill()  # nobody reads its data again
            await self._process.wait()

    async def _ask(self, path: str, **parameters: str | float) -> Any:
        async with self._http.get(path, params=parameters) as response:
            answer = json.loads(await response.read())
        if answer["status"] != "success":
            raise PrometheusRefused(f"{parameters}: {answer['error']}")
        return answer["data"]


def _scrapes(job: str, targets: Sequence[Target]) -> list[dict[str, Any]]:
    """One entry for each token, because credentials belong to an entry; all of them say `job`."""
    parts: list[dict[str, Any]] = []
    for number, token in enumerate(dict.fromkeys(target.token for target in targets)):
        part: dict[str, Any] = {
            "job_name": job if number == 0 else f"{job}-{number}",
            "static_configs": [
                {"targets": [target.address], "labels": {"job": job, **target.labels}}
                for target in targets
                if target.token == token
            ],
        }
        if token is not None:
            part["authorization"] = {"credentials": token}
        parts.append(part)
    return parts


def end_with_parent() -> None:
    """For `preexec_fn`: the child is killed when the test that started it is gone, however that happened."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)

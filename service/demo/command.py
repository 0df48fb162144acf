"""What `beacon demo` does, by its options."""

import asyncio
import json
import sys
import tempfile
from pathlib import Path

from service import config
from service.config import LogFormat, LogLevel
from service.demo import check as checking
from service.demo import external as serving
from service.demo import show
from service.telemetry import logging


def demo(*, check: bool, external: bool, as_json: bool) -> int:
    """Show, check or serve; the exit code. Raises SettingsError and SimulatorError."""
    if external:
        return serving.serve(config.load())
    with tempfile.TemporaryDirectory(prefix="beacon-demo-") as name:
        folder = Path(name)
        if check:
            return _check(folder, as_json=as_json)
        logging.configure(LogFormat.AUTO, LogLevel.WARNING)
        return asyncio.run(show.play(folder))


def _check(folder: Path, *, as_json: bool) -> int:
    logging.configure(LogFormat.AUTO, LogLevel.WARNING)
    report = asyncio.run(checking.play(folder))
    figures = report.as_dict()
    if as_json:
        sys.stdout.write(json.dumps(figures) + "\n")
    else:
        width = max(map(len, figures))
        sys.stdout.writelines(f"{name:<{width}}  {value}\n" for name, value in figures.items())
        sys.stdout.write("every promise was kept\n" if report.holds else "a promise was broken\n")
    return 0 if report.holds else 1

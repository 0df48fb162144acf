"""`python -m dashboards`: write the dashboards' JSON anew."""

from pathlib import Path
from typing import Final

import click

from dashboards.backup import BACKUP
from dashboards.connection import CONNECTION
from dashboards.frame import render
from dashboards.overview import OVERVIEW
from dashboards.queue import QUEUE
from dashboards.runtime import RUNTIME

RUNBOOKS: Final = "http://localhost:8081"
"""Where the example stack serves alerts/runbooks."""

BOARDS: Final = (OVERVIEW, CONNECTION, QUEUE, BACKUP, RUNTIME)


@click.command()
@click.option("--runbooks", default=RUNBOOKS, show_default=True, help="Where alerts/runbooks are served.")
@click.option(
    "--out",
    default=Path(__file__).parent,
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder to write to. Default: this package's own.",
)
def main(runbooks: str, out: Path) -> None:
    """Write the dashboards' JSON anew."""
    out.mkdir(parents=True, exist_ok=True)
    for board in BOARDS:
        (out / f"{board.name}.json").write_text(
            render(board, runbooks=runbooks.rstrip("/")), encoding="utf-8"
        )


if __name__ == "__main__":
    main()

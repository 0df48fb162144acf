"""`python -m alerts`: the shipped rules, with your own links and your job's name."""

from pathlib import Path
from urllib.parse import urlsplit

import click

from alerts.rewrite import RULES, SHIPPED, Names, is_job, rewritten


def _address(_: click.Context, parameter: click.Parameter, value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise click.BadParameter("must begin with http:// or https://", param=parameter)
    return value


def _job(_: click.Context, parameter: click.Parameter, value: str) -> str:
    if not is_job(value):
        raise click.BadParameter("must be without quotes, braces, colons and line breaks", param=parameter)
    return value


@click.command()
@click.option("--runbooks", required=True, callback=_address, help="Where alerts/runbooks is served.")
@click.option("--dashboards", required=True, callback=_address, help="Grafana's address, up to /d.")
@click.option(
    "--job",
    default=SHIPPED.job,
    show_default=True,
    callback=_job,
    help="What your Prometheus calls the job.",
)
@click.option("--out", required=True, type=click.Path(file_okay=False, path_type=Path), help="Folder.")
def main(runbooks: str, dashboards: str, job: str, out: Path) -> None:
    """Write the rules into a folder, for `rule_files` of your Prometheus."""
    names = Names(runbooks=runbooks.rstrip("/"), dashboards=dashboards.rstrip("/"), job=job)
    out.mkdir(parents=True, exist_ok=True)
    for path in sorted(RULES.glob("*.yml")):
        (out / path.name).write_text(rewritten(path.read_text(), names))


if __name__ == "__main__":
    main(prog_name="python -m alerts")

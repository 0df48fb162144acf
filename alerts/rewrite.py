"""The rules' names of places, and how they become yours."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

RULES: Final = Path(__file__).parent / "rules"


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """What the rules call things. The defaults are those of the committed files and of the example stack."""

    runbooks: str = "http://localhost:8081"
    dashboards: str = "http://localhost:3000/d"
    job: str = "beacon"


SHIPPED: Final = Names()


def is_job(name: str) -> bool:
    """Whether it can stand in YAML and in PromQL as it is."""
    return bool(name) and not set(name) & set("\"'\\\n{}#:")


def rewritten(rules: str, names: Names) -> str:
    """A file of rules with other names."""
    return (
        rules.replace(f"runbook_url: {SHIPPED.runbooks}/", f"runbook_url: {names.runbooks}/")
        .replace(f"dashboard_url: {SHIPPED.dashboards}/", f"dashboard_url: {names.dashboards}/")
        .replace(f'job="{SHIPPED.job}"', f'job="{names.job}"')
        .replace(f"job: {SHIPPED.job}\n", f"job: {names.job}\n")
        .replace(f"of the job {SHIPPED.job} ", f"of the job {names.job} ")
    )

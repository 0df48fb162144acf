"""What several commands share: options, and groups that load a command when it is asked for."""

import os
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

import click

from service.config import LOOPBACK, Settings


def own_url() -> str:
    """Where `beacon run` listens when started with the same environment."""
    port = os.environ.get("PORT") or Settings.model_fields["port"].default
    host = os.environ.get("HOST", "")
    reachable = LOOPBACK if host in {"", "0.0.0.0", "::"} else host  # noqa: S104 - compared, not bound
    return f"http://{f'[{reachable}]' if ':' in reachable else reachable}:{port}"


as_json = click.option("--json", "as_json", is_flag=True, help="One JSON object as the last line of stdout.")
at_url = click.option("--url", default=own_url, help="The service. Default: this machine, $PORT or 8000.")
with_token = click.option("--token", envvar="API_TOKEN", help="Its API_TOKEN. Default: $API_TOKEN.")
unasked = click.option("--yes", is_flag=True, help="Do not ask before doing it.")


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """A table as text; every row has as many cells as the first."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


class LazyGroup(click.Group):
    """A group some of whose commands live in modules that take time to import: `lazy` names them as
    `module:attribute`."""

    def __init__(self, *arguments: Any, lazy: Mapping[str, str], **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._lazy = lazy

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of all, those included that are not loaded."""
        return sorted({*super().list_commands(ctx), *self._lazy})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name, loaded now if need be."""
        if cmd_name not in self._lazy:
            return super().get_command(ctx, cmd_name)
        module, _, attribute = self._lazy[cmd_name].partition(":")
        command = getattr(import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

"""Every setting as a row of a table: for `beacon settings` and for the README."""

import types
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final, Union, get_args, get_origin

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from service.config import Hours, Seconds, Settings

KINDS: Final[dict[Any, str]] = {
    str: "text",
    Path: "path",
    SecretStr: "secret text",
    int: "whole number",
    float: "number",
    bool: "`on` or `off`",
    Seconds: "seconds, one number or a range",
    Hours: "two times of day, `HH:MM-HH:MM`",
    tuple: "list, separated by commas",
}


@dataclass(frozen=True, slots=True)
class Row:
    """One setting: its environment variable, what is allowed, what it is without being set, its meaning."""

    name: str
    allowed: str
    default: str
    meaning: str


def rows() -> list[Row]:
    """All settings, in the order they are declared."""
    return [
        Row(name.upper(), _allowed(field), _default(field.default), field.description or "")
        for name, field in Settings.model_fields.items()
    ]


def markdown(table: Sequence[Row]) -> str:
    """The table as Markdown."""
    lines = ["| Variable | Allowed | Default | Meaning |", "|---|---|---|---|"]
    lines += [
        f"| `{row.name}` | {row.allowed} | {f'`{row.default}`' if row.default else ''} | {row.meaning} |"
        for row in table
    ]
    return "\n".join(lines)


def plain(table: Sequence[Row]) -> str:
    """The table for a terminal: the name and what it may be, its meaning below."""
    return "\n\n".join(
        f"{row.name}={row.default}\n    {row.meaning}\n    Allowed: {row.allowed}." for row in table
    )


def _allowed(field: FieldInfo) -> str:
    kind = _kind(field.annotation)
    bounds = {
        name: value
        for bound in field.metadata
        for name in ("ge", "le", "min_length", "max_length", "pattern")
        if (value := getattr(bound, name, None)) is not None
    }
    match bounds:
        case {"ge": least, "le": most}:
            return f"{kind}, {least} to {most}"
        case {"min_length": least, "max_length": most}:
            return f"{kind}, {least} to {most} characters"
        case {"min_length": least}:
            return f"{kind}, at least {least} characters"
        case {"pattern": pattern}:
            return f"{kind}, `{pattern}`"
    return kind


def _kind(annotation: Any) -> str:
    origin = get_origin(annotation)
    if origin is Annotated:
        return _kind(get_args(annotation)[0])
    if origin in (Union, types.UnionType):
        (only,) = (part for part in get_args(annotation) if part is not type(None))
        return _kind(only)
    if isinstance(annotation, type) and issubclass(annotation, StrEnum):
        return ", ".join(f"`{member.value}`" for member in annotation)
    return KINDS[origin or annotation]


def _default(value: object) -> str:
    if value is None or value == ():
        return ""
    if isinstance(value, bool):
        return "on" if value else "off"
    return value.value if isinstance(value, StrEnum) else str(value)

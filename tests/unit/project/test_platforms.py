"""Dockerfile, Procfile, app.json: what platforms read is what they accept and what we promise."""

import ast
import json
import re
import shlex
from pathlib import Path

import click
import pytest
from jsonschema import Draft7Validator

from service.cli import main
from service.config import Settings
from service.telemetry.push import settings as push_settings

ROOT = Path(__file__).parents[3]

# After Heroku's "app.json Schema" (Dev Center), with nothing allowed that it does not name.
APP_JSON = {
    "$schema": "http://json-schema.org/draft-07/schema#",
    "type": "object",
    "additionalProperties": False,
    "required": ["name", "stack", "buildpacks", "formation", "env"],
    "properties": {
        "name": {"type": "string", "minLength": 3, "maxLength": 30},
        "description": {"type": "string"},
        "keywords": {"type": "array", "items": {"type": "string"}},
        "website": {"type": "string", "format": "uri"},
        "repository": {"type": "string", "format": "uri"},
        "logo": {"type": "string", "format": "uri"},
        "success_url": {"type": "string"},
        "image": {"type": "string"},
        "stack": {"enum": ["heroku-22", "heroku-24", "heroku-26"]},
        "scripts": {
            "type": "object",
            "additionalProperties": False,
            "properties": {"postdeploy": {"type": "string"}, "pr-predestroy": {"type": "string"}},
        },
        "env": {
            "type": "object",
            "propertyNames": {"pattern": "^[A-Z][A-Z0-9_]*$"},
            "additionalProperties": {
                "type": "object",
                "additionalProperties": False,
                "required": ["description"],
                "properties": {
                    "description": {"type": "string", "minLength": 10},
                    "value": {"type": "string"},
                    "required": {"type": "boolean"},
                    "generator": {"const": "secret"},
                },
                "not": {"required": ["value", "generator"]},
            },
        },
        "formation": {
            "type": "object",
            "additionalProperties": {
                "type": "object",
                "additionalProperties": False,
                "required": ["quantity", "size"],
                "properties": {
                    "quantity": {"type": "integer", "minimum": 0},
                    "size": {"enum": ["eco", "basic", "standard-1x", "standard-2x"]},
                },
            },
        },
        "addons": {
            "type": "array",
            "items": {
                "type": "object",
                "additionalProperties": False,
                "required": ["plan"],
                "properties": {
                    "plan": {"type": "string", "pattern": "^[a-z0-9-]+:[a-z0-9-]+$"},
                    "as": {"type": "string", "pattern": "^[A-Z][A-Z0-9_]*$"},
                    "options": {"type": "object"},
                },
            },
        },
        "buildpacks": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "additionalProperties": False,
                "required": ["url"],
                "properties": {"url": {"type": "string"}},
            },
        },
        "environments": {"type": "object"},
    },
}


@pytest.fixture(scope="module")
def app() -> dict[str, dict[str, dict[str, str]]]:
    return json.loads((ROOT / "app.json").read_text())  # type: ignore[no-any-return]


def test_app_json_is_what_heroku_accepts(app: object) -> None:
    Draft7Validator.check_schema(APP_JSON)
    assert [error.message for error in Draft7Validator(APP_JSON).iter_errors(app)] == []


def test_app_json_sets_only_what_beacon_knows(app: dict[str, dict[str, dict[str, str]]]) -> None:
    known = {name.upper() for name in Settings.model_fields} | push_settings.SECRET_VARIABLES
    assert set(app["env"]) <= known
    secrets = {name for name, entry in app["env"].items() if entry.get("generator") == "secret"}
    assert secrets == {"API_TOKEN", "METRICS_TOKEN"}


def test_app_json_and_procfile_name_the_same_processes(app: dict[str, object]) -> None:
    processes = procfile()
    assert set(processes) == {"web", "release"}
    assert app["formation"] == {"web": {"quantity": 1, "size": "basic"}}


def test_procfile_runs_commands_that_exist_without_installing_the_project() -> None:
    for command in procfile().values():
        python, dash_m, package, name, *options = shlex.split(command)
        assert (python, dash_m, package) == ("python", "-m", "service")
        main.commands[name].make_context(name, options, resilient_parsing=False)


def test_heroku_and_docker_get_ffmpeg_and_webp(app: dict[str, list[dict[str, str]]]) -> None:
    assert (ROOT / "Aptfile").read_text().split() == ["ffmpeg", "webp"]
    assert [pack["url"].rsplit("/", 1)[-1] for pack in app["buildpacks"]] == [
        "heroku-buildpack-apt",
        "python",
    ]
    assert re.search(r"apt-get install .*\bffmpeg webp\b", dockerfile())


def test_the_image_runs_without_root_and_keeps_its_data_in_a_volume() -> None:
    last = dockerfile().split("\nFROM ")[-1]
    assert "-slim" in last.splitlines()[0]
    assert re.search(r"^USER 10001:10001$", last, re.MULTILINE)
    assert re.search(r"^VOLUME /data$", last, re.MULTILINE)
    assert "DATA_DIR=/data" in last
    assert not re.search(r"^(ARG|ENV) .*(TOKEN|SECRET|PASSWORD|DATABASE_URL)", dockerfile(), re.MULTILINE)


def test_the_image_s_health_check_asks_livez_with_python_alone() -> None:
    found = re.search(r"^HEALTHCHECK .*\\\n\s+CMD (\[.*\])$", dockerfile(), re.MULTILINE)
    assert found
    python, dash_c, program = json.loads(found[1])
    assert (python, dash_c) == ("python", "-c")
    ast.parse(program)
    assert "/livez" in program


def test_the_image_is_built_from_files_that_docker_may_see() -> None:
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", dockerfile(), re.MULTILINE)
    assert {name for line in copied for name in line.split()} == allowed
    assert all((ROOT / name).exists() for name in allowed)


def test_help_is_there_for_every_command() -> None:
    for name, command in main.commands.items():
        assert command.help, name
        assert isinstance(command, click.Command)


def procfile() -> dict[str, str]:
    lines = (ROOT / "Procfile").read_text().splitlines()
    return {name: command.strip() for name, command in (line.split(":", 1) for line in lines)}


def dockerfile() -> str:
    return (ROOT / "Dockerfile").read_text()

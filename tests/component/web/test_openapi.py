"""The description of the API is of what is served, and what is served does as described."""

import asyncio
import re
import sys
from pathlib import Path
from socket import gaierror
from typing import Any

import jsonschema
import pytest
from aiohttp import ClientResponse

from service.web.openapi import EXAMPLES, OPERATIONS, OpenApi
from tests.component.web.conftest import API_TOKEN, METRICS_TOKEN, Beacon, Start

PAGES = {"/", "/sign-in", "/sign-out", "/assets/{name}", "/favicon.ico"}


async def described(beacon: Beacon, token: str | None = None) -> Any:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    response = await beacon.client.get("/api/openapi.json", headers=headers)
    assert response.status == 200
    return await response.json()


async def test_every_route_is_described_and_nothing_else(beacon: Beacon) -> None:
    served = {
        (route.method, route.resource.canonical)
        for route in beacon.application.router.routes()
        if route.resource is not None and route.method != "HEAD" and route.resource.canonical not in PAGES
    }
    paths = (await described(beacon))["paths"]

    assert {(method.upper(), path) for path, item in paths.items() for method in item} == served


async def test_every_reference_leads_somewhere_and_every_operation_has_its_own_name(beacon: Beacon) -> None:
    told = await described(beacon)

    wanted = set(re.findall(r"'#/components/schemas/(\w+)'", repr(told)))
    assert wanted == set(told["components"]["schemas"])
    names = [one["operationId"] for item in told["paths"].values() for one in item.values()]
    assert len(set(names)) == len(OPERATIONS)


async def test_a_token_is_described_where_one_is_needed(guarded: Beacon) -> None:
    told = await described(guarded, API_TOKEN)

    assert told["components"]["securitySchemes"] == {"token": {"type": "http", "scheme": "bearer"}}
    assert told["paths"]["/api/v1/messages"]["post"]["security"] == [{"token": []}]
    assert "security" not in told["paths"]["/livez"]["get"]


def test_a_route_that_is_not_described_does_not_start() -> None:
    with pytest.raises(AssertionError, match="/api/v2"):
        OpenApi().describe([*OPERATIONS, ("GET", "/api/v2")], token_needed=False)


async def test_every_example_is_accepted(beacon: Beacon) -> None:
    for example in EXAMPLES:
        if "url" not in example:
            await beacon.post(**example)


def conforms(told: Any, method: str, path: str, response: ClientResponse, answer: object) -> None:
    """The answer is one that is described, of that shape."""
    described = told["paths"][path][method.lower()]["responses"][str(response.status)]
    schema = described["content"][response.content_type]["schema"]
    jsonschema.validate(answer, {**schema, "components": told["components"]})


async def test_what_is_kept_is_answered_as_described(beacon: Beacon) -> None:
    """Every route of messages, on messages that are there, in the states that make a difference."""
    told = await described(beacon)
    one = "/api/v1/messages/{id}"
    steps = [
        ("POST", f"{one}/hold", 200),
        ("POST", f"{one}/retry", 200),
        ("POST", f"{one}/hold", 200),
        ("POST", f"{one}/release", 200),
        ("GET", one, 200),
        ("DELETE", one, 200),
        ("POST", f"{one}/retry", 409),
        ("POST", f"{one}/hold", 409),
        ("POST", f"{one}/release", 409),
        ("GET", "/api/v1/messages", 200),
        ("POST", "/api/v1/messages/retry-dead", 200),
    ]
    message_id = (await beacon.post(**EXAMPLES[0]))["id"]
    for method, path, status in steps:
        response = await beacon.client.request(method, path.replace("{id}", message_id))
        assert response.status == status
        conforms(told, method, path, response, await response.json(content_type=None))
    bodies: list[object] = [EXAMPLES[0], {"messages": [EXAMPLES[0]] * 2}, {"messages": []}]
    for body in bodies:
        response = await beacon.client.post("/api/v1/messages", json=body)
        conforms(told, "POST", "/api/v1/messages", response, await response.json(content_type=None))


CHECKS = ",".join(
    (
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_headers_conformance",
        "response_schema_conformance",
        "negative_data_rejection",
        "unsupported_method",
        "allow_header_conformance",
        "ignored_auth",
    )
)


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Random URLs lead nowhere: no name is looked up, no address outside is connected to."""

    async def refuse(*_: object, **__: object) -> None:
        raise gaierror("there is no network here")

    monkeypatch.setattr("aiohttp.resolver.ThreadedResolver.resolve", refuse)
    monkeypatch.setattr("service.web.application.is_public", lambda _: False)


@pytest.mark.usefixtures("offline")
@pytest.mark.timeout(400)  # five thousand requests, on whatever machine
async def test_requests_of_every_kind_are_answered_as_described(start: Start, tmp_path: Path) -> None:
    """Schemathesis, from the served document, right requests and wrong ones; always the same ones."""
    guarded = await start(backed_up=True, api_token=API_TOKEN, metrics_token=METRICS_TOKEN)
    assert guarded.backups is not None
    await guarded.backups.own()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "schemathesis.cli", "run", str(guarded.client.make_url("/api/openapi.json"))),
        *("--header", f"Authorization: Bearer {API_TOKEN}", "--checks", CHECKS),
        *("--exclude-path", "/api/v1/events", "--max-examples", "25", "--generation-deterministic"),
        *("--request-timeout", "10", "--no-color"),
        cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await process.communicate()
    assert process.returncode == 0, out.decode()

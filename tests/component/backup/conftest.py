"""Places for backups, each with an account that nobody has used."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from itertools import count
from pathlib import Path
from typing import Final

import asyncpg
import pytest

from service.backup.vault import Vault
from tests.component.backup.places import InDirectory, InPostgres, Place
from tests.component.backup.town import Town
from tests.component.postgres import Postgres

PLACES: Final = ("directory", "postgres")

_ACCOUNTS = count(1)


@pytest.fixture(scope="session")
def vault_url(postgres: Postgres) -> str:
    """A database for backups, one for all tests of this process."""
    return postgres.url(asyncio.run(postgres.create()))


@pytest.fixture
async def look(vault_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A look at the database past the vault."""
    connection: asyncpg.Connection = await asyncpg.connect(vault_url)
    yield connection
    await connection.close()


@pytest.fixture
def account() -> str:
    return f"account-{next(_ACCOUNTS)}"


@pytest.fixture(params=PLACES)
def database(request: pytest.FixtureRequest) -> str | None:
    """Where the place is, if it is in a database."""
    return request.getfixturevalue("vault_url") if request.param == "postgres" else None


@pytest.fixture
async def place(database: str | None, tmp_path: Path) -> AsyncIterator[Place]:
    async with AsyncExitStack() as stack:
        if database is None:
            yield InDirectory(tmp_path / "vault", stack)
        else:
            look: asyncpg.Connection = await asyncpg.connect(database)
            stack.push_async_callback(look.close)
            yield InPostgres(database, look, stack)


@pytest.fixture
async def vault(place: Place, account: str) -> Vault:
    return await place.vault(account)


@pytest.fixture
async def town(tmp_path: Path, postgres: Postgres) -> AsyncIterator[Town]:
    async with AsyncExitStack() as stack:
        yield Town(tmp_path, postgres.url(await postgres.create()), stack)

"""The queue's schema in PostgreSQL."""

from importlib import resources
from typing import Final

from service.postgres_migrations import Schema

SCHEMA: Final = Schema(
    name="queue",
    folder=resources.files("service.queue") / "sql" / "postgres",
    table="beacon_migration",
    lock=0x6265_6163_7175,  # "beacqu"
)

migrate = SCHEMA.migrate
migrations = SCHEMA.migrations

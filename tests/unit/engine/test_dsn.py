"""What Go's PostgreSQL driver is told: TLS as asked for, nothing that it chokes on, never less secret."""

from urllib.parse import parse_qsl, quote, unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.engine.dsn import engine_dsn


def asked(url: str) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(engine_dsn(url, schema="beacon_session_a-b")).query))


@pytest.fixture(autouse=True)
def _nothing_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PGSSLMODE", raising=False)


@pytest.mark.parametrize(
    ("url", "sslmode"),
    [
        ("postgres://u:p@ec2-1.compute-1.amazonaws.com:5432/d", "require"),  # Heroku leaves it out
        ("postgresql://u@db/d?sslmode=prefer", "require"),
        ("postgres://u@db/d?sslmode=disable", "disable"),
        ("postgres://u@db/d?sslmode=verify-full&sslrootcert=/ca.pem", "verify-full"),
        ("postgres://u@localhost/d", "disable"),
        ("postgres://u@127.0.0.1:5432/d", "disable"),
        ("postgres://u@[::1]/d", "disable"),
        ("postgres:///d?host=/run/postgresql", "disable"),
        ("postgres://u@localhost/d?sslmode=require", "require"),
    ],
)
def test_another_machine_is_spoken_to_over_tls_unless_the_url_says_otherwise(url: str, sslmode: str) -> None:
    assert asked(url)["sslmode"] == sslmode


def test_pgsslmode_counts_where_the_url_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGSSLMODE", "verify-ca")
    assert asked("postgres://u@db/d")["sslmode"] == "verify-ca"
    assert asked("postgres://u@db/d?sslmode=disable")["sslmode"] == "disable"


def test_the_schema_is_the_accounts_own_and_nobody_waits_for_ever() -> None:
    options = asked("postgres://u@db/d?search_path=public&connect_timeout=0")
    assert (options["search_path"], options["connect_timeout"]) == ('"beacon_session_a-b"', "10")


def test_what_only_asyncpg_knows_is_not_sent_to_the_server() -> None:
    options = asked("postgres://u@db/d?target_session_attrs=read-write&sslcrl=x&options=-c%20jit%3Doff")
    assert "target_session_attrs" not in options
    assert "sslcrl" not in options
    assert options["options"] == "-c jit=off"


@given(user=st.text(min_size=1), password=st.text(), name=st.text(alphabet="abc %/?#é"))
def test_user_password_and_name_reach_the_driver_in_an_url_that_it_can_parse(
    user: str, password: str, name: str
) -> None:
    given_url = f"postgres://{quote(user, safe='')}:{quote(password, safe='')}@db:5432/{quote(name, safe='')}"
    dsn = engine_dsn(given_url, schema="s")
    assert dsn.isascii()
    parts = urlsplit(dsn)
    assert (parts.scheme, parts.hostname, parts.port) == ("postgres", "db", 5432)
    assert (unquote(parts.username or ""), unquote(parts.password or "")) == (user, password)
    assert unquote(parts.path) == f"/{name}"


def test_a_password_that_is_not_escaped_well_is_escaped_here_because_go_would_quote_it_in_an_error() -> None:
    assert "u:50%25%20off%25zz@db" in engine_dsn("postgres://u:50% off%zz@db/d", schema="s")

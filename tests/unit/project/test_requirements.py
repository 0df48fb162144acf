"""What is installed is pinned, hashed, complete, and names no place that it comes from."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[3]
RUNTIME = "requirements.txt"
TESTS = "requirements-dev.txt"
BENCH = "requirements-bench.txt"
each = pytest.mark.parametrize("name", [RUNTIME, TESTS, BENCH])


def pins(name: str) -> dict[str, list[Requirement]]:
    """The requirements of a file, by name, each with the number of its hashes checked."""
    found: dict[str, list[Requirement]] = {}
    for entry in (ROOT / name).read_text().replace("\\\n", " ").splitlines():
        text, *hashes = re.split(r"\s+--hash=sha256:", entry.strip())
        assert hashes, f"{text} has no hash"
        assert all(re.fullmatch(r"[0-9a-f]{64}", digest) for digest in hashes), text
        requirement = Requirement(text)
        found.setdefault(requirement.name, []).append(requirement)
    return found


def project() -> Any:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@each
def test_every_requirement_is_one_version_with_hashes(name: str) -> None:
    for requirements in pins(name).values():
        for requirement in requirements:
            assert [one.operator for one in requirement.specifier] == ["=="], str(requirement)
            assert requirement.url is None


@each
def test_no_host_and_no_path_is_named(name: str) -> None:
    text = (ROOT / name).read_text()
    assert re.findall(r"://|^\s*-|@ |/", re.sub(r"--hash=", "", text), re.MULTILINE) == []


def test_what_pyproject_asks_for_is_pinned_within_its_bounds() -> None:
    wanted = project()["project"]["dependencies"] + project()["project"]["optional-dependencies"]["demo"]
    groups = project()["dependency-groups"]
    for name, lines in {
        RUNTIME: wanted + groups["build"],
        TESTS: wanted + groups["build"] + groups["dev"],
        BENCH: groups["bench"],
    }.items():
        pinned = pins(name)
        for requirement in map(Requirement, lines):
            versions = [next(iter(one.specifier)).version for one in pinned[plain(requirement.name)]]
            assert all(requirement.specifier.contains(version) for version in versions), (name, requirement)


def test_tests_run_on_what_production_runs_on() -> None:
    tests = pins(TESTS)
    for name, requirements in pins(RUNTIME).items():
        assert list(map(str, tests[name])) == list(map(str, requirements))


def test_a_benchmark_changes_nothing_that_is_installed_for_the_tests() -> None:
    tests = pins(TESTS)
    for name, requirements in pins(BENCH).items():
        assert list(map(str, tests.get(name, requirements))) == list(map(str, requirements))


def test_heroku_sees_exactly_one_list_of_packages() -> None:
    lists = ("requirements.txt", "Pipfile.lock", "poetry.lock", "uv.lock")
    assert [name for name in lists if (ROOT / name).exists()] == ["requirements.txt"]
    assert re.fullmatch(r"3\.1[1-4]", (ROOT / ".python-version").read_text().strip())

"""What the README says is what the program does."""

import re
from pathlib import Path

from click import Context

from service import settings_table
from service.cli import main
from service.config import Settings
from service.queue.model import State

README = (Path(__file__).parents[3] / "README.md").read_text()


def between_markers() -> str:
    found = re.search(r"<!-- settings:.*?-->\n(.*?)<!-- /settings -->", README, re.DOTALL)
    assert found, "README.md has no markers for the settings table"
    return found[1].strip()


def test_the_settings_table_is_the_code_s() -> None:
    assert between_markers() == settings_table.markdown(settings_table.rows()), (
        "write it anew: beacon settings --markdown"
    )


def test_every_setting_has_a_meaning_and_a_row_of_four_cells() -> None:
    assert [row.name.lower() for row in settings_table.rows()] == list(Settings.model_fields)
    assert [row.name for row in settings_table.rows() if not row.meaning] == []
    rows = between_markers().splitlines()
    assert [row for row in rows if len(re.findall(r"(?<!\\)\|", row)) != 5] == []


def test_every_command_is_described() -> None:
    assert set(re.findall(r"^\| `beacon (\w+)", README, re.MULTILINE)) == set(
        main.list_commands(Context(main))
    )


def test_every_state_of_a_message_is_explained() -> None:
    table = README[README.index("| State | Meaning |") :].split("\n\n", 1)[0]
    assert set(re.findall(r"`(\w+)`", "\n".join(line.split("|")[1] for line in table.splitlines()[2:]))) == {
        state.value for state in State
    }


def test_pictures_and_files_that_it_names_are_there() -> None:
    root = Path(__file__).parents[3]
    named = re.findall(r"\]\((?!http)([^)#]+)\)", README)
    assert [name for name in named if not (root / name).exists()] == []

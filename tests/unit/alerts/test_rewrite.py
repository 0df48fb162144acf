"""The program that writes the rules with other names."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from alerts.__main__ import main
from alerts.rewrite import SHIPPED, rewritten
from tests.unit.alerts.shipped import ALERTS, RULE_FILES

WHERE = ("--runbooks", "https://wiki.example.com/runbooks/", "--dashboards", "https://grafana.example.com/d")


def test_links_and_job_are_mine_everywhere_and_nothing_else_changes(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "alerts", *WHERE, "--job", "shop-bot", "--out", tmp_path / "rules"],
        cwd=ALERTS.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    written = {path.name: path.read_text() for path in (tmp_path / "rules").iterdir()}
    assert set(written) == {path.name for path in RULE_FILES}
    text = "".join(written.values())
    assert "localhost" not in text
    assert 'job="beacon"' not in text
    assert "https://wiki.example.com/runbooks/WhatsAppDown.md" in text
    assert 'absent(up{job="shop-bot"} == 1)' in text
    for path in RULE_FILES:
        assert len(yaml.safe_load(path.read_text())["groups"]) == len(
            yaml.safe_load(written[path.name])["groups"]
        )
    subprocess.run(["promtool", "check", "rules", *(tmp_path / "rules").iterdir()], check=True)


def test_with_the_shipped_names_nothing_changes() -> None:
    for path in RULE_FILES:
        assert rewritten(path.read_text(), SHIPPED) == path.read_text()


@pytest.mark.parametrize("job", ["", 'a"b', "a{b}", "a: b", "a\\b"])
def test_a_name_that_would_break_the_rules_is_refused(tmp_path: Path, job: str) -> None:
    ended = CliRunner().invoke(main, [*WHERE, "--job", job, "--out", str(tmp_path)])
    assert ended.exit_code == 2
    assert "must be without quotes" in ended.output
    assert not list(tmp_path.iterdir())


def test_what_is_no_address_is_refused(tmp_path: Path) -> None:
    ended = CliRunner().invoke(
        main, ["--runbooks", "wiki", "--dashboards", "http://x/d", "--out", str(tmp_path)]
    )
    assert ended.exit_code == 2
    assert "must begin with http://" in ended.output

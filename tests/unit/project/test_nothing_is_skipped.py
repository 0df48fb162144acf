"""CI may not pass over a test, however it was left out, on one core or on two."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]

LEFT_OUT = {
    "skip": "import pytest\ndef test_it(): pytest.skip('no browser')\n",
    "mark": "import pytest\n@pytest.mark.skip(reason='no browser')\ndef test_it(): pass\n",
    "fixture": "import pytest\n@pytest.fixture\ndef it(): pytest.skip('no browser')\ndef test_it(it): pass\n",
    "module": "import pytest\npytest.skip('no browser', allow_module_level=True)\n",
    "importorskip": "import pytest\npytest.importorskip('nosuchmodule')\n",
    "xfail": "import pytest\n@pytest.mark.xfail(reason='known')\ndef test_it(): assert False\n",
    "xpass": "import pytest\n@pytest.mark.xfail(reason='known')\ndef test_it(): pass\n",
}


def pytest_in(folder: Path, *arguments: str, ci: str) -> subprocess.CompletedProcess[str]:
    """pytest over our conftest.py, a good test and one module for every way of leaving a test out."""
    (folder / "conftest.py").write_text((ROOT / "tests" / "conftest.py").read_text())
    (folder / "pytest.ini").write_text("[pytest]\n")
    (folder / "test_good.py").write_text("def test_it(): pass\n")
    for name, source in LEFT_OUT.items():
        (folder / f"test_{name}.py").write_text(source)
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-ra", "-p", "no:cacheprovider", *arguments],
        env={**{k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}, "CI": ci},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def test_in_ci_every_way_of_leaving_a_test_out_is_a_failure(tmp_path: Path) -> None:
    ended = pytest_in(tmp_path, "-n", "2", ci="true")
    told = [line for line in ended.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    assert ended.returncode == 1, ended.stdout
    assert {name for name in LEFT_OUT if any(f"test_{name}.py" in line for line in told)} == set(LEFT_OUT)
    assert "1 passed" in ended.stdout


def test_in_ci_a_deselected_test_is_a_failure(tmp_path: Path) -> None:
    ended = pytest_in(tmp_path, "-p", "no:xdist", "-k", "good", "test_good.py", "test_xpass.py", ci="true")
    assert ended.returncode not in {0, 5}
    assert "1 were deselected" in ended.stdout + ended.stderr


def test_elsewhere_a_test_may_be_left_out(tmp_path: Path) -> None:
    ended = pytest_in(tmp_path, "-p", "no:xdist", ci="")
    assert ended.returncode == 0, ended.stdout
    assert "1 passed, 5 skipped, 1 xfailed, 1 xpassed" in ended.stdout

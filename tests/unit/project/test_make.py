"""`make` alone: it finds a Python that fits, and says what is missing when there is none."""

import os
import pty
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


def find_python(*candidates: str, path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["/bin/sh", str(ROOT / ".ci" / "find-python"), *candidates],
        env={"PATH": str(path)},
        capture_output=True,
        text=True,
        check=False,
    )


def stand_in(path: Path, source: str) -> Path:
    path.write_text(f"#!/bin/sh\n{source}\n")
    path.chmod(0o755)
    return path


def test_the_first_python_that_fits_is_taken(tmp_path: Path) -> None:
    stand_in(tmp_path / "python3", "exit 127")
    (tmp_path / "python3.13").symlink_to(sys.executable)
    found = find_python(path=tmp_path)
    assert found.returncode == 0, found.stderr
    assert Path(found.stdout.strip()).exists()


def test_an_old_python_is_named(tmp_path: Path) -> None:
    old = stand_in(tmp_path / "python3", 'case "$2" in *print*) echo 3.9;; *) exit 1;; esac')
    found = find_python(str(old), path=tmp_path)
    assert found.returncode == 69
    assert "Beacon needs Python 3.11 or newer" in found.stderr
    assert f"{old} is 3.9" in found.stderr


def test_a_python_without_venv_says_which_package_brings_it(tmp_path: Path) -> None:
    bare = stand_in(tmp_path / "python3", 'case "$2" in *print*) echo 3.11;; *venv*) exit 1;; esac')
    found = find_python(str(bare), path=tmp_path)
    assert found.returncode == 69
    assert "apt install python3-venv" in found.stderr


def test_no_python_at_all_is_said(tmp_path: Path) -> None:
    found = find_python("nosuchpython", path=tmp_path)
    assert (found.returncode, found.stdout) == (69, "")
    assert "None of these runs here: nosuchpython" in found.stderr


@pytest.mark.parametrize("target", ["setup", "run", "demo", "test", "check", "bench"])
def test_every_promised_target_is_there(target: str) -> None:
    planned = subprocess.run(
        ["make", "--dry-run", target],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert planned.returncode == 0, planned.stderr


ON_THIS_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execvp(sys.argv[1], sys.argv[1:])
"""
STAND_IN = """#!{python}
import signal, sys
signal.signal(signal.SIGINT, lambda *_: sys.exit({code}))
print("running", flush=True)
signal.pause()
"""


@pytest.mark.parametrize(("program_code", "make_code"), [(0, 0), (3, 2)], ids=["clean", "with-an-error"])
def test_ctrl_c_reaches_the_program_and_make_ends_as_it_does(
    tmp_path: Path, program_code: int, make_code: int
) -> None:
    """A stand-in for the program: what is tested is what make and the terminal do with Ctrl-C."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    for name in ("requirements.txt", "pyproject.toml", ".venv/.created", ".venv/.ready"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / ".venv" / "bin").mkdir()
    program = tmp_path / ".venv" / "bin" / "beacon"
    program.write_text(STAND_IN.format(python=sys.executable, code=program_code))
    program.chmod(0o755)

    ours, theirs = pty.openpty()
    try:
        with subprocess.Popen(
            [sys.executable, "-c", ON_THIS_TERMINAL, "make", "run"],
            cwd=tmp_path,
            env={"PATH": os.environ["PATH"]},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        ) as make:
            shown = b""
            while b"running" not in shown:
                shown += os.read(ours, 1024)
            os.write(ours, b"\x03")
            assert make.wait(timeout=30) == make_code
    finally:
        os.close(ours)
        os.close(theirs)

"""``./kryss`` on a clone of its own, with few pins and the real installer: what a newcomer's machine sees."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kryss.services import ROOT

COMMANDS = [
    "demo",
    "test",
    "up",
    "down",
    "refresh",
    "reprocess",
    "train",
    "evaluate",
    "takedown",
    "locate",
    "survey",
    "record",
    "diff",
    "validate",
    "rebuild",
    "bench",
    "doctor",
]
ECHO = """
import os, sys
print("ran", sys.argv[1:], os.getcwd(), os.environ["KRYSS_HOME"], sys.prefix)
"""


def _installer() -> str:
    own = ROOT / ".kryss" / "uv" / "bin" / "uv"
    found = os.environ.get("KRYSS_UV") or shutil.which("uv") or (str(own) if own.exists() else None)
    if found is None:
        pytest.skip("uv is not installed: ./kryss test installs it before it runs the tests")
    return found


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A checkout whose path has a space, whose pins are empty and whose program tells how it was called."""
    root = tmp_path / "a clone"
    program = root / "include" / "kryss" / "cli"
    program.mkdir(parents=True)
    (program / "__main__.py").write_text(ECHO)
    for package in (program, program.parent):
        (package / "__init__.py").touch()
    shutil.copytree(ROOT / "include" / "kryss" / "services", program.parent / "services")
    shutil.copy(ROOT / "kryss", root / "kryss")
    shutil.copy(ROOT / "requirements-uv.txt", root)
    (root / "requirements.txt").write_text("# none\n")
    return root


def _environment(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("KRYSS_", "PYTHON", "VIRTUAL_ENV", "UV_"))}
    return {**kept, **more}


def _run(clone: Path, *arguments: str, cwd: Path | None = None, **env: str) -> subprocess.CompletedProcess[str]:
    environment = _environment(KRYSS_UV=_installer(), KRYSS_PYTHON=sys.executable, **env)
    return subprocess.run(
        [str(clone / "kryss"), *arguments],
        cwd=cwd or clone,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def test_first_command_makes_the_environment_and_the_second_starts_at_once(clone: Path, tmp_path: Path) -> None:
    first = _run(clone, "demo", "--area", "a b", "", "*", cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    assert "==> virtual environment" in first.stderr
    assert f"ran ['demo', '--area', 'a b', '', '*'] {tmp_path} {clone / '.kryss'} {clone / '.venv'}" in first.stdout

    (tmp_path / "link").symlink_to(clone / "kryss")
    environment = _environment()
    began = time.monotonic()
    second = subprocess.run([tmp_path / "link", "up"], cwd="/", env=environment, capture_output=True, text=True, check=True)
    assert time.monotonic() - began < 2
    assert second.stderr == ""
    assert "ran ['up'] / " in second.stdout


def test_changed_pins_are_installed_by_the_next_command(clone: Path) -> None:
    _run(clone, "up")
    (clone / "requirements.txt").write_text("# other pins\n")
    assert "==> packages" in _run(clone, "up").stderr
    assert _run(clone, "up").stderr == ""


def test_failed_installation_is_told_and_made_good_by_the_next_command(clone: Path) -> None:
    pins = clone / "requirements.txt"
    pins.write_text(f"absent @ file://{clone}/absent-1.0-py3-none-any.whl --hash=sha256:{'0' * 64}\n")
    failed = _run(clone, "up")
    assert failed.returncode == 1
    assert "absent" in failed.stderr
    assert "try again" in failed.stderr
    assert failed.stdout == ""
    assert not (clone / ".venv" / ".kryss-stamp").exists()
    pins.write_text("# none\n")
    assert _run(clone, "up").returncode == 0


def test_two_commands_at_once_make_one_environment(clone: Path) -> None:
    environment = _environment(KRYSS_UV=_installer(), KRYSS_PYTHON=sys.executable)
    command = [str(clone / "kryss"), "up"]
    both = [
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)
    ]
    told = [process.communicate(timeout=240) for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sum("==> virtual environment" in stderr for _, stderr in told) == 1
    assert all("ran ['up']" in stdout for stdout, _ in told)


def test_machine_without_python_is_told_what_to_type(clone: Path, tmp_path: Path) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("bash", "env", "readlink", "dirname", "sha256sum", "mkdir", "flock", "cat"):
        (tools / name).symlink_to(shutil.which(name) or "")
    for command in ("up", "doctor"):
        done = subprocess.run(
            [str(clone / "kryss"), command], env={"PATH": str(tools)}, capture_output=True, text=True, check=False
        )
        assert done.returncode == 1
        assert "no Python 3.11 or newer" in done.stderr
        assert "sudo apt-get install -y python3 python3-venv" in done.stderr


def test_usage_names_every_command(clone: Path) -> None:
    alone = subprocess.run([str(clone / "kryss")], env=_environment(), capture_output=True, text=True, check=False)
    assert alone.returncode == 2
    named = [line.split()[0] for line in alone.stdout.splitlines() if line.startswith("  ")]
    assert set(named) == {*COMMANDS, "url"}


@pytest.mark.parametrize("command", [*COMMANDS, "url"])
def test_every_command_has_help_before_anything_is_installed(clone: Path, command: str) -> None:
    done = _run(clone, command, "--help")
    assert done.returncode == 0
    assert command in done.stdout
    assert not (clone / ".venv").exists()


def test_unknown_command_is_refused(clone: Path) -> None:
    done = _run(clone, "dmeo")
    assert done.returncode == 2
    assert "no command 'dmeo'" in done.stderr
    assert "usage" in done.stderr


def test_doctor_and_down_work_before_anything_is_installed(clone: Path) -> None:
    doctor = _run(clone, "doctor")
    assert doctor.returncode == 1
    assert "MISSING  .venv" in doctor.stdout
    assert "./kryss demo" in doctor.stdout
    down = _run(clone, "down")
    assert (down.returncode, down.stdout.strip()) == (0, "nothing was running")
    assert not (clone / ".venv").exists()


def test_launcher_is_executable_in_the_repository() -> None:
    listed = subprocess.run(["git", "ls-files", "--stage", "kryss"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert listed.startswith("100755 ")


def test_shellcheck_has_nothing_to_say() -> None:
    scripts = [str(ROOT / "kryss"), str(ROOT / ".ci" / "run")]
    done = subprocess.run([Path(sys.executable).parent / "shellcheck", *scripts], capture_output=True, text=True, check=False)
    assert done.stdout == ""
    assert done.returncode == 0

"""``./kryss locate`` for somebody with a table and nothing else: one command, one file, clear words."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from kryss.cli.__main__ import main

TABLE = """lat,lon,bearing_deg,range_m
51.5000000,-0.1000000,45.0,20
51.5002000,-0.1000000,135.9,19
nowhere,-0.1,10,5
"""


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "detections.csv"
    path.write_text(TABLE)
    return path


def test_a_table_becomes_a_geojson_and_stderr_tells_the_story(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = table.with_name("objects.geojson")
    assert main(["locate", "--detections", str(table), "--out", str(out)]) == 0
    found = json.loads(out.read_text())
    assert [one["properties"]["rows"] for one in found["features"]] == [[2, 3]]
    told = capsys.readouterr()
    assert told.out == ""
    for words in ("3 rows read", "1 refused: lat is not a finite number (line 4)", "1 objects, 0 of them confirmed"):
        assert words in told.err
    assert sorted(path.name for path in table.parent.iterdir()) == ["detections.csv", "objects.geojson"]


def test_quiet_is_quiet_and_the_options_count(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = table.with_name("objects.geojson")
    radii = []
    for sigma in ("0.5", "6"):
        assert main(["locate", "--detections", str(table), "--out", str(out), "--quiet", "--position-sigma", sigma]) == 0
        radii.append(json.loads(out.read_text())["features"][0]["properties"]["error_radius_m"])
    assert radii[0] < radii[1]
    named = ["locate", "--detections", str(table), "--out", str(out), "--quiet", "--class-default", "bollard"]
    assert main(named) == 0
    assert json.loads(out.read_text())["features"][0]["properties"]["class"] == "bollard"
    assert capsys.readouterr().err == ""


def test_what_cannot_be_used_is_said_and_ends_with_2(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = table.with_name("objects.geojson")
    out.write_text("older")
    table.write_text("lat,lon,heading\n1,2,3\n")
    assert main(["locate", "--detections", str(table), "--out", str(out)]) == 2
    assert "no column bearing_deg" in capsys.readouterr().err
    assert main(["locate", "--detections", str(table.with_name("none.csv")), "--out", str(out)]) == 2
    table.write_text(TABLE)
    assert main(["locate", "--detections", str(table), "--out", str(table.with_name("no") / "o.geojson")]) == 2
    assert "cannot be written: No such file or directory" in capsys.readouterr().err
    with pytest.raises(SystemExit) as ended:
        main(["locate", "--detections", str(table), "--out", str(out), "--bearing-sigma", "0"])
    assert ended.value.code == 2
    assert out.read_text() == "older"


def test_it_needs_neither_torch_nor_airflow_nor_a_database(table: Path) -> None:
    code = (
        "import sys; from kryss.cli.__main__ import main\n"
        f"assert main(['locate', '--detections', {str(table)!r}, '--out', {str(table.with_name('o'))!r}]) == 0\n"
        "heavy = {'torch', 'airflow', 'sqlalchemy', 'psycopg2', 'geopandas', 'onnxruntime'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr

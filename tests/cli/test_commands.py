"""The command line: help everywhere, errors that say what to do, and a recording of a playback."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from kryss.cli.__main__ import main
from kryss.cli.demo import TOWN, forget, municipality_of
from kryss.config import Settings
from kryss.demo.area import load_area
from kryss.demo.playback.play import Playback

COMMANDS = [
    "demo",
    "test",
    "up",
    "down",
    "refresh",
    "reprocess",
    "takedown",
    "locate",
    "survey",
    "record",
    "train",
    "evaluate",
    "diff",
    "validate",
    "rebuild",
    "doctor",
    "bench",
    "url",
]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    assert f"usage: kryss {command}" in capsys.readouterr().out


def test_an_unknown_municipality_is_answered_with_the_ones_that_are_near(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["refresh", "50001"]) == 1
    error = capsys.readouterr().err
    assert "50001" in error
    assert "did you mean 5001" in error


def test_a_reprocess_needs_a_model_that_there_is_and_a_takedown_a_photo_and_a_reason(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reprocess", "5001", "--model", "kryss-street-lite9"]) == 1
    assert "did you mean kryss-street-lite0" in capsys.readouterr().err
    for arguments in (
        ["5001", "--reason", "asked"],
        ["5001", "--image", "1"],
        ["5001", "--image", "IMG_1.jpg", "--reason", "asked"],
    ):
        with pytest.raises(SystemExit) as ended:
            main(["takedown", *arguments])
        assert ended.value.code == 2
    assert "digits" in capsys.readouterr().err


def test_bench_lists_what_there_is_and_refuses_what_there_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench"]) == 0
    assert "dag_parse" in capsys.readouterr().out
    assert main(["bench", "nothing"]) == 2
    assert "dag_parse" in capsys.readouterr().err


def test_a_recording_needs_a_token_and_a_sane_window(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("KRYSS_MAPILLARY_TOKEN", raising=False)
    assert main(["record", "5001", "--out", str(tmp_path / "new")]) == 1
    assert "KRYSS_MAPILLARY_TOKEN" in capsys.readouterr().err


def test_a_recorded_playback_is_the_area_that_was_played(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    area = load_area(TOWN)
    with Playback(area, area.epochs[-1]) as playback:
        entry = municipality_of(area, dict(playback.urls), None)
        towns = tmp_path / "towns.yaml"
        towns.write_text(yaml.safe_dump({"municipalities": [entry]}))
        monkeypatch.setenv("KRYSS_MUNICIPALITIES", str(towns))
        out = tmp_path / "recorded"
        assert main(["record", entry["code"], "--out", str(out)]) == 0
        assert main(["record", entry["code"], "--out", str(out)]) == 1, "a recording never overwrites"
    again = load_area(out)
    published = [{key: value for key, value in image.items() if key != "uploaded_at"} for image in area.images]

    def by_id(images: list[dict]) -> dict[str, dict]:
        return {image["id"]: json.loads(json.dumps(image, sort_keys=True)) for image in images}

    assert by_id(list(again.images)) == by_id(published)
    for image in area.images:
        assert again.photo_path(image["id"]).read_bytes() == area.photo_path(image["id"]).read_bytes()
    assert again.roads == area.roads
    assert {path.name for path in again.nvdb_path.iterdir()} == {path.name for path in area.nvdb_path.iterdir()}


def test_only_the_municipality_of_a_demo_is_ever_forgotten() -> None:
    settings = Settings.from_env({"KRYSS_DATABASE_URL": "postgresql://127.0.0.1:1/none"})
    with pytest.raises(ValueError, match="not the municipality of a demo"):
        forget(settings, {"code": "5001"}, load_area(TOWN))


def test_the_photos_of_the_town_are_not_linked_to_mapillary() -> None:
    area = load_area(TOWN)
    urls = dict.fromkeys(
        ["mapillary_graph", "mapillary_tiles", "nvdb", "overpass", "kommuneinfo", "junctions"], "http://127.0.0.1:1"
    )
    assert municipality_of(area, urls, None)["image_url"] is None

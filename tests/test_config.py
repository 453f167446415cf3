"""Settings and municipalities: what is wrong is named with its file, key and value; secrets stay hidden."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kryss.config import PLAYBACK_TOKEN, ConfigError, MunicipalityConfig, Services, Settings, load_municipalities


def write(folder: Path, text: str, name: str = "towns.yaml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_the_shipped_municipalities_are_valid() -> None:
    assert "5001" in load_municipalities([Path(__file__).parents[1] / "include" / "municipalities.yaml"])


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("municipalities: [{code: '1', name: A, roads: osm}]", ["municipalities.0", "roads", "osm"]),
        ("municipalities: [{code: '1', name: A, shard_size: 0}]", ["shard_size", "0"]),
        ("municipalities: [{code: 301, name: Oslo}]", ["code", "301"]),
        ("municipalities: [{code: '1', name: A, color: red}]", ["color"]),
        ("municipalities: [{code: '1', name: A, schedule: nightly}]", ["schedule", "nightly"]),
        ("municipalities: [{code: '1', name: A}, {code: '1', name: B}]", ["municipalities.1", "twice"]),
        ("municipalities: [{code: '-1', name: A}]", ["code", "-1"]),
        ("municipalities: [{code: _a, name: A}]", ["code", "_a"]),
        ("municipalities: [{code: '1', name: A, formats: [shapefile]}]", ["formats", "shapefile"]),
        ("municipalities: [{code: '1', name: A, keep_releases: 0}]", ["keep_releases", "0"]),
        ("municipalities: [{code: '1', name: A, plausible: {lost: 2}}]", ["plausible.lost", "2"]),
        ("municipalities: [{code: '1', name: A, plausible: {lots: 0.2}}]", ["plausible.lots"]),
        ("municipalities: [{code: '1', name: A, photos_licence: CC BY 4.0}]", ["photos_licence", "CC BY 4.0"]),
        ("towns: []", ["municipalities", "towns"]),
        ("municipalities: [", ["not YAML"]),
    ],
)
def test_a_bad_entry_is_named_with_file_key_and_value(tmp_path: Path, text: str, named: list[str]) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as error:
        load_municipalities([path])
    for part in [str(path), *named]:
        assert part in str(error.value)


def test_a_url_with_a_token_in_it_is_refused_without_showing_it(tmp_path: Path) -> None:
    entry = "municipalities: [{code: '1', name: A, services: {mapillary_graph: 'https://x.example/?access_token=SECRET'}}]"
    with pytest.raises(ConfigError) as error:
        load_municipalities([write(tmp_path, entry)])
    assert "SECRET" not in str(error.value)


def test_later_files_win_and_folders_are_read(tmp_path: Path) -> None:
    first = write(tmp_path, "municipalities: [{code: '1', name: A}]")
    folder = tmp_path / "more"
    folder.mkdir()
    write(folder, "municipalities: [{code: '1', name: B}]")
    assert load_municipalities([first, folder])["1"].name == "B"


def test_settings_hide_the_password_and_name_what_is_missing() -> None:
    settings = Settings.from_env({"KRYSS_DATABASE_URL": "postgresql://u:hunter2@h/d", "KRYSS_MAPILLARY_TOKEN": "MLY|2|feed"})
    assert "hunter2" not in repr(settings)
    assert "feed" not in repr(settings)
    with pytest.raises(ConfigError, match="KRYSS_DATABASE_URL"):
        Settings.from_env({})


def test_a_playback_on_loopback_never_gets_the_real_token() -> None:
    settings = Settings.from_env({"KRYSS_DATABASE_URL": "postgresql://h/d", "KRYSS_MAPILLARY_TOKEN": "MLY|2|feed"})
    assert settings.token_for(Services(mapillary_graph="http://127.0.0.1:8100")) == PLAYBACK_TOKEN
    assert settings.token_for(Services()) == "MLY|2|feed"


TILES = "https://tiles.example.org/{z}/{x}/{y}.png"


@pytest.mark.parametrize(
    "url", [TILES, "https://tiles.example.org/{z}/{y}/{x}@2x.jpg?style=grey", "https://[2001:db8::1]/{z}{x}{y}"]
)
def test_a_basemap_is_a_template_of_tiles(url: str) -> None:
    assert MunicipalityConfig.model_validate({"code": "1", "name": "A", "basemap_url": url}).basemap_url == url


@pytest.mark.parametrize(
    "url",
    [
        "http://tiles.example.org/{z}/{x}/{y}.png",
        "https://tiles.example.org/{z}/{x}.png",
        "https://tiles.example.org/{s}/{z}/{x}/{y}.png",
        "https:///{z}/{x}/{y}.png",
        "javascript:alert('{z}{x}{y}')",
        'https://tiles.example.org/{z}/{x}/{y}.png"><script>',
        "https://tiles.example.org/{z}/{x}/{y}.png https://other.example.org",
        "https://me:secret@tiles.example.org/{z}/{x}/{y}.png",
        "https://tiles.example.org/{z}/{x}/{y}.png?access_token=secret",
        "",
    ],
)
def test_what_a_page_must_not_ask_is_refused_and_not_shown(url: str, tmp_path: Path) -> None:
    towns = write(tmp_path, json.dumps({"municipalities": [{"code": "1", "name": "A", "basemap_url": url}]}))
    with pytest.raises(ConfigError, match="basemap_url") as error:
        load_municipalities([towns])
    assert "secret" not in str(error.value)


def test_formats_are_written_once_each() -> None:
    formats = ["pmtiles", "flatgeobuf", "pmtiles"]
    assert MunicipalityConfig.model_validate({"code": "1", "name": "A", "formats": formats}).formats == ("pmtiles", "flatgeobuf")

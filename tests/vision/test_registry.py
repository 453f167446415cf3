"""The registry: names, hashes, downloads on first use."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from kryss.vision import registry, taxonomy
from kryss.vision.registry import (
    Calibration,
    Inference,
    Suppression,
    Tiling,
    UnknownWeights,
    WeightsDamaged,
    WeightsUnavailable,
    model_key,
    resolve,
    weights_file,
)

BODY = b"weights" * 5000


class Releases:
    """A release server on loopback that counts requests and can fail on order."""

    def __init__(self) -> None:
        self.requests = 0
        self.faults: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.requests += 1
                fault = outer.faults.pop(0) if outer.faults else ""
                if fault == "gone" or "model-" not in self.path:
                    self.send_error(404)
                    return
                self.send_response(200)
                self.send_header("Content-Length", str(len(BODY)))
                self.end_headers()
                self.wfile.write(BODY[: len(BODY) // 2] if fault == "cut" else BODY)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/releases/v0.1"


@pytest.fixture
def releases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Releases]:
    server = Releases()
    monkeypatch.setenv("KRYSS_WEIGHTS_URL", server.url)
    monkeypatch.setenv("KRYSS_WEIGHTS_DIR", str(tmp_path / "weights"))
    yield server
    server.server.shutdown()
    server.server.server_close()


def entry_of(digest: str) -> registry.Weights:
    return replace(resolve("tf_efficientdet_d0"), name="model", version="1", url=f"model-{digest[:8]}.pth", sha256=digest[:8])


GOOD = entry_of(hashlib.sha256(BODY).hexdigest())


def test_a_model_key_resolves_to_the_entry_that_made_it() -> None:
    for entry in registry.entries():
        assert resolve(model_key(entry)) == entry


def test_effdets_official_checkpoints_are_known_by_their_release_names() -> None:
    entry = resolve("tf_efficientdet_d0")
    assert entry.url == "tf_efficientdet_d0_34-f153e0cf.pth"
    assert entry.sha256 == "f153e0cf"
    assert entry.classes[9] == "traffic light"
    assert entry.classes[12] == "stop sign"
    assert len([e for e in registry.entries() if e.url]) >= 25


def test_an_unknown_name_is_answered_with_close_ones() -> None:
    with pytest.raises(UnknownWeights, match=r"did you mean kryss-street-lite0"):
        resolve("kryss-streets-lite0")
    with pytest.raises(UnknownWeights, match=r"kryss-street-lite0 has version 2"):
        resolve("kryss-street-lite0@99")


def test_every_entry_can_be_had_from_exactly_one_place_and_states_its_licence() -> None:
    for entry in registry.entries():
        places = [place for place in (entry.file, entry.local, entry.url) if place]
        assert len(places) == (0 if entry.family in ("transformers", "ensemble") else 1), entry.name
        assert entry.licence and entry.source
        # The official files of Monodepth2 are not ours to pass on, nor their hashes known.
        assert not places or entry.sha256 or entry.family == "monodepth2"
        assert (entry.task == "detect") == bool(entry.classes) == (entry.preprocessing is not None)


def test_the_shipped_checkpoints_are_small_and_are_those_that_the_registry_means() -> None:
    files = []
    for entry in registry.entries():
        if entry.file:
            files += [weights_file(entry), registry.reader_file(entry)]
    shipped = [path for path in files if path]
    assert sorted(shipped) == sorted((registry.HERE / "checkpoints").glob("*.safetensors"))
    assert sum(path.stat().st_size for path in shipped) <= 30_000_000
    assert all(path.with_suffix(".md").is_file() for path in shipped)


def test_the_checkpoint_reads_the_classes_of_the_taxonomy() -> None:
    names = [row.name for row in taxonomy.classes()]
    assert len(names) == len(set(names))
    reader = registry.reader_file(resolve("kryss-street-lite0"))
    assert reader is not None
    assert tuple(json.loads(registry.metadata(reader)["reader"])["classes"]) == taxonomy.detected()
    assert sorted(taxonomy.from_gtsdb()) == list(range(43))
    assert taxonomy.from_coco() == {
        "traffic light": "object--traffic-light--general-upright",
        "stop sign": "regulatory--stop--g1",
    }


def test_looking_up_a_model_imports_no_torch() -> None:
    code = (
        "import sys; from kryss.vision import registry as r\n"
        "r.model_key(r.resolve('kryss-street-lite0')); print('torch' in sys.modules)"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONPATH": "include"}
    )
    assert answer.stdout.strip() == "False"


def test_a_release_is_downloaded_once_and_kept(releases: Releases) -> None:
    first, second = weights_file(GOOD), weights_file(GOOD)
    assert first == second
    assert first.read_bytes() == BODY
    assert releases.requests == 1


def test_a_download_that_breaks_off_is_tried_again(releases: Releases) -> None:
    releases.faults = ["cut"]
    assert weights_file(GOOD).read_bytes() == BODY
    assert releases.requests == 2


def test_a_release_with_a_wrong_hash_does_not_stay(releases: Releases, tmp_path: Path) -> None:
    with pytest.raises(WeightsDamaged, match="nothing was kept"):
        weights_file(entry_of("0" * 64))
    assert list((tmp_path / "weights").iterdir()) == []


def test_a_missing_release_says_where_to_put_the_file(releases: Releases, tmp_path: Path) -> None:
    releases.faults = ["gone"]
    with pytest.raises(WeightsUnavailable, match=f"put the file into {tmp_path}"):
        weights_file(GOOD)
    assert releases.requests == 1


def test_a_kept_file_that_was_changed_is_noticed(releases: Releases) -> None:
    path = weights_file(GOOD)
    path.write_bytes(b"other")
    with pytest.raises(WeightsDamaged, match="delete it and try again"):
        weights_file(GOOD)


def test_absent_local_weights_say_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KRYSS_WEIGHTS_DIR", str(tmp_path))
    absent = replace(resolve("picodet_s_416"), local="nowhere/absent.onnx")
    with pytest.raises(WeightsUnavailable, match=r"absent.onnx is not here.*KRYSS_WEIGHTS_DIR"):
        weights_file(absent)


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of weights of one's own, and an empty folder of weights."""
    monkeypatch.setenv("KRYSS_WEIGHTS_DIR", str(tmp_path / "weights"))
    (tmp_path / "trained.safetensors").write_bytes(BODY)
    return tmp_path / "trained.safetensors"


def own_entry(**changes: Any) -> registry.Weights:
    own = replace(
        resolve("kryss-street-lite0"),
        name="mine",
        version="1",
        reader=None,
        reader_sha256=None,
        inference=Inference(scales=(1.0, 1.5), tile=Tiling(640, 96), nms=Suppression("soft", iou=0.4)),
        thresholds={"regulatory--stop--g1": 0.4},
        calibration=Calibration(((0.0, 0.0), (0.5, 0.7), (1.0, 1.0))),
        trained={"config": "street.yaml", "map50": 0.9},
    )
    return replace(own, **changes)


def test_an_entry_goes_through_its_document_unchanged() -> None:
    for entry in (*registry.entries(), own_entry()):
        assert registry.entry_of(json.loads(json.dumps(registry.entry_document(entry))), "here", entry.folder) == entry


def test_the_digest_covers_every_option() -> None:
    entry = own_entry()
    others = [
        own_entry(inference=replace(entry.inference, min_side=960)),
        own_entry(thresholds={"regulatory--stop--g1": 0.5}),
        own_entry(calibration=None),
        own_entry(sha256="0" * 64),
    ]
    assert len({registry.entry_digest(one) for one in [entry, *others]}) == 5
    assert registry.entry_digest(replace(entry, folder=Path("/elsewhere"))) == registry.entry_digest(entry)


def test_a_registered_model_is_found_by_its_name_with_all_that_it_says(mine: Path, tmp_path: Path) -> None:
    reader, places = tmp_path / "r.safetensors", tmp_path / "p.json"
    reader.write_bytes(b"reader")
    places.write_text("{}")
    made = registry.register(own_entry(), mine, reader, places)
    mine.unlink()
    assert resolve("mine") == resolve("mine@1") == made
    assert weights_file(made).read_bytes() == BODY
    found = registry.reader_file(made)
    assert found is not None and found.read_bytes() == b"reader"
    assert (made.folder / str(made.inference.plausibility)).is_file()
    assert made.inference.tile == Tiling(640, 96) and made.trained["map50"] == 0.9
    found.write_bytes(b"other reader")
    with pytest.raises(WeightsDamaged, match=r"mine@1.reader.safetensors has SHA-256"):
        registry.reader_file(made)


def trained_file(path: Path, entry: registry.Weights, value: float = 1.0) -> Path:
    """A file of weights with its entry inside."""
    import torch

    from kryss.training.export import export_entry

    export_entry({"layer": torch.full((3,), value)}, path, entry)
    return path


def test_the_same_weights_and_options_are_the_same_model_however_long_their_training_took(mine: Path, tmp_path: Path) -> None:
    """As a training that was resumed writes them: the same tensors, another story."""
    first = trained_file(tmp_path / "first.safetensors", own_entry(trained={"minutes": 5.0}))
    again = trained_file(tmp_path / "again.safetensors", own_entry(trained={"minutes": 7.5}))
    assert first.read_bytes() != again.read_bytes()
    reader = trained_file(tmp_path / "reader.safetensors", own_entry(name="r"))
    made = registry.register(own_entry(trained={"minutes": 5.0}), first, reader)
    kept = {path.name: path.read_bytes() for path in made.folder.iterdir()}
    retold = trained_file(tmp_path / "retold.safetensors", own_entry(name="r", trained={"minutes": 1.0}))
    assert registry.register(own_entry(trained={"minutes": 7.5}), again, retold) == made == resolve("mine@1")
    assert {path.name: path.read_bytes() for path in made.folder.iterdir()} == kept
    # A file that was damaged, or never came to an end, is written anew.
    weights_file(made).write_bytes(b"half")
    assert weights_file(registry.register(own_entry(trained={"minutes": 7.5}), first, reader)).read_bytes() == first.read_bytes()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"score_threshold": 0.7}, r"score_threshold \(0.36, here 0.7\)"),
        ({"thresholds": {}}, r"thresholds \(.*here default\)"),
        ({"inference": Inference(scales=(1.0, 1.5), tile=Tiling(640, 96))}, r"inference.nms \("),
        ({"calibration": None}, "calibration.knots"),
        ({"options": {"anchor_scale": 4.0}}, r"options \(.*2.5.*4.0"),
        ({"classes": ("light", "sign")}, "classes"),
    ],
)
def test_another_model_under_a_registered_key_is_refused_and_said_what_differs(
    mine: Path, tmp_path: Path, change: dict[str, Any], told: str
) -> None:
    path = trained_file(tmp_path / "one.safetensors", own_entry())
    made = registry.register(own_entry(), path)
    with pytest.raises(registry.NotRegistered, match=f"mine@1 is registered already and differs in {told}"):
        registry.register(own_entry(**change), path)
    assert resolve("mine@1") == made
    registry.register(own_entry(version="2", **change), path)
    assert resolve("mine").version == "2"


def test_other_weights_a_second_stage_or_other_places_under_a_registered_key_are_refused(mine: Path, tmp_path: Path) -> None:
    path, other = trained_file(tmp_path / "1.safetensors", own_entry()), trained_file(tmp_path / "2.safetensors", own_entry(), 2)
    places = tmp_path / "p.json"
    places.write_text("{}")
    registry.register(own_entry(), path, path, places)
    assert registry.register(own_entry(), path, path, places) == resolve("mine@1")
    places.write_text("[]")
    for given, told in (
        ((other, path, places), "weights, inference.plausibility:"),
        ((path, other), "weights of the second stage, inference.plausibility:"),
    ):
        with pytest.raises(registry.NotRegistered, match=f"differs in {told}"):
            registry.register(own_entry(), *given)


@pytest.mark.parametrize("name", ["../escape", "Mine", "", "a/b"])
def test_a_name_that_is_no_file_name_is_refused(mine: Path, name: str) -> None:
    with pytest.raises(ValueError, match="lower-case letters"):
        registry.register(own_entry(name=name), mine)


def test_what_ships_cannot_be_replaced(mine: Path) -> None:
    shipped = resolve("kryss-street-lite0")
    with pytest.raises(ValueError, match="ships with Kryss"):
        registry.register(shipped, mine)


def test_a_registered_entry_that_cannot_be_read_hides_no_other(mine: Path, caplog: pytest.LogCaptureFixture) -> None:
    made = registry.register(own_entry(), mine)
    (made.folder / "broken@1.yaml").write_text("name: broken\nversion: '1'\nno_such_field: 3\n")
    (made.folder / "worse@1.yaml").write_text(":::")
    assert resolve("mine@1") == made
    assert "'no_such_field' is no field of weights" in caplog.text


def test_a_plain_name_that_ships_means_what_ships(mine: Path) -> None:
    made = registry.register(own_entry(name="kryss-street-lite0", version="2.mine"), mine)
    assert resolve("kryss-street-lite0") in registry._shipped()
    assert resolve("kryss-street-lite0@2.mine") == made


def test_a_file_that_holds_its_entry_needs_no_registration(mine: Path, tmp_path: Path) -> None:
    import torch

    from kryss.training.export import export_entry

    path, other = tmp_path / "exported.safetensors", tmp_path / "other.safetensors"
    made = export_entry({"layer": torch.ones(3)}, path, own_entry())
    found = resolve(str(path))
    assert found == made
    assert weights_file(found) == path
    registry.register(found, path)
    assert model_key(resolve(str(path))) == "mine@1"
    # The key of a registered model with other weights or options is not taken.
    for weights, changed in ((torch.ones(3), own_entry(score_threshold=0.7)), (torch.zeros(3), own_entry())):
        different = export_entry({"layer": weights}, other, changed)
        assert model_key(resolve(str(other))) == f"mine@1+{different.sha256[:8]}"  # type: ignore[index]
        assert registry.entry_in(other) == different


def test_files_that_do_not_say_what_they_are_say_so(mine: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsDamaged, match="is no safetensors file"):
        resolve(str(mine))
    with pytest.raises(UnknownWeights, match="no file of weights"):
        resolve(str(tmp_path / "absent.safetensors"))
    (tmp_path / "plain.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    with pytest.raises(UnknownWeights, match="does not say how it is used"):
        resolve(str(tmp_path / "plain.safetensors"))


@pytest.mark.parametrize("knots", [((0.0, 0.0),), ((0.5, 0.1), (0.2, 0.3)), ((0.0, 0.5), (1.0, 0.2))])
def test_a_calibration_that_does_not_rise_is_refused(knots: tuple[tuple[float, float], ...]) -> None:
    with pytest.raises(ValueError, match="no rising curve"):
        Calibration(knots)


def test_an_entry_under_a_key_that_ships_does_not_take_its_place(
    mine: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shipped = resolve("kryss-street-lite0@2.1")
    registry.write_entry(replace(shipped, sha256="0" * 64))
    assert resolve("kryss-street-lite0@2.1").sha256 == resolve("kryss-street-lite0").sha256 == shipped.sha256
    assert "kryss-street-lite0@2.1 ships with Kryss" in caplog.text

"""The registry: names, hashes, downloads on first use."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from kryss.vision import registry, taxonomy
from kryss.vision.registry import UnknownWeights, WeightsDamaged, WeightsUnavailable, model_key, resolve, weights_file

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
    with pytest.raises(UnknownWeights, match=r"did you mean kryss-signs-lite0"):
        resolve("kryss-sign-lite0")
    with pytest.raises(UnknownWeights, match=r"kryss-signs-lite0 has version 1"):
        resolve("kryss-signs-lite0@99")


def test_every_entry_can_be_had_from_exactly_one_place_and_states_its_licence() -> None:
    for entry in registry.entries():
        places = [place for place in (entry.file, entry.local, entry.url) if place]
        assert len(places) == (0 if entry.family == "transformers" else 1), entry.name
        assert entry.licence and entry.source
        assert not places or entry.sha256
        assert (entry.task == "detect") == bool(entry.classes) == (entry.preprocessing is not None)


def test_the_shipped_checkpoint_is_small_and_is_the_one_that_the_registry_means() -> None:
    path = weights_file(resolve("kryss-signs-lite0"))
    assert path.stat().st_size < 15_000_000
    assert path.with_suffix(".md").is_file()


def test_every_class_of_the_checkpoint_is_in_the_taxonomy_once() -> None:
    names = [row.name for row in taxonomy.classes()]
    assert len(names) == len(set(names))
    assert set(resolve("kryss-signs-lite0").classes) <= set(names)
    assert sorted(taxonomy.from_gtsdb()) == list(range(43))
    assert taxonomy.from_coco() == {
        "traffic light": "object--traffic-light--general-upright",
        "stop sign": "regulatory--stop--g1",
    }


def test_looking_up_a_model_imports_no_torch() -> None:
    code = (
        "import sys; from kryss.vision import registry as r\n"
        "r.model_key(r.resolve('kryss-signs-lite0')); print('torch' in sys.modules)"
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

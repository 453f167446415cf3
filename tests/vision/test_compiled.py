"""Networks through OpenVINO: the same numbers as torch, nothing sent, converted once."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kryss.vision import compiled

torch = pytest.importorskip("torch")


class Tiny(torch.nn.Module):  # type: ignore[misc]
    """(n, h, w, 3) uint8 to two outputs."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.layer = torch.nn.Conv2d(3, 8, 3, 2, 1)

    def forward(self, pixels: Any) -> Any:
        maps = self.layer(pixels.permute(0, 3, 1, 2).float() / 255)
        return maps.relu(), maps.mean((2, 3))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("weights")


@pytest.fixture
def tiny(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("KRYSS_WEIGHTS_DIR", str(folder))
    return compiled.graph(Tiny, (1, 8, 16, 3), (1, -1, -1, 3), "tiny")


def picture(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height).integers(0, 255, (1, height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("size", [(8, 16), (32, 20)])
def test_it_computes_what_torch_computes_at_every_size(tiny: Any, size: tuple[int, int]) -> None:
    found = compiled.compiled(tiny, "fp32", 1)(picture(*size))
    with torch.inference_mode():
        expected = Tiny()(torch.from_numpy(picture(*size)))
    for one, other in zip(found, expected, strict=True):
        assert np.allclose(one, other.numpy(), atol=1e-5)


def test_bits_depend_on_neither_streams_nor_what_runs_beside(tiny: Any) -> None:
    alone = compiled.compiled(tiny, "bf16", 1)
    together = compiled.compiled(tiny, "bf16", 3)
    pictures = [picture(8 + 8 * (k % 3), 16) for k in range(30)]
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(together, pictures))
    for one, values in zip(pictures, found, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(alone(one), values, strict=True))


def test_a_network_is_converted_once(tiny: Any, folder: Path) -> None:
    def make() -> Any:
        raise AssertionError("converted again")

    again = compiled.graph(make, (1, 8, 16, 3), (1, -1, -1, 3), "tiny")
    first, second = (compiled.compiled(one, "fp32", 1)(picture(8, 16)) for one in (tiny, again))
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    assert len(list((folder / "openvino").iterdir())) == 1
    with pytest.raises(AssertionError, match="converted again"):
        compiled.graph(make, (1, 8, 16, 3), (1, -1, -1, 3), "another")


def test_few_sizes_stay_in_memory_and_all_are_right(tiny: Any) -> None:
    run = compiled.compiled(tiny, "fp32", 1)
    sizes = [(8 * k, 16) for k in (1, 2, 3, 4, 5, 1, 5)]
    for size in sizes:
        with torch.inference_mode():
            expected = Tiny()(torch.from_numpy(picture(*size)))
        assert np.allclose(run(picture(*size))[0], expected[0].numpy(), atol=1e-5)


def test_a_precision_that_it_has_not_is_refused(tiny: Any) -> None:
    with pytest.raises(ValueError, match="no precision 'fp16'"):
        compiled.compiled(tiny, "fp16", 1)


def test_threads_that_begin_at_once_do_not_wait_for_each_other(tiny: Any, folder: Path) -> None:
    """In a process of its own: only the first arrays of a process can meet. Without the cure it hangs more often than not."""
    code = """
import threading, sys, faulthandler
import numpy as np
from kryss.vision import compiled
def absent():
    raise AssertionError("it is kept")
run = compiled.compiled(compiled.graph(absent, (1, 8, 16, 3), (1, -1, -1, 3), "tiny"), "fp32", 4)
faulthandler.dump_traceback_later(60, exit=True)
barrier = threading.Barrier(4)
def look():
    barrier.wait()
    run(np.zeros((1, 8, 16, 3), np.uint8))
several = [threading.Thread(target=look) for _ in range(4)]
[one.start() for one in several]
[one.join() for one in several]
print("done")
"""
    answer = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": "include", "KRYSS_WEIGHTS_DIR": str(folder)},
    )
    assert answer.stdout.strip() == "done", answer.stderr


def test_converting_and_running_talks_to_nobody(tmp_path: Path) -> None:
    """Importing OpenVINO reports that to a server, from a process of its own: a hook sees every socket and every new process."""
    code = f"""
import os, sys
os.environ["KRYSS_WEIGHTS_DIR"] = {str(tmp_path)!r}
import torch, numpy as np
from kryss.vision import compiled
class One(torch.nn.Module):
    def forward(self, pixels):
        return pixels.float() * 2, pixels.float() + 1
seen = []
def watch(event, given):
    if event.startswith(("socket.", "subprocess.", "os.fork")):
        seen.append((event, given))
sys.addaudithook(watch)
model = compiled.graph(One, (1, 4, 4, 3), (1, -1, -1, 3), "one")
values = compiled.compiled(model, "fp32", 1)(np.ones((1, 4, 4, 3), np.uint8))
print(float(values[0].sum()), seen, sys.modules.get("openvino_telemetry"))
"""
    answer = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": "include", "HOME": str(tmp_path)},
    )
    assert answer.stdout.splitlines()[-1] == "96.0 [] None"


def test_a_folder_that_cannot_be_written_costs_time_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("KRYSS_WEIGHTS_DIR", str(tmp_path / "file"))
    model = compiled.graph(Tiny, (1, 8, 16, 3), (1, -1, -1, 3), "tiny")
    found = compiled.compiled(model, "fp32", 1)(picture(8, 16))
    with torch.inference_mode():
        expected = Tiny()(torch.from_numpy(picture(8, 16)))
    assert all(np.allclose(one, other.numpy(), atol=1e-5) for one, other in zip(found, expected, strict=True))


def test_what_is_kept_can_be_read_by_others_and_leaves_nothing_beside_it(tiny: Any, folder: Path) -> None:
    [kept] = (folder / "openvino").iterdir()
    assert kept.stat().st_mode & 0o055 == 0o055

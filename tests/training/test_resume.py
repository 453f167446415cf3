"""A training that is killed at any moment goes on as if nothing had happened."""

from __future__ import annotations

import csv
import multiprocessing
import os
import random
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")


def run(make: Callable[[], Any], result: Path) -> None:
    torch.set_num_threads(1)
    torch.save(make().run(), result)


def child(make: Callable[[], Any], result: Path) -> Any:
    """The training in a process of its own (forked: torch is loaded already)."""
    process = multiprocessing.get_context("fork").Process(target=run, args=(make, result))
    process.start()
    return process


def stamp(path: Path) -> int:
    return path.stat().st_mtime_ns if path.is_file() else 0


def rows(path: Path) -> list[list[str]]:
    """Of a table, without what the clock says."""
    with path.open(newline="") as file:
        return [[row[key] for key in row if key not in ("minutes", "seconds_a_step")] for row in csv.DictReader(file)]


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_killed_at_random_moments_and_resumed_ends_with_the_same_weights_to_the_bit(
    tiny: Callable[..., Any], tmp_path: Path
) -> None:
    undisturbed = child(lambda: tiny("undisturbed"), tmp_path / "undisturbed.pt")
    undisturbed.join(900)
    assert undisturbed.exitcode == 0

    killed, rng = 0, random.Random()
    for _ in range(8):
        before = stamp(tmp_path / "killed" / "checkpoint.pt")
        process = child(lambda: tiny("killed", {"resume": True}), tmp_path / "killed.pt")
        if killed < 3:
            # Only a life that got as far as a checkpoint of its own counts; then any moment will do.
            while process.is_alive() and stamp(tmp_path / "killed" / "checkpoint.pt") == before:
                time.sleep(0.01)
            time.sleep(rng.uniform(0, 0.8))
            os.kill(process.pid, signal.SIGKILL)
        process.join(900)
        if process.exitcode == 0:
            break
        assert process.exitcode == -signal.SIGKILL
        killed += 1
    assert killed, "no kill hit the training"

    whole, resumed = (torch.load(tmp_path / name, weights_only=True) for name in ("undisturbed.pt", "killed.pt"))
    assert whole.keys() == resumed.keys()
    for key in whole:
        assert torch.equal(whole[key], resumed[key]), key
    for table in ("log.csv", "validation.csv"):
        assert rows(tmp_path / "killed" / table) == rows(tmp_path / "undisturbed" / table)
    assert len(list((tmp_path / "killed").glob("best-*.pt"))) == 1
    again = tiny("killed", {"resume": True}).run()
    assert all(torch.equal(again[key], whole[key]) for key in whole), "a run that has ended stays as it is"


def test_asked_to_stop_it_writes_a_checkpoint_and_says_how_to_go_on(tiny: Callable[..., Any], tmp_path: Path) -> None:
    from kryss.training.recipe import Interrupted

    trainer = tiny(save_every_s=1000)
    trainer.stopping.set()
    with pytest.raises(Interrupted, match="stopped after step 1: --resume"):
        trainer.run()
    assert tiny(given={"resume": True}).place["step"] == 1


def run_until_stopped(make: Callable[[], Any], said: Path) -> None:
    from kryss.training.recipe import Interrupted

    os.setsid()
    torch.set_num_threads(1)
    try:
        make().run()
    except Interrupted as error:
        said.write_text(str(error))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_signal_to_the_whole_group_ends_it_well_though_its_workers_hear_it_too(
    tiny: Callable[..., Any], tmp_path: Path, number: signal.Signals
) -> None:
    said, log = tmp_path / "said", tmp_path / "stopped" / "log.csv"
    changes = {
        "workers": 2,
        "save_every_s": 1000,
        "stages": [{"name": "long", "train": "heads", "rate": 1e-3, "steps": 100_000}],
        "validation": {"every_steps": 100_000, "photos": 2, "pictures": 2},
    }

    def make(**given: Any) -> Any:
        return tiny("stopped", given, **changes)

    process = multiprocessing.get_context("fork").Process(target=run_until_stopped, args=(make, said))
    process.start()
    while process.is_alive() and not (log.is_file() and len(log.read_text().splitlines()) > 1):
        time.sleep(0.01)
    os.killpg(process.pid or 0, number)
    process.join(60)
    assert process.exitcode == 0
    step = int(re.fullmatch(r"stopped after step (\d+): --resume .*", said.read_text()).group(1))  # type: ignore[union-attr]
    assert make(resume=True).place["step"] == step >= 20


def test_a_checkpoint_of_another_recipe_or_of_other_data_is_refused(tiny: Callable[..., Any]) -> None:
    from kryss.training.recipe import OtherRun

    tiny(given={"data_digest": "a"}).save()
    with pytest.raises(OtherRun, match="is there: give --resume"):
        tiny()
    with pytest.raises(OtherRun, match="another recipe"):
        tiny(given={"resume": True, "data_digest": "a"}, batch=4)
    with pytest.raises(OtherRun, match="other data"):
        tiny(given={"resume": True, "data_digest": "b"})
    assert tiny(given={"resume": True, "data_digest": "b", "new_data": True}).place["step"] == 0
    assert tiny(given={"resume": True, "data_digest": "a"}, workers=2).place["step"] == 0


def test_a_kill_between_a_validation_and_its_checkpoint_leaves_one_row_of_it(tmp_path: Path) -> None:
    from kryss.training.logs import Journal

    for begun, steps in ((0, (2, 4)), (4, (4, 6))):
        with Journal(tmp_path, begun, ["ap"]) as journal:
            for step in steps:
                journal.validation(step, "heads", {"ap": 0.5})
    assert rows(tmp_path / "validation.csv") == [[str(step), "heads", "0.5"] for step in (2, 4, 6)]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_checkpoint_of_a_machine_with_more_gpus_is_restored() -> None:
    from kryss.training.state import random_states, restore_random_states

    states = random_states()
    own = states["cuda"]
    restore_random_states({**states, "cuda": [*own, own[0]]})
    assert all(torch.equal(a, b) for a, b in zip(random_states()["cuda"], own, strict=True))

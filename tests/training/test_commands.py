"""What ./kryss train makes, from the command line to files that are used: on a few drawn streets, a handful of steps."""

from __future__ import annotations

import csv
import json
import multiprocessing
import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("resvg_py")

from kryss.cli.__main__ import main  # noqa: E402
from kryss.training.data import coco  # noqa: E402
from kryss.training.data.photos import is_held_out  # noqa: E402
from kryss.vision.photo import read_photo  # noqa: E402
from kryss.vision.registry import HERE, entry_in, metadata, resolve  # noqa: E402

SPRITES = Path(__file__).parents[2] / "include" / "kryss" / "demo" / "town" / "signs"
pytestmark = pytest.mark.skipif(not SPRITES.is_dir(), reason="no drawings of signs")
SIGNS = {13: "regulatory--yield--g1", 14: "regulatory--stop--g1"}
"""GTSDB's numbers."""
WIDTH, HEIGHT, PHOTOS = 320, 200, 8
READER: dict[str, Any] = {
    "name": "tiny",
    "seed": 3,
    "steps": 24,
    "batch": 2,
    "start": "none",
    "save_every": 3,
    "workers": 0,
    "data": {"gtsdb": {"format": "coco", "ids": "gtsdb"}},
}


def drawing(name: str, px: int) -> np.ndarray:
    """(h, w, 4) uint8 BGRA of a sprite."""
    import resvg_py

    body = bytes(resvg_py.svg_to_bytes(svg_path=str(SPRITES / f"{name}.svg"), width=px))
    return cv2.imdecode(np.frombuffer(body, np.uint8), cv2.IMREAD_UNCHANGED)


@pytest.fixture(scope="module")
def streets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight streets of blotches with a drawn sign each, as a GTSDB in COCO's format. One is held out."""
    folder = tmp_path_factory.mktemp("streets")
    (folder / "images").mkdir()
    rng = np.random.default_rng(3)
    images, boxes = [], []
    for number in range(PHOTOS):
        pixels = cv2.resize(rng.integers(60, 160, (10, 16, 3), dtype=np.uint8), (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
        category = 13 + number % 2
        sign = drawing(SIGNS[category], 40)
        height, width = sign.shape[:2]
        x, y = 20 + 20 * number, 60
        alpha = sign[..., 3:] / 255
        part = pixels[y : y + height, x : x + width]
        part[:] = np.rint(part * (1 - alpha) + sign[..., :3] * alpha)
        cv2.imwrite(str(folder / "images" / f"{number}.png"), pixels)
        images.append({"id": number, "file_name": f"{number}.png", "width": WIDTH, "height": HEIGHT})
        boxes.append({"id": number, "image_id": number, "category_id": category, "bbox": [x, y, width, height]})
    categories = [{"id": number, "name": name} for number, name in SIGNS.items()]
    (folder / "annotations.json").write_text(json.dumps({"images": images, "annotations": boxes, "categories": categories}))
    return folder


def config(folder: Path, recipe: dict[str, Any]) -> str:
    path = folder / f"{recipe['name']}.yaml"
    path.write_text(json.dumps(recipe))
    return str(path)


def arguments(part: str, out: Path, given: dict[str, Any], *more: str) -> list[str]:
    """The command line: ``given``: option to value."""
    return ["train", part, *(str(text) for pair in given.items() for text in pair), "--out", str(out), *more]


def rows(path: Path) -> list[list[str]]:
    """Of a table, without what the clock says."""
    with path.open(newline="") as file:
        return [[row[key] for key in row if key not in ("seconds", "minutes")] for row in csv.DictReader(file)]


def killed_and_resumed(command: list[str], checkpoint: Path) -> int:
    """Kills the command twice, at any moment after a checkpoint of its own, and lets it end. How often it was hit."""
    killed, rng = 0, random.Random()

    def stamp() -> int:
        return checkpoint.stat().st_mtime_ns if checkpoint.is_file() else 0

    for life in range(4):
        before = stamp()
        process = multiprocessing.get_context("fork").Process(target=run, args=([*command, "--resume"] if life else command,))
        process.start()
        if life < 2:
            while process.is_alive() and stamp() == before:
                time.sleep(0.002)
            time.sleep(rng.uniform(0, 0.1))
            os.kill(process.pid or 0, signal.SIGKILL)
        process.join(600)
        if process.exitcode == 0:
            break
        assert process.exitcode == -signal.SIGKILL
        killed += 1
    assert process.exitcode == 0
    return killed


def run(command: list[str]) -> None:
    torch.set_num_threads(1)
    raise SystemExit(main(command))


@pytest.fixture
def reader_command(streets: Path, tmp_path: Path) -> Callable[..., list[str]]:
    def make(out: str, *more: str, data: Path = streets, **changes: Any) -> list[str]:
        recipe = config(tmp_path, {**READER, **changes})
        return arguments("reader", tmp_path / out, {"--config": recipe, "--data": f"gtsdb={data}", "--sprites": SPRITES}, *more)

    return make


# What no training can do


def test_what_a_training_cannot_use_is_said_in_one_line_before_anything_is_read(
    tiny_settings: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = config(tmp_path, {**tiny_settings, "data": {"gtsdb": {"ids": "gtsdb"}}})
    half = config(tmp_path, {**tiny_settings, "name": "half", "precision": "fp16", "data": {"gtsdb": {"ids": "gtsdb"}}})
    command = arguments(
        "detector", tmp_path / "out", {"--config": recipe, "--data": f"gtsdb={tmp_path / 'nowhere'}", "--sprites": SPRITES}
    )
    (tmp_path / "file").write_text("no weights")
    (tmp_path / "file.safetensors").write_text("no weights either")
    torch.save({"odd": torch.zeros(3)}, tmp_path / "odd.pt")
    (tmp_path / "package_objects").mkdir()
    shutil.copy(SPRITES / f"{SIGNS[14]}.svg", tmp_path / "package_objects" / "object--bench.svg")
    cases = [
        (["--out", str(tmp_path / "file")], f"--out {tmp_path / 'file'}: {tmp_path / 'file'} is a file, no folder"),
        (["--out", str(tmp_path / "file" / "below")], f"{tmp_path / 'file'} is a file, no folder"),
        (["--device", "banana"], "--device banana: "),
        (["--device", "cuda:99"], "--device cuda:99: "),
        (["--start", str(tmp_path / "file")], "file: no file of weights"),
        (["--start", str(tmp_path / "file.safetensors")], "file.safetensors: no file of weights"),
        (["--start", str(tmp_path / "odd.pt")], "odd.pt: no tensor fits tf_efficientdet_lite0"),
        (["--sprites", str(tmp_path / "package_objects")], "no drawings (*.svg) there of a sign that is detected"),
    ]
    if not torch.cuda.is_available():
        cases.append((["--config", half], "precision fp16 needs a GPU, here it would be cpu"))
    for more, told in cases:
        assert main([*command, *more]) == 1
        [*_, line] = capsys.readouterr().err.splitlines()
        assert told in line
        assert not (tmp_path / "out").exists()


def test_a_detector_that_nothing_could_judge_is_not_begun(
    streets: Path, tiny_settings: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It would end hours later: without thresholds, and with the weights of the first validation for the best ones."""
    few = shutil.copytree(streets, tmp_path / "few")
    document = json.loads((few / "annotations.json").read_text())
    document = {key: [row for row in rows if row.get("image_id", row["id"]) != 5] for key, rows in document.items()}
    (few / "annotations.json").write_text(json.dumps(document))
    of_set = {**tiny_settings, "data": {"gtsdb": {"ids": "gtsdb"}}}
    given = {"--config": config(tmp_path, of_set), "--data": f"gtsdb={few}", "--sprites": SPRITES}
    for more in ([], ["--no-judge"]):
        assert main(arguments("detector", tmp_path / "out", given, *more)) == 1
        said = capsys.readouterr().err.splitlines()[-1]
        assert "of 0 held-out photos" in said and "none shows what is to be learnt" in said and "--no-judge" not in said
    by_steps = {"name": "steps", "keep": "last", "stages": [{"name": "a", "rate": 1e-3, "steps": 1}]}
    given["--config"] = config(tmp_path, {**of_set, **by_steps})
    assert main(arguments("detector", tmp_path / "out", given)) == 1
    assert "--no-judge does without a report" in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "out").exists()
    assert main(arguments("detector", tmp_path / "out", given, "--no-judge", "--no-register")) == 0


@pytest.mark.parametrize(
    "command",
    [
        "detector --data a=b --sprites s --out o --minutes 0",
        "detector --data a=b --sprites s --out o --minutes nan",
        "detector --data a=b --sprites s --out o --threads 0",
        "detector --data a=b --sprites s --out o --workers -1",
        "depth --out o --steps 0",
        "depth --out o --minutes -1",
        "compose --photos p --sprites s --out o --number 0",
        "compose --photos p --sprites s --out o --side 0",
    ],
)
def test_a_number_that_would_never_end_or_never_begin_is_refused(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["train", *command.split()])
    assert "is not above 0" in (said := capsys.readouterr().err) or "is less than" in said


def test_where_nothing_can_be_written_one_line_says_so(
    streets: Path, tiny_settings: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = config(streets.parent, {**tiny_settings, "data": {"gtsdb": {"ids": "gtsdb"}}})
    given = {"--config": recipe, "--data": f"gtsdb={streets}", "--sprites": SPRITES}
    assert main(arguments("detector", Path("/proc/nothing"), given)) == 1
    assert "/proc/nothing: " in capsys.readouterr().err.splitlines()[-1]


def test_a_detector_that_goes_on_keeps_its_start_and_notices_other_drawings(
    streets: Path, tiny_settings: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stages = [{"name": "a", "rate": 1e-3, "steps": 1}]
    recipe = config(tmp_path, {**tiny_settings, "data": {"gtsdb": {"ids": "gtsdb"}}, "stages": stages})
    drawings, out = shutil.copytree(SPRITES, tmp_path / "drawings"), tmp_path / "out"
    given = {"--config": recipe, "--data": f"gtsdb={streets}", "--sprites": drawings}
    plain = ("--no-judge", "--no-register")
    torch.save({"box_net.predict.conv_pw.bias": torch.zeros(36)}, tmp_path / "first.pt")

    def start() -> str:
        return str(entry_in(out / "model.safetensors").trained["start"])

    assert main(arguments("detector", out, given, *plain, "--start", str(tmp_path / "first.pt"))) == 0
    began = start()
    assert began.startswith("first.pt (")
    for more in ([], ["--start", str(tmp_path / "first.pt")]):
        assert main(arguments("detector", out, given, *plain, "--resume", *more)) == 0
        assert start() == began
    assert main(arguments("detector", out, given, *plain, "--resume", "--start", "none")) == 1
    assert f"started from {began}" in capsys.readouterr().err.splitlines()[-1]
    path = drawings / f"{SIGNS[14]}.svg"
    path.write_text(path.read_text() + "\n")
    assert main(arguments("detector", out, given, *plain, "--resume")) == 1
    assert "was made with other data" in capsys.readouterr().err.splitlines()[-1]
    assert main(arguments("detector", out, given, *plain, "--resume", "--new-data")) == 0


# The reader


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_reader_that_was_killed_and_resumed_is_the_one_of_an_undisturbed_run(
    reader_command: Callable[..., list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from kryss.vision.recognise import load_reader
    from kryss.vision.taxonomy import detected

    assert main(reader_command("whole")) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["file"] == str(tmp_path / "whole" / "reader.safetensors") and told["steps"] == 24
    assert killed_and_resumed(reader_command("killed"), tmp_path / "killed" / "reader-state.pt")
    for name in ("reader.safetensors", "reader.md", "recipe.yaml"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    table = rows(tmp_path / "whole" / "log.csv")
    assert [row[0] for row in table] == ["20", "24"]
    assert rows(tmp_path / "killed" / "log.csv") == table

    reader = load_reader(tmp_path / "whole" / "reader.safetensors", "cpu")
    assert reader.classes == detected()
    shares, boxes = reader(np.full((90, 120, 3), 90, np.uint8), np.array([[10.0, 10, 50, 50]]))
    assert shares.shape == (1, len(detected()) + 2) and abs(float(shares.sum()) - 1) < 1e-5 and np.isfinite(boxes).all()
    trained = reader.settings.trained
    assert trained["recipe"] == {**trained["recipe"], **READER, "data": trained["recipe"]["data"]}
    assert (trained["photos"], trained["boxes"], trained["left_out"]) == (7, 7, {})
    assert trained["held_out"]["photos"] == 1 and trained["held_out"]["boxes"] == 3
    card = (tmp_path / "whole" / "reader.md").read_text()
    assert "7 photos with 7 boxes" in card and trained["data"] in card and "24 steps of 2 crops from none" in card

    # Where it has ended it stays; another recipe or other labels are another run.
    assert main(reader_command("whole", "--resume")) == 0
    capsys.readouterr()
    assert main(reader_command("whole")) == 1
    assert "reader-state.pt is there: give --resume" in capsys.readouterr().err
    assert main(reader_command("whole", "--resume", batch=8)) == 1
    assert "is of another recipe" in capsys.readouterr().err


def test_the_recipe_of_a_reader_is_checked_as_one(streets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "check", "--config", config(tmp_path, READER), "--data", f"gtsdb={streets}"]) == 0
    assert "7 photos to learn from, 1 held out; data " in capsys.readouterr().out
    assert main(["train", "check", "reader", "--data", f"gtsdb={streets}"]) == 1
    assert "missing: lights, gtsrb; the recipe reader takes gtsdb (gtsdb)" in capsys.readouterr().err


def test_a_reader_learns_from_a_broken_set_only_without_what_is_broken(
    reader_command: Callable[..., list[str]], streets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = shutil.copytree(streets, tmp_path / "broken")
    document = json.loads((broken / "annotations.json").read_text())
    (broken / "images" / "0.png").unlink()
    changes: dict[int, dict[str, Any]] = {1: {"bbox": [500, 50, 40, 40]}, 2: {"bbox": [20, 50, 0, 40]}, 3: {"category_id": 99}}
    for number, change in changes.items():
        document["annotations"][number].update(change)
    (broken / "annotations.json").write_text(json.dumps(document))
    assert main(reader_command("out", data=broken)) == 1
    said = capsys.readouterr().err
    assert "has 4 problems (1 box-empty, 1 box-outside, 1 photo-missing, 1 unknown-class)" in said
    assert "gtsdb 0: photo-missing" in said and "Traceback" not in said
    assert not (tmp_path / "out").exists(), "nothing is begun"
    assert main(reader_command("out", "--skip-bad", data=broken, steps=1)) == 0
    answer = capsys.readouterr()
    told = json.loads(answer.out)
    assert "no --prelabels: signs and lights that the photos show without a label are taken for background" in answer.err
    assert told["left_out"] == {"box-empty": 1, "box-outside": 1, "photo-missing": 1, "unknown-class": 1}
    card = (tmp_path / "out" / "reader.md").read_text()
    assert "6 photos with 3 boxes" in card and "1 unknown-class" in card


def test_what_a_reader_cannot_learn_from_is_said_in_one_line(
    reader_command: Callable[..., list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def last(*more: str) -> str:
        # Of an option that is given twice the last counts, but for --data.
        command = [text for text in reader_command("out") if more[0] != "--data" or not text.startswith("gtsdb=")]
        if more[0] == "--data":
            command.remove("--data")
        command += more
        assert main(command) == 1
        [*_, line] = capsys.readouterr().err.splitlines()
        assert not (tmp_path / "out").exists()
        return line

    (tmp_path / "empty").mkdir()
    (tmp_path / "junk.json").write_text("{nothing")
    assert "no drawings (*.svg) there" in last("--sprites", str(tmp_path / "empty"))
    assert "annotations.json: a COCO data set is" in last("--data", f"gtsdb={tmp_path / 'nowhere'}")
    assert "unknown: signs; the recipe tiny takes gtsdb (coco)" in last("--data", "signs=/nowhere")
    assert "nowhere.json: No such file" in last("--prelabels", str(tmp_path / "nowhere.json"))
    assert "junk.json is no file of ./kryss train prelabel" in last("--prelabels", str(tmp_path / "junk.json"))
    assert "no recipe 'nothing' of a reader: give a YAML file or one of reader" in last("--config", "nothing")
    assert "there is no file of a reader 'absent', and no weights 'absent'" in last("--start", "absent")
    assert "kryss-depth@1 has no reader" in last("--start", "kryss-depth")
    (tmp_path / "junk.safetensors").write_text("nothing at all")
    assert "junk.safetensors is no safetensors file" in last("--start", str(tmp_path / "junk.safetensors"))
    other = HERE / str(resolve("kryss-street-lite0").file)
    assert f"{other} is no reader" in last("--start", str(other))


# A finder and a reader as one model


PLAIN = ("--option", "backend=torch", "--option", "precision=fp32", "--option", "first_threshold=0.001")


@pytest.fixture(scope="module")
def finder(tiny_settings: dict[str, Any]) -> dict[str, Any]:
    """A recipe."""
    return {
        **tiny_settings,
        "name": "finder",
        "data": {"gtsdb": {"ids": "gtsdb", "labelled": ["regulatory--*"]}},
        "validation": {"every_steps": 100, "photos": 1, "pictures": 0},
        "stages": [{"name": "a", "rate": 1e-3, "steps": 2}],
    }


@pytest.fixture(scope="module")
def networks(streets: Path, finder: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finder (``finder/``) and a reader (``reader/``), trained for a moment by the commands."""
    folder = tmp_path_factory.mktemp("networks")
    given = {"--data": f"gtsdb={streets}", "--sprites": SPRITES}
    finder = arguments(
        "detector", folder / "finder", {"--config": config(folder, finder), **given}, "--no-judge", "--no-register"
    )
    assert main(finder) == 0
    reader = config(folder, {**READER, "steps": 2})
    assert main(arguments("reader", folder / "reader", {"--config": reader, **given})) == 0
    return folder


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KRYSS_WEIGHTS_DIR", str(tmp_path / "weights"))
    return tmp_path / "weights"


def join_command(networks: Path, streets: Path, out: Path, *more: str) -> list[str]:
    files = networks / "finder" / "model.safetensors", networks / "reader" / "reader.safetensors"
    return ["train", "join", *map(str, files), "--data", f"gtsdb={streets}", "--out", str(out), *PLAIN, *more]


@pytest.mark.slow
def test_a_finder_and_a_reader_become_one_model_that_names_what_it_finds_with_thresholds_of_the_command(
    networks: Path, streets: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from kryss.vision.detect import load_detector
    from kryss.vision.registry import file_digest, reader_file, weights_file
    from kryss.vision.taxonomy import detected

    out = tmp_path / "joined"
    assert main(join_command(networks, streets, out, "--name", "mine@1")) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["registered"] == told["model"] == "mine@1" and 0 <= told["gtsdb"] <= 1
    entry = resolve("mine@1")
    shipped = resolve("kryss-street-lite0").inference
    assert (entry.inference.backend, entry.inference.first_threshold) == ("torch", 0.001)
    assert (entry.inference.finder_weight, entry.inference.max_candidates) == (shipped.finder_weight, shipped.max_candidates)
    assert entry.trained["finder"]["recipe"]["name"] == "finder" and entry.trained["reader"]["recipe"]["name"] == "tiny"
    reader = reader_file(entry)
    assert reader and file_digest(reader) == file_digest(networks / "reader" / "reader.safetensors") == entry.reader_sha256
    assert weights_file(entry).parent == weights / "registered"
    report = json.loads((out / "report-gtsdb.json").read_text())
    assert report["operating"]["score_threshold"] == entry.score_threshold and report["chosen_on_these_photos"] is True
    assert report["photos"] == 1 and report["boxes"] == 1 and (out / "report-gtsdb.html").stat().st_size > 1000
    card = (out / "model.md").read_text()
    assert "mine@1" in card and entry.reader_sha256 in card and "| gtsdb | 1 | 1 |" in card

    # The refresh of the night uses it by its key; the folder's file says the same.
    body = (streets / "images" / "5.png").read_bytes()
    seen = []
    for model in ("mine@1", str(out / "model.safetensors")):
        detector = load_detector(model, "cpu", 0.0)
        assert detector.model_key == "mine@1" and set(detector.classes) == set(detected())
        [(_, found)] = detector.detect([("5", body)])
        assert isinstance(found, list) and found
        seen.append(found)
    assert seen[0] == seen[1]

    # The other command that chooses thresholds chooses the same, and registering again is no change.
    before = {path.name: path.read_bytes() for path in (weights / "registered").iterdir()}
    labels = str(streets / "annotations.json")
    evaluated = ["evaluate", "--model", "mine", "--held-out", "--coco", labels, "--choose-thresholds", str(tmp_path / "c.json")]
    assert main([*evaluated, "--quiet"]) == 0
    chosen = json.loads((tmp_path / "c.json").read_text())
    assert (chosen["score_threshold"], chosen["thresholds"]) == (entry.score_threshold, entry.thresholds)
    assert main(join_command(networks, streets, tmp_path / "again", "--name", "mine@1")) == 0
    assert {path.name: path.read_bytes() for path in (weights / "registered").iterdir()} == before
    capsys.readouterr()
    assert main(join_command(networks, streets, tmp_path / "other", "--name", "mine@1", "--option", "finder_weight=0.8")) == 1
    assert "differs in inference.finder_weight (0.3, here 0.8)" in capsys.readouterr().err
    assert resolve("mine@1") == entry


@pytest.mark.slow
def test_what_cannot_be_joined_is_said_in_one_line(
    networks: Path, streets: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = join_command(networks, streets, tmp_path / "out")

    def last(*more: str, **changes: str) -> str:
        given = [changes.get(f"at{number}", text) for number, text in enumerate(command)]
        assert main([*given, *more]) == 1
        [*_, line] = capsys.readouterr().err.splitlines()
        assert not (tmp_path / "out").exists()
        return line

    assert "tf_efficientdet_d0@f153e0cf is no finder" in last(at2="tf_efficientdet_d0")
    assert f"{command[2]} is no reader" in last(at3=command[2])
    assert "there is no file of a reader 'absent'" in last(at3="absent")
    assert "kryss-depth@1 has no reader" in last(at3="kryss-depth")
    assert "'finder_wait' is no field of inference; known: backend" in last("--option", "finder_wait=1")
    assert "'methd' is no field of suppression" in last("--option", "nms={methd: soft}")
    assert "option finder_weight: Input should be a valid number" in last("--option", "finder_weight=much")
    assert "unknown: signs; the recipe finder takes gtsdb (coco)" in last(at5=f"signs={streets}")
    assert "no recipe 'nothing'" in last("--config", "nothing")
    assert "is the finder: give another --out" in last("--out", str(networks / "finder"))
    with pytest.raises(SystemExit):
        main([*command, "--name", "kryss-street-lite0@2.1"])
    assert "kryss-street-lite0@2.1 ships with Kryss" in capsys.readouterr().err


# Depth


DEPTH: dict[str, Any] = {"sizes": [[64, 64]], "rendered": 1, "real": 1, "precision": "fp32", "save_every_s": -1}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_depth_network_that_was_killed_and_resumed_is_the_one_of_an_undisturbed_run_and_measures(
    streets: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("numba")
    import yaml

    from kryss.training.depth import RECIPE
    from kryss.vision.depth import load_depth

    recipe = {**yaml.safe_load(RECIPE.read_text()), **DEPTH}
    (tmp_path / "mine.yaml").write_text(json.dumps(recipe))

    def command(out: str, *more: str) -> list[str]:
        given = {"--recipe": tmp_path / "mine.yaml", "--gtsdb": streets, "--steps": 6, "--workers": 0, "--name": "mine"}
        return arguments("depth", tmp_path / out, given, *more)

    assert main(command("whole")) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["steps"] == 6 and told["registered"] == told["model"]
    assert killed_and_resumed(command("killed"), tmp_path / "killed" / "depth-checkpoint.pt")
    for name in ("model.safetensors", "model.md", "recipe.yaml"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    for out in ("whole", "killed"):
        [*_, (step, *figures)] = rows(tmp_path / out / "log.csv")
        assert step == "6" and all(np.isfinite(float(figure)) for figure in figures)
    entry = resolve("mine")
    assert (entry.task, entry.trained["photos"], entry.trained["recipe"]["sizes"]) == ("depth", 7, [[64, 64]])
    assert "6 steps of 1 rendered pictures and 1 photos" in (tmp_path / "whole" / "model.md").read_text()
    body = (streets / "images" / "5.png").read_bytes()
    maps = [
        load_depth(name).depth_map(read_photo(body)).metres for name in ("mine", str(tmp_path / "killed" / "model.safetensors"))
    ]
    assert np.array_equal(*maps) and np.isfinite(maps[0]).all() and (maps[0] > 0).all()

    assert main(command("whole")) == 1
    assert "depth-checkpoint.pt is there: give --resume" in capsys.readouterr().err


def test_what_a_depth_network_cannot_learn_from_is_said_in_one_line(
    tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("numba")
    (tmp_path / "bad.yaml").write_text("seed: 1\nsteps: 3\n")
    for more, told in (
        (["--gtsdb", str(tmp_path)], f"neither annotations.json nor gt.txt in {tmp_path}"),
        (["--recipe", str(tmp_path / "none.yaml")], "none.yaml: No such file"),
        (["--recipe", str(tmp_path / "bad.yaml")], "bad.yaml: sizes: Field required"),
    ):
        assert main(arguments("depth", tmp_path / "out", {"--steps": 2}, *more)) == 1
        [*_, line] = capsys.readouterr().err.splitlines()
        assert told in line and not (tmp_path / "out").exists()
    for wrong in ([], ["--steps", "2", "--minutes", "1"], ["--steps", "2", "--name", "Depth"]):
        with pytest.raises(SystemExit):
            main(arguments("depth", tmp_path / "out", {}, *wrong))


# What is learnt from


@pytest.fixture(scope="module")
def teacher(finder: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a finder of random weights that sees signs and lights in many places."""
    from kryss.training.export import export_entry
    from kryss.training.recipe import Recipe
    from kryss.training.registering import entry_of_run
    from kryss.training.run import Material
    from kryss.vision.networks import effdet_config, effdet_model

    recipe = Recipe.model_validate(finder)
    torch.manual_seed(3)
    network = effdet_model(effdet_config(recipe.architecture, 2, {**recipe.model, "image_size": (128, 128)}))
    for parameter in network.class_net.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    made = Material((), (), (), ("sign", "light"), {}, {}, {}, "", {})
    path = tmp_path_factory.mktemp("teacher") / "teacher.safetensors"
    export_entry(network.state_dict(), path, entry_of_run(recipe, made, "teacher", "1", {}))
    return path


@pytest.fixture(scope="module")
def prelabelled(streets: Path, teacher: Path, finder: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of what the teacher saw, twice over: as the detector of lights and as the finder."""
    folder = tmp_path_factory.mktemp("prelabelled")
    recipe = config(folder, finder)
    given = {"--config": recipe, "--data": f"gtsdb={streets}", "--lights": teacher, "--finder": teacher}
    assert main(arguments("prelabel", folder / "prelabels.json", given)) == 0
    return folder / "prelabels.json"


@pytest.mark.slow
def test_what_teachers_see_is_written_for_all_photos_but_the_held_out_and_read_by_the_trainings(
    prelabelled: Path,
    streets: Path,
    teacher: Path,
    finder: dict[str, Any],
    reader_command: Callable[..., list[str]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from kryss.training.prelabel import key_of, read

    photos = coco.load(streets / "annotations.json", streets / "images", SIGNS).photos
    seen = read(prelabelled)
    assert set(seen) == {key_of(photo) for photo in photos if not is_held_out(photo.id)} and len(seen) == 7
    finds = [find for rows in seen.values() for find in rows]
    assert {find.teacher for find in finds} == {"lights", "finder"} and {find.kind for find in finds} == {"sign", "light"}
    for find in finds:
        left, top, right, bottom = find.box
        assert 0 <= left < right <= WIDTH and 0 <= top < bottom <= HEIGHT and 0.1 <= find.score <= 1
    # Once more: every photo is known. A photo that is new is added.
    written = prelabelled.read_bytes()
    more = shutil.copytree(streets, tmp_path / "more")
    document = json.loads((more / "annotations.json").read_text())
    document["images"].append({"id": 8, "file_name": "8.png", "width": WIDTH, "height": HEIGHT})
    (more / "annotations.json").write_text(json.dumps(document))
    cv2.imwrite(str(more / "images" / "8.png"), np.full((HEIGHT, WIDTH, 3), 90, np.uint8))
    again = shutil.copy(prelabelled, tmp_path / "again.json")
    given = {"--config": config(tmp_path, finder), "--lights": teacher, "--finder": teacher}
    for folder, number in ((streets, 7), (more, 8)):
        capsys.readouterr()
        assert main(arguments("prelabel", again, {**given, "--data": f"gtsdb={folder}"})) == 0
        assert f"what the teachers saw in {number} photos" in capsys.readouterr().out
        assert (again.read_bytes() == written) == (number == 7)
    assert {key: read(again)[key] for key in seen} == seen

    # Both trainings read it: what is learnt from is another set of places. (This teacher sees something everywhere.)
    document = json.loads(written)
    document["photos"] = {
        key: [row for row in found if row[2] - row[0] < 60 and row[3] - row[1] < 60][:3]
        for key, found in document["photos"].items()
    }
    few = tmp_path / "few.json"
    few.write_text(json.dumps(document))
    data = []
    for options in ((), ("--prelabels", str(few))):
        out = f"out{len(data)}"
        assert main(reader_command(out, *options, steps=1)) == 0
        data.append(reader_digest(tmp_path / out / "reader.safetensors"))
    assert data[0] != data[1]
    given = {
        "--config": config(tmp_path, finder),
        "--data": f"gtsdb={streets}",
        "--sprites": SPRITES,
        "--prelabels": few,
    }
    assert main(arguments("detector", tmp_path / "finder", given, "--no-judge", "--no-register")) == 0
    entry = entry_in(tmp_path / "finder" / "model.safetensors")
    card = (tmp_path / "finder" / "model.md").read_text()
    assert entry.trained["data"] in card and "and 0 places to ignore" not in card


def reader_digest(path: Path) -> str:
    """Names the data that a reader learnt from."""
    return str(json.loads(metadata(path)["reader"])["trained"]["data"])


def test_a_teacher_that_is_not_there_or_sets_that_are_not_given_are_said(
    streets: Path, finder: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KRYSS_WEIGHTS_DIR", str(tmp_path))
    given = {"--config": config(tmp_path, finder), "--data": f"gtsdb={streets}", "--finder": "kryss-streat"}
    assert main(arguments("prelabel", tmp_path / "p.json", given)) == 1
    assert "did you mean kryss-street-lite0" in capsys.readouterr().err
    assert main(arguments("prelabel", tmp_path / "p.json", {"--config": config(tmp_path, finder)})) == 1
    assert "--data NAME=PATH: missing: any; the recipe finder takes gtsdb (coco)" in capsys.readouterr().err
    assert not (tmp_path / "p.json").exists()


@pytest.mark.slow
def test_a_file_of_something_else_is_not_written_over_and_folders_are_made(
    streets: Path, finder: dict[str, Any], teacher: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = {"--config": config(tmp_path, finder), "--data": f"gtsdb={streets}", "--lights": teacher, "--finder": teacher}
    labels = shutil.copy(streets / "annotations.json", tmp_path / "labels.json")
    assert main(arguments("prelabel", labels, given)) == 1
    assert "labels.json is no file of ./kryss train prelabel" in capsys.readouterr().err.splitlines()[-1]
    assert labels.read_bytes() == (streets / "annotations.json").read_bytes()
    assert main(arguments("prelabel", tmp_path, given)) == 1
    assert f"{tmp_path}: Is a directory" in capsys.readouterr().err
    assert main(arguments("prelabel", tmp_path / "new" / "p.json", given)) == 0
    assert (tmp_path / "new" / "p.json").is_file()


@pytest.mark.slow
def test_composed_scenes_are_a_data_set_that_trains_and_come_again_by_their_seed(
    prelabelled: Path, streets: Path, finder: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def compose(name: str, *more: str) -> Path:
        given = {"--photos": streets, "--sprites": SPRITES, "--number": 14, "--side": 128, "--prelabels": prelabelled}
        assert main(arguments("compose", tmp_path / name, given, *more)) == 0
        assert capsys.readouterr().out.strip() == str(tmp_path / name / "annotations.json")
        return tmp_path / name

    one, same, other = compose("one"), compose("same"), compose("other", "--seed", "1")
    pictures = sorted(path.name for path in (one / "images").iterdir())
    assert pictures == [f"{number:06}.jpg" for number in range(14)]
    for name in ("annotations.json", "sheet.jpg", *(f"images/{picture}" for picture in pictures)):
        assert (one / name).read_bytes() == (same / name).read_bytes(), name
        assert (one / name).read_bytes() != (other / name).read_bytes(), name
    found = coco.load(one / "annotations.json", one / "images")
    assert not found.problems and len(found.photos) == 14
    assert sum(len(photo.boxes) for photo in found.photos) > 5 and any(photo.ignore for photo in found.photos)
    for photo in found.photos:
        assert photo.pixels().shape == (128, 128, 3)
    # Ours to learn from: the check of the trainings finds nothing wrong in it.
    recipe = config(tmp_path, {**finder, "data": {"composed": {}}})
    assert main(["train", "check", "--config", recipe, "--data", f"composed={one}"]) == 0
    assert "12 photos to learn from, 2 held out" in capsys.readouterr().out


def test_scenes_of_gtsdb_as_published_show_its_labels_and_nothing_that_is_held_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(1)
    cv2.imwrite(str(tmp_path / "00005.ppm"), rng.integers(60, 160, (160, 200, 3), dtype=np.uint8))
    (tmp_path / "gt.txt").write_text("00005.ppm;80;60;119;99;41\n")
    given = {"--photos": tmp_path, "--sprites": SPRITES, "--number": 12, "--side": 128}
    assert main(arguments("compose", tmp_path / "out", given)) == 1
    assert "no photos to compose scenes from" in capsys.readouterr().err.splitlines()[-1]
    (tmp_path / "00005.ppm").rename(tmp_path / "00004.ppm")
    (tmp_path / "gt.txt").write_text("00004.ppm;80;60;119;99;41\n")
    assert main(arguments("compose", tmp_path / "out", given)) == 0
    found = coco.load(tmp_path / "out" / "annotations.json", tmp_path / "out" / "images")
    assert "regulatory--end-of-no-overtaking--g1" in {box[4] for photo in found.photos for box in photo.boxes}


def test_scenes_need_photos_and_drawings(streets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    for photos, sprites, told in (
        (tmp_path / "nowhere", SPRITES, f"no folder {tmp_path / 'nowhere'}"),
        (tmp_path / "empty", SPRITES, "nothing is left to learn from"),
        (streets, tmp_path / "empty", "no drawings (*.svg) there"),
    ):
        assert main(arguments("compose", tmp_path / "out", {"--photos": photos, "--sprites": sprites})) == 1
        said = capsys.readouterr().err
        assert told in said and "Traceback" not in said
        assert not (tmp_path / "out").exists()

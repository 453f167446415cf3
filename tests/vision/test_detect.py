"""Detectors: the one that ships on photos of the demo town, and one of random weights with every option there is."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from kryss.model import Detection
from kryss.vision import networks, plausible, registry
from kryss.vision.boxes import iou
from kryss.vision.detect import Detector, PhotoFailure, default_workers, detector_of, load_detector
from kryss.vision.registry import Calibration, Inference, Preprocessing, Suppression, Tiling, Weights, model_key, resolve
from kryss.vision.stream import Workers

TOWN = Path(__file__).parents[2] / "include" / "kryss" / "demo" / "areas" / "town"
NAMES = ("regulatory--stop--g1", "regulatory--yield--g1", "object--traffic-light--general-upright")
in_town = pytest.mark.skipif(not (TOWN / "truth_boxes.json").is_file(), reason="the area town is not here")


@pytest.fixture(scope="module")
def detector() -> Detector:
    return load_detector("kryss-street-lite0")


@pytest.fixture(scope="module")
def near_sign() -> tuple[str, bytes, dict]:
    """The photo in which a sign is largest, and that sign."""
    boxes = json.loads((TOWN / "truth_boxes.json").read_text())["boxes"]
    whole = [b for b in boxes if b["inside"] == 1 and b["visible"] == 1 and b["class"].startswith("regulatory")]
    box = max(whole, key=lambda b: (b["box_ltrb"][3] - b["box_ltrb"][1], b["image_id"]))
    return box["image_id"], (TOWN / "photos" / f"{box['image_id']}.jpg").read_bytes(), box


@pytest.fixture(scope="module")
def random(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Weights]:
    """A registered two-stage model of random weights, which finds something everywhere."""
    torch = pytest.importorskip("torch")
    from kryss.training.export import export_entry
    from kryss.vision.recognise import CropNetwork, Settings, save_network

    folder = tmp_path_factory.mktemp("weights")
    patch = pytest.MonkeyPatch()
    patch.setenv("KRYSS_WEIGHTS_DIR", str(folder))
    torch.manual_seed(3)
    entry = Weights(
        "random", "1", "detect", "effdet", "tf_efficientdet_lite0", "none", "test", ("sign", "light"), "finder",
        preprocessing=Preprocessing("native", 128, 128, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
        score_threshold=0.0, inference=Inference(first_threshold=0.0, max_candidates=4), options={"anchor_scale": 2.5},
    )  # fmt: skip
    finder = networks.effdet_model(networks.effdet_config(entry.architecture, 2, {"image_size": (256, 256)}))
    for parameter in finder.class_net.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    made = export_entry(finder.state_dict(), folder / "finder.safetensors", entry)
    save_network(CropNetwork(len(NAMES) + 2).state_dict(), Settings(NAMES, passes=1), folder / "reader.safetensors")
    yield registry.register(made, folder / "finder.safetensors", folder / "reader.safetensors")
    patch.undo()


def photo(seed: int, width: int = 100, height: int = 80) -> bytes:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 255, (height // 10, width // 10, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC).save(file, "JPEG", quality=95)
    return file.getvalue()


def with_options(entry: Weights, **options: Any) -> Detector:
    return detector_of(replace(entry, inference=replace(entry.inference, **options)), "cpu")


def look(detector: Detector, body: bytes, size: tuple[int, int] | None = None) -> list[Detection]:
    found = detector.look("1", body, size)
    assert isinstance(found, list)
    return found


def found(detector: Detector, *photos: tuple[str, bytes], sizes: dict[str, tuple[int, int]] | None = None) -> dict:
    return dict(detector.detect(iter(photos), sizes))


@in_town
def test_the_largest_sign_of_the_town_is_found_where_it_is(detector: Detector, near_sign: tuple[str, bytes, dict]) -> None:
    image_id, body, truth = near_sign
    detections = found(detector, (image_id, body))[image_id]
    assert all(isinstance(d, Detection) and d.model_key == model_key(resolve("kryss-street-lite0")) for d in detections)
    assert [d.ordinal for d in detections] == list(range(len(detections)))
    assert [d.score for d in detections] == sorted((d.score for d in detections), reverse=True)
    right = [d for d in detections if d.class_name == truth["class"]]
    assert any(iou(np.array(d.box), np.array([truth["box_ltrb"]]))[0] > 0.5 for d in right)


@in_town
def test_what_is_not_read_twice_would_not_have_been_kept(detector: Detector, near_sign: tuple[str, bytes, dict]) -> None:
    entry = detector.entry
    every = look(detector_of(entry, score_threshold=0.001), near_sign[1])
    kept = [one for one in every if one.score >= entry.thresholds.get(one.class_name, entry.score_threshold)]
    mine = look(detector, near_sign[1])
    assert [(one.class_name, one.score, one.box) for one in mine] == [(one.class_name, one.score, one.box) for one in kept]
    assert 0 < len(mine) < len(every)


@in_town
def test_broken_photos_fail_with_a_reason_and_change_nothing_else(detector: Detector, near_sign: tuple[str, bytes, dict]) -> None:
    image_id, body, _ = near_sign
    alone = found(detector, (image_id, body))
    together = found(
        detector,
        ("cut", body[: len(body) // 2]),
        ("html", b"<html>no</html>"),
        ("none", b""),
        (image_id, body),
        ("cut2", body[:3000]),
    )
    assert list(together) == ["cut", "html", "none", image_id, "cut2"]
    assert together["cut"] == together["cut2"] == PhotoFailure("bad-photo: truncated")
    assert together["html"] == PhotoFailure("bad-photo: not an image")
    assert together["none"] == PhotoFailure("bad-photo: no bytes")
    assert together[image_id] == alone[image_id] == detector.look(image_id, body)


@in_town
def test_boxes_are_in_pixels_of_the_upright_original(detector: Detector, near_sign: tuple[str, bytes, dict]) -> None:
    image_id, body, _ = near_sign
    own = found(detector, (image_id, body))[image_id]
    with Image.open(io.BytesIO(body)) as image:
        size = image.size
    doubled = found(detector, (image_id, body), sizes={image_id: (size[0] * 2, size[1] * 2)})[image_id]
    assert np.allclose([d.box for d in doubled], np.array([d.box for d in own]) * 2, atol=0.03)


@in_town
def test_a_photo_stored_on_its_side_is_turned_upright(detector: Detector, near_sign: tuple[str, bytes, dict]) -> None:
    image_id, body, truth = near_sign
    with Image.open(io.BytesIO(body)) as image:
        size, lying = image.size, image.transpose(Image.Transpose.ROTATE_90)
        exif = lying.getexif()
        exif[0x0112] = 6  # turn clockwise to see it
        stored = io.BytesIO()
        lying.save(stored, "JPEG", quality=95, exif=exif)
    detections = found(detector, (image_id, stored.getvalue()), sizes={image_id: size})[image_id]
    right = [d for d in detections if d.class_name == truth["class"]]
    assert any(iou(np.array(d.box), np.array([truth["box_ltrb"]]))[0] > 0.5 for d in right)


@pytest.mark.parametrize("how", ["sum", "attn", "fastattn"])
def test_the_network_of_all_sizes_computes_what_effdet_computes(random: Weights, how: str) -> None:
    torch = pytest.importorskip("torch")
    pyramid = {"sum": "bifpn_sum", "attn": "bifpn_attn", "fastattn": "bifpn_fa"}[how]
    entry = replace(random, options={"fpn_name": pyramid})
    torch.manual_seed(5)
    config = networks.effdet_config(entry.architecture, 2, {**entry.options, "image_size": (128, 256)})
    network = networks.effdet_model(config).eval()
    assert {part.weight_method for part in network.modules() if type(part).__name__ == "FpnCombine"} == {how}
    with torch.no_grad():
        for name, values in network.named_parameters():
            if name.endswith("edge_weights"):
                values.copy_(torch.rand(values.shape) + 0.1)
    pixels = torch.randint(0, 255, (1, 128, 256, 3), dtype=torch.uint8)
    with torch.inference_mode():
        logits, codes = networks.free_size(entry, network.state_dict())(pixels)
        maps = network((pixels.permute(0, 3, 1, 2).float() - 127.5) / 127.5)
    assert torch.allclose(logits, networks.flat(maps[0], 2), atol=1e-4)
    assert torch.allclose(codes, networks.flat(maps[1], 4), atol=1e-4) and codes.std() > 1e-3


@pytest.mark.slow
@in_town
def test_openvino_finds_what_torch_finds(detector: Detector, near_sign: tuple[str, bytes, dict]) -> None:
    entry = resolve("kryss-street-lite0")
    assert entry.inference.backend == "openvino"
    # bf16 moves scores a little: what one takes for sure the other has, if only just below a threshold.
    low = replace(entry.inference, first_threshold=0.05, max_candidates=40)
    exact = replace(low, backend="torch", precision="fp32")
    one, other = (look(detector_of(replace(entry, inference=how), "cpu", 0.05), near_sign[1]) for how in (low, exact))
    for mine, theirs in ((one, other), (other, one)):
        for sure in (d for d in mine if d.score >= 0.6):
            same = [d for d in theirs if d.class_name == sure.class_name and np.allclose(d.box, sure.box, atol=2)]
            assert any(abs(d.score - sure.score) < 0.15 for d in same)
    assert any(d.score >= 0.6 for d in one)


@pytest.mark.parametrize("batch", [1, 3])
def test_a_photos_bytes_decide_alone_whatever_batch_worker_or_neighbour(
    random: Weights, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(networks.BATCH, "cpu", batch)
    detector = detector_of(random, "cpu")
    assert detector.model.batch == batch
    bodies = {str(k): photo(k, *((100, 80) if k % 3 else (60, 240))) for k in range(5)}
    bodies["broken"] = b"no"
    alone = {name: detector.look(name, body) for name, body in bodies.items()}
    assert sum(len(one) for one in alone.values() if isinstance(one, list)) > 5
    for order in (list(bodies), list(bodies)[::-1]):
        streamed = dict(detector.detect([(name, bodies[name]) for name in order], workers=Workers("threads", 3)))
        assert list(streamed) == order
        assert streamed == alone


@pytest.mark.slow
def test_processes_decode_to_the_same_detections(random: Weights) -> None:
    detector = detector_of(random, "cpu")
    bodies = [(str(k), photo(k)) for k in range(5)]
    assert dict(detector.detect(bodies, workers=Workers("processes", 2))) == dict(detector.detect(bodies))


def test_the_second_stage_names_and_can_be_turned_off(random: Weights) -> None:
    assert detector_of(random, "cpu").classes == tuple(sorted(NAMES))
    alone = with_options(random, recogniser=False)
    assert alone.classes == ("object--traffic-light--general-upright", "object--traffic-sign--front")
    assert {d.class_name for d in look(alone, photo(1))} <= set(alone.classes)


def test_the_score_is_made_of_both_stages_as_the_entry_says(random: Weights) -> None:
    raw = {}
    for weight in (0.0, 0.5, 1.0):
        model = with_options(random, finder_weight=weight, nms=Suppression(iou=1.0), max_candidates=1)
        [one] = look(model, photo(1))
        raw[weight] = one.score
    assert raw[0.5] == pytest.approx(np.sqrt(raw[0.0] * raw[1.0]), abs=2e-4)
    curve = Calibration(((0.0, 0.2), (1.0, 0.6)))
    [one] = look(
        detector_of(replace(random, calibration=curve, inference=replace(random.inference, max_candidates=1)), "cpu"), photo(1)
    )
    assert one.score == pytest.approx(0.2 + 0.4 * raw[0.5], abs=2e-4)


def test_each_class_has_its_own_threshold(random: Weights) -> None:
    every = look(detector_of(random, "cpu"), photo(1))
    name = every[0].class_name
    without = look(detector_of(replace(random, thresholds={name: 0.9999}), "cpu"), photo(1))
    assert [(d.class_name, d.box) for d in without] == [(d.class_name, d.box) for d in every if d.class_name != name]
    # A threshold that is asked for counts for all classes.
    assert look(detector_of(replace(random, thresholds={name: 0.9999}), "cpu", 0.0), photo(1)) == every


def test_no_more_detections_than_the_limit_the_best_ones(random: Weights) -> None:
    every = look(with_options(random, nms=Suppression(iou=1.0), max_candidates=8), photo(1))
    few = look(with_options(random, nms=Suppression(iou=1.0), max_candidates=8, max_detections=3), photo(1))
    assert len(every) > 3 and few == every[:3]


def test_what_its_class_threshold_drops_does_not_count_towards_the_limit(random: Weights) -> None:
    alone = replace(random, inference=replace(random.inference, recogniser=False, nms=Suppression(iou=0.3)))
    every = look(detector_of(alone, "cpu"), photo(1))
    best = every[0].class_name
    others = [d.box for d in every if d.class_name != best]
    few = replace(alone, thresholds={best: 0.9999}, inference=replace(alone.inference, max_detections=2))
    assert len(others) > 2
    assert [d.box for d in look(detector_of(few, "cpu"), photo(1))] == others[:2]


HALVED = Calibration(((0.0, 0.0), (0.5, 0.9), (1.0, 1.0)))


@pytest.mark.parametrize(
    ("inference", "curve"),
    [
        ({"recogniser": False}, HALVED),
        ({"nms": Suppression("soft"), "max_candidates": 40}, HALVED),
        ({"nms": Suppression("wbf", iou=0.2), "max_candidates": 40}, None),
        ({"nms": Suppression("wbf", iou=0.2), "max_candidates": 40}, HALVED),
    ],
    ids=["one stage", "soft", "wbf", "wbf, calibrated"],
)
def test_an_evaluation_sees_what_a_run_sees(random: Weights, inference: dict[str, Any], curve: Calibration | None) -> None:
    assert_same_from_a_threshold(
        replace(random, inference=replace(random.inference, **inference), calibration=curve, score_threshold=0.3)
    )


def test_what_a_sure_reader_lifts_over_the_threshold_is_handed_to_it(random: Weights, tmp_path: Path) -> None:
    """Where the entry does not say from which score on."""
    from safetensors.torch import load_file

    from kryss.vision.recognise import Settings, save_network

    known = registry.reader_file(random)
    assert known is not None
    save_network(load_file(known), Settings(NAMES, 0.01, passes=1), tmp_path / "sure.safetensors")
    inference = replace(random.inference, first_threshold=None, finder_weight=0.2, max_candidates=40)
    sure = replace(random, name="sure", inference=inference)
    assert_same_from_a_threshold(registry.register(sure, registry.weights_file(random), tmp_path / "sure.safetensors"))


def test_a_calibration_is_of_the_scores_that_merging_leaves(random: Weights) -> None:
    soft = replace(random.inference, nms=Suppression("soft"), max_candidates=40)
    raw, told = (
        look(detector_of(replace(random, inference=soft, calibration=curve), "cpu", 0.01), photo(1)) for curve in (None, HALVED)
    )
    expected = np.interp([d.score for d in raw], *zip(*HALVED.knots, strict=True))
    assert len(raw) > 10
    assert [d.score for d in told[: len(raw)]] == pytest.approx(expected.tolist(), abs=2e-4)


def assert_same_from_a_threshold(entry: Weights) -> None:
    """Finds from a threshold in the middle are the same, whether they are asked for alone or with all below it."""
    every = [d.score for d in look(detector_of(entry, "cpu", 0.001), photo(1))]
    middle = (every[len(every) // 2 - 1] + every[len(every) // 2]) / 2
    assert every[-1] < middle - 1e-3 < middle + 1e-3 < every[0]
    entry = replace(entry, score_threshold=middle)
    used = look(detector_of(entry, "cpu"), photo(1))
    assert used == [d for d in look(detector_of(entry, "cpu", 0.001), photo(1)) if d.score >= middle]


@pytest.mark.parametrize(
    "options",
    [
        {"scales": (1.0, 0.7)},
        {"min_side": 128},
        {"tile": Tiling(64, 24)},
        {"nms": Suppression("soft")},
        {"nms": Suppression("wbf")},
        {"nms": Suppression(measure="coverage", iou=0.3)},
        {"nms": Suppression(class_agnostic=False, iou=0.01)},
    ],
    ids=lambda options: " ".join(f"{value}" for value in options.values()),
)
def test_every_option_changes_what_is_done_and_keeps_boxes_in_the_photo(random: Weights, options: dict[str, Any]) -> None:
    plain, other = detector_of(random, "cpu"), with_options(random, **options)
    one, two = look(plain, photo(4)), look(other, photo(4))
    assert [(d.score, d.box) for d in one] != [(d.score, d.box) for d in two]
    boxes = np.array([d.box for d in two])
    assert len(boxes) and (boxes[:, :2] >= 0).all() and (boxes[:, 2:] <= [100, 80]).all()
    assert (boxes[:, 2:] > boxes[:, :2]).all()
    assert registry.entry_digest(plain.entry) != registry.entry_digest(other.entry)


def test_implausible_finds_are_dropped_and_confident_ones_are_not(random: Weights, tmp_path: Path) -> None:
    every = look(detector_of(random, "cpu"), photo(1))
    sure = (every[0].score + every[1].score) / 2
    nowhere = plausible.Kind((50.0, 50.0, 50.0), tuple(tuple(row) for row in np.eye(3).tolist()), 1.0, 99)
    plausible.save(plausible.Plausibility({"sign": nowhere, "light": nowhere}, sure), tmp_path / "places.json")
    entry = replace(random, inference=replace(random.inference, plausibility=str(tmp_path / "places.json")))
    assert [d.box for d in look(detector_of(entry, "cpu"), photo(1))] == [d.box for d in every if d.score >= sure]


def test_an_ensemble_fuses_its_members(random: Weights) -> None:
    registry.write_entry(replace(random, version="2", inference=replace(random.inference, scales=(0.8,))))
    both = Weights(
        "both", "1", "detect", "ensemble", "wbf", "none", "test", score_threshold=0.0,
        options={"members": ["random@1", "random@2"], "weights": [2, 1]}, inference=Inference(nms=Suppression(iou=0.5)),
    )  # fmt: skip
    together = detector_of(both, "cpu")
    assert together.classes == tuple(sorted(NAMES))
    detections = look(together, photo(1))
    members = [look(detector_of(resolve(name), "cpu"), photo(1)) for name in ("random@1", "random@2")]
    assert {d.model_key for d in detections} == {"both@1"}
    assert max(map(len, members)) <= len(detections) <= sum(map(len, members))
    assert dict(together.detect([("1", photo(1)), ("2", photo(2))])) == {str(k): together.look(str(k), photo(k)) for k in (1, 2)}
    for number, calibrated in ((1, random), (2, resolve("random@2"))):
        weak = replace(calibrated, name="weak", version=str(number), calibration=Calibration(((0.0, 0.0), (1.0, 0.12))))
        registry.write_entry(replace(weak, inference=replace(weak.inference, max_candidates=20)))
    members = {"members": ["weak@1", "weak@2"]}
    assert_same_from_a_threshold(replace(both, options=members, inference=Inference(nms=Suppression(iou=0.2))))
    with pytest.raises(ValueError, match="at least two members and as many weights"):
        detector_of(replace(both, options={"members": ["random@1"]}), "cpu")


def test_what_an_entry_cannot_mean_is_refused(random: Weights) -> None:
    assert random.preprocessing is not None
    with pytest.raises(ValueError, match="backend openvino wants photos of size native and multiple 128"):
        with_options(replace(random, preprocessing=replace(random.preprocessing, multiple=64)), backend="openvino")
    with pytest.raises(ValueError, match="scales and min_side are for photos of size native, not fit"):
        with_options(replace(random, preprocessing=replace(random.preprocessing, size="fit")), min_side=100)


def test_who_decodes_can_be_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KRYSS_DECODERS", "processes:3")
    assert default_workers(1) == Workers("processes", 3)
    monkeypatch.setenv("KRYSS_DECODERS", "many")
    with pytest.raises(ValueError, match="expected threads:N or processes:N"):
        default_workers(1)
    monkeypatch.delenv("KRYSS_DECODERS")
    assert default_workers(1).kind == "threads" and default_workers(8).kind == "processes"

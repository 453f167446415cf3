"""``./kryss evaluate``: how good a detector is on labelled photos."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)

MOST_NAMED = 20
"""Categories named in one line."""

DESCRIPTION = """\
Judges a detector by the labels of a COCO file: average precision (COCO's), precision and recall where the model is used,
by class, by size and by height in pixels, how tight its boxes are and whether its scores mean what they say.
docs/evaluation.md explains all.
"""
EPILOG = """\
Category names are understood in the words of Mapillary, MTSD, GTSDB (names or numbers) and COCO, and plain ones for
traffic lights ("red", "traffic_light_green"); others are listed and left out. --map says what a name means.
traffic-light and traffic-sign stand for all classes of lights and of signs. Photos that cannot be read are listed and
left out.

  ./kryss evaluate --model kryss-street-lite0 --coco annotations.json --images photos/ --json result.json
  ./kryss evaluate --model kryss-street-lite0 --coco annotations.json --images photos/ --classes traffic-light

Calibration and thresholds may be chosen on several sets of labels: give --coco and --images once for each.
"""


def evaluate_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description, parser.epilog = DESCRIPTION, EPILOG
    parser.add_argument("--model", metavar="NAME|FILE", help="of the registry (name or name@version), or a .safetensors file")
    parser.add_argument(
        "--coco",
        type=Path,
        action="append",
        required=True,
        metavar="JSON|AREA",
        help="labels; or a recorded area with true boxes",
    )
    parser.add_argument(
        "--images",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="folder of the photos (default: images beside JSON)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything measured")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a report page (one file)")
    parser.add_argument("--classes", metavar="A,B", help="judge these only: classes, or traffic-light, traffic-sign")
    parser.add_argument(
        "--map", action="append", default=[], metavar="NAME=CLASS", help="what a category name means (may be given again)"
    )
    parser.add_argument("--no-second-stage", action="store_true", help="the first stage alone")
    parser.add_argument("--held-out", action="store_true", help="only photos that training never sees: image id %% 6 = 5")
    parser.add_argument("--limit", type=int, metavar="N", help="the first N photos only")
    parser.add_argument("--device", metavar="DEVICE", help="torch device (default: CUDA where there is one)")
    parser.add_argument(
        "--choose-thresholds",
        type=Path,
        metavar="FILE",
        help="choose calibration and thresholds on these photos, write them as JSON and store them with the model: in its file, "
        "in its entry of the registry",
    )
    parser.add_argument(
        "--write-held-out", type=Path, metavar="FILE", help="write the labels of the photos that training never sees, and end"
    )
    parser.add_argument("--quiet", action="store_true", help="no progress, no table")


def run(options: argparse.Namespace) -> int:
    """0; 2 where labels, model or output cannot be used, with one line that says why."""
    from kryss.training.truth import TruthError, held_out
    from kryss.vision.registry import WeightsDamaged, WeightsUnavailable

    try:
        if options.write_held_out:
            options.write_held_out.write_text(json.dumps(held_out(options.coco[0])) + "\n", encoding="utf-8")
            return 0
        if not options.model:
            raise TruthError("--model is needed: a name of the registry or a file")
        return _evaluate(options)
    except (ValueError, WeightsUnavailable, WeightsDamaged) as error:
        print(f"kryss evaluate: {error}", file=sys.stderr)
    except OSError as error:
        print(f"kryss evaluate: {error.filename}: {error.strerror or error}", file=sys.stderr)
    return 2


def _evaluate(options: argparse.Namespace) -> int:
    from dataclasses import replace

    from kryss.training.evaluate import LOWEST_SCORE, look, score
    from kryss.training.truth import TruthError
    from kryss.vision.detect import detector_of
    from kryss.vision.registry import WeightsDamaged, WeightsUnavailable, entry_digest, entry_document, model_key, resolve

    if len(options.coco) > 1 and not options.choose_thresholds:
        raise TruthError("more than one --coco: judge one set of labels at a time (several are for --choose-thresholds)")

    def say(line: str) -> None:
        if not options.quiet:
            print(line, file=sys.stderr, flush=True)

    truths = [_truth(options, number) for number in range(len(options.coco))]
    entry = resolve(options.model)
    if entry.task != "detect":
        raise ValueError(f"{model_key(entry)} is no detector: its task is {entry.task}")
    for path, truth in zip(options.coco, truths, strict=True):
        _must_be_judgeable(path, truth)
        if truth.unknown:
            print(f"kryss evaluate: {path}: {_unknown(truth.unknown)}", file=sys.stderr)
    if options.no_second_stage:
        if entry.reader is None:
            raise ValueError(f"{model_key(entry)} has no second stage that --no-second-stage could leave out")
        # Calibration is that of both stages' score.
        entry = replace(entry, calibration=None, inference=replace(entry.inference, recogniser=False))
    every = []
    try:
        plain = replace(entry, calibration=None) if options.choose_thresholds else entry
        detector = detector_of(plain, options.device, LOWEST_SCORE)
        for path, truth in zip(options.coco, truths, strict=True):
            for line in _of_labels(path, truth):
                say(line)
            every.append(look(detector, truth, say))
    except (OSError, ValueError, WeightsUnavailable, WeightsDamaged):
        raise
    except Exception as error:  # a wrong model or device fails in as many ways as there are libraries that read it
        log.debug("%s", options.model, exc_info=True)
        lines = str(error).strip().splitlines() or [""]
        raise ValueError(f"{options.model} cannot be used: {type(error).__name__}: {lines[0]}") from error
    for path, truth, looked in zip(options.coco, truths, every, strict=True):
        for key, reason in list(looked.failed.items())[:20]:
            say(f"photo {key} left out: {reason}")
        if not looked.found:
            reasons = sorted(set(looked.failed.values()))
            raise TruthError(f"{path}: none of its {len(truth.photos)} photos could be read: {'; '.join(reasons[:3])}")
    if options.choose_thresholds:
        entry, every = _choose(options, entry, truths, every, say)
    results: list[dict[str, Any]] = []
    for path, truth, looked in zip(options.coco, truths, every, strict=True):
        result = {
            "model": model_key(entry),
            "entry": entry_digest(entry),
            "second_stage": not options.no_second_stage,
            "inference": entry_document(entry).get("inference", {}),
            "labels": str(path),
            "labelled": sorted(truth.labelled),
            "categories": dict(truth.meanings),
            "unknown_categories": dict(truth.unknown),
            "faults": dict(truth.faults),
            "lowest_score": LOWEST_SCORE,
            "chosen_on_these_photos": bool(options.choose_thresholds),
            **score(truth, looked, entry.score_threshold, entry.thresholds),
        }
        results.append(result)
        if not options.quiet:
            print("\n".join(_table(result)))
    if options.json:
        document = results[0] if len(results) == 1 else {"model": model_key(entry), "sets": results}
        options.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    if options.html:
        from kryss.training.report import page

        options.html.write_text(page(*results), encoding="utf-8")
    return 0


def _truth(options: argparse.Namespace, number: int) -> Any:
    """One set of labels as the options want it."""
    from kryss.training.categories import read_classes
    from kryss.training.truth import TruthError, read_area, read_truth

    try:
        wanted = read_classes(options.classes.split(",")) if options.classes else None
        given = _given(options.map)
    except ValueError as error:
        raise TruthError(str(error)) from None
    images = options.images[number] if number < len(options.images) else options.coco[number].parent / "images"
    if options.coco[number].is_dir():
        truth = read_area(options.coco[number], wanted)
    elif images.is_dir():
        truth = read_truth(options.coco[number], images, wanted, given)
    else:
        raise TruthError(f"there is no folder {images}: --images says where the photos are")
    if options.held_out:
        truth = truth.held_out()
    return truth if options.limit is None else truth.first(options.limit)


def _must_be_judgeable(path: Path, truth: Any) -> None:
    """TruthError where there is nothing to look at or nothing to find."""
    from kryss.training.truth import TruthError

    if not truth.photos:
        raise TruthError(f"{path}: no photo to judge by (of its images, as --held-out and --limit leave them)")
    if not any(isinstance(photo.path, bytes) or photo.path.is_file() for photo in truth.photos):
        raise TruthError(
            f"{path}: none of its {len(truth.photos)} photos is there, e.g. {truth.photos[0].path}: --images says where they are"
        )
    if not truth.boxes:
        left_out = ", ".join(f"{name} ({count})" for name, count in sorted(truth.unknown.items(), key=lambda item: -item[1])[:5])
        names = ", ".join(sorted(truth.labelled)[:5])
        raise TruthError(
            f"{path}: no label of {names} in its {len(truth.photos)} photos: there is nothing to find"
            + (f"; categories that are not understood (boxes): {left_out}: say it with --map NAME=CLASS" if left_out else "")
        )


def _choose(options: argparse.Namespace, entry: Any, truths: list[Any], every: list[Any], say: Any) -> tuple[Any, list[Any]]:
    """The entry with calibration and thresholds, and the finds with the scores that it then gives them."""
    from dataclasses import replace

    from kryss.training.choose import as_document, calibrated_finds, choose, labels_of
    from kryss.training.evaluate import judged

    matched = [one for truth, looked in zip(truths, every, strict=True) for one in judged(truth, looked)]
    chosen = choose(replace(entry, calibration=None), matched, labels_of(truths))
    options.choose_thresholds.write_text(json.dumps(as_document(chosen), indent=1) + "\n", encoding="utf-8")
    if options.no_second_stage or options.classes:
        say(f"not stored with the model: chosen for {'the first stage alone' if options.no_second_stage else options.classes}")
    else:
        places = _store(options.model, chosen)
        say(f"stored in {' and '.join(map(str, places))}" if places else f"not stored: {options.model} is no model of your own")
    return chosen, [replace(looked, found=calibrated_finds(looked.found, chosen.calibration)) for looked in every]


def _store(named: str, chosen: Any) -> list[Path]:
    """Writes what was chosen to where the model is kept: the file that was named, its entry if it is registered here. What else
    the entries say, e.g. which file they mean, stays.
    """
    from dataclasses import replace

    from kryss.training.export import rewrite_entry
    from kryss.vision.registry import entries, entry_in, model_key, weights_dir, write_entry

    def with_chosen(entry: Any) -> Any:
        return replace(
            entry, calibration=chosen.calibration, score_threshold=chosen.score_threshold, thresholds=chosen.thresholds
        )

    known = entries()
    registered = [one for one in known if one.folder == weights_dir() / "registered" and model_key(one) == model_key(chosen)]
    places = []
    # The registry's own files are known by their hash, metadata and all.
    kept = {(one.folder / one.file).resolve() for one in known if one.file}
    if named.endswith(".safetensors") and Path(named).resolve() not in kept:
        rewrite_entry(Path(named), with_chosen(entry_in(Path(named))))
        places.append(Path(named))
    return [*places, *(write_entry(with_chosen(one)) for one in registered)]


def _given(pairs: list[str]) -> dict[str, str]:
    """``NAME=CLASS`` options; ValueError for one that names no class."""
    from kryss.training.categories import read_classes

    given = {}
    for pair in pairs:
        name, sign, meaning = pair.rpartition("=")
        if not sign:
            raise ValueError(f"--map {pair}: say NAME=CLASS")
        [given[name]] = read_classes([meaning])
    return given


def _of_labels(path: Path, truth: Any) -> list[str]:
    lines = [f"{path}: {len(truth.photos)} photos, {truth.boxes} boxes of {len(truth.labelled)} classes"]
    lines += [f"{count} x {reason}" for reason, count in truth.faults.items()]
    return lines


def _unknown(unknown: Mapping[str, int]) -> str:
    """What is not judged since nobody knows what it is, most boxes first."""
    rows = sorted(unknown.items(), key=lambda item: (-item[1], item[0]))
    names = ", ".join(f"{name} ({count})" for name, count in rows[:MOST_NAMED])
    more = f" and {len(rows) - MOST_NAMED} more" if len(rows) > MOST_NAMED else ""
    return (
        f"WARNING: {len(rows)} categories with {sum(unknown.values())} boxes mean none of our classes and are NOT judged: "
        f"{names}{more}. If one is a sign or light, say --map NAME=CLASS"
    )


def _table(result: dict[str, Any]) -> list[str]:
    from kryss.training.report import CHOSEN_HERE

    def share(value: float | None) -> str:
        return "    -" if value is None else f"{value:.3f}"

    point, fit = result["operating"], result["tightness"]
    lines = [
        f"{result['model']} on {result['labels']}",
        f"{result['photos']} photos, {result['boxes']} boxes, {result['classes_that_occur']} classes that occur",
        f"mAP@0.5 {share(result['map50'])}   mAP@0.5:0.95 {share(result['map50_95'])}   mAP@0.75 {share(result['map75'])}",
        f"where it is used (threshold {point['score_threshold']}): precision {share(point['precision'])}, recall "
        f"{share(point['recall'])}; {point['right']} right, {point['wrong']} wrong, {point['missed']} missed",
    ]
    if result["unknown_categories"]:
        lines.insert(1, _unknown(result["unknown_categories"]))
    if result["chosen_on_these_photos"]:
        lines.insert(1, f"NOTE: {CHOSEN_HERE}")
    if fit["boxes"]:
        lines.append(
            f"boxes: mean IoU {fit['mean_iou']:.3f}, width x {fit['width_ratio']['median']:.3f}, "
            f"height x {fit['height_ratio']['median']:.3f} of the true"
        )
    lines.append(f"scores: ECE {share(result['calibration']['ece'])}, Brier {share(result['calibration']['brier'])}")
    if result["left_out"]["photos"]:
        lines.append(
            f"{len(result['left_out']['photos'])} photos with {result['left_out']['boxes']} boxes left out "
            f"(recall with them missed: {share(point['recall_with_left_out'])})"
        )
    lines.append(f"{result['seconds_a_photo']:.2f} s a photo\n")
    lines.append(f"{'':54} boxes  AP@0.5     AP  precision recall")
    for name, row in result["sizes"].items():
        lines.append(f"{name:54} {row['boxes']:5}   {share(row['ap50'])}  {share(row['ap'])}")
    for name, row in result["heights_px"].items():
        recall = share(row["recall"])
        lines.append(f"{name + ' px high':54} {row['boxes']:5}   {share(row['ap50'])}  {share(row['ap'])}            {recall}")
    for name, row in result["classes"].items():
        ap, both = f"{share(row['ap50'])}  {share(row['ap'])}", f"{share(row['precision'])}  {share(row['recall'])}"
        lines.append(f"{name:54} {row['boxes']:5}   {ap}      {both}")
    return lines

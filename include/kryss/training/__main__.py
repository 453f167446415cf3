"""``python -m kryss.training``: trains the sign detector that ships, exports it and says how good it is."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from pathlib import Path

from kryss.vision.registry import resolve

log = logging.getLogger("kryss.training")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m kryss.training",
        description="Trains both stages of kryss-signs-lite0 (detector, recogniser), writes OUT/kryss-signs.safetensors and "
        "OUT/metrics.json. Everything but the number of steps that fit into the minutes follows from the data.",
    )
    parser.add_argument(
        "--data", type=Path, required=True, help="folder with gtsdb-train600 and traffic-lights-100 (COCO format)"
    )
    parser.add_argument(
        "--sprites", type=Path, help="folder package_signs of npm's mapillary_sprite_source (npm pack mapillary_sprite_source)"
    )
    parser.add_argument("--out", type=Path, required=True, help="weights, log.csv and metrics.json are written here")
    parser.add_argument("--minutes", type=float, default=60, help="for the detector; 0 takes OUT/ema.pt as it is (default 60)")
    parser.add_argument(
        "--steps", type=int, default=1600, help="of the recogniser; 0 takes OUT/recogniser.pt as it is (default 1600)"
    )
    parser.add_argument("--class-weight", type=float, default=1.0, help="weight of the cross-entropy between classes (default 1)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--agnostic", action="store_true", help="the detector tells only signs from lights; starts from the shipped one"
    )
    parser.add_argument("--resume", action="store_true", help="go on from OUT/ema.pt")
    parser.add_argument("--photos", type=int, default=100, help="held-out photos to judge by; 0: none (default all 100)")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    if (options.minutes or options.steps) and not (options.sprites and options.sprites.is_dir()):
        parser.error("--sprites must be the folder package_signs of the npm package mapillary_sprite_source")

    import torch

    from kryss.training import detector, recogniser
    from kryss.training.export import export
    from kryss.training.report import measure
    from kryss.training.scenes import Scenes
    from kryss.training.streets import lights, signs, split
    from kryss.vision.networks import _state
    from kryss.vision.recognise import PREFIX
    from kryss.vision.registry import weights_file

    entry = resolve("kryss-signs-lite0")
    train_signs, judge_signs = split(signs(options.data))
    train_lights, _ = split(lights(options.data))
    if options.minutes:
        scenes = Scenes(train_signs, train_lights, entry.classes, options.sprites, options.agnostic)
        start = _state(weights_file(entry)) if options.agnostic else None
        detector.train(
            scenes,
            entry,
            options.out,
            options.minutes,
            options.threads,
            options.class_weight,
            options.resume,
            start,
            2 if options.agnostic else 0,
        )
    if options.agnostic:
        return 0
    if options.steps:
        crops = recogniser.Crops([*train_signs, *train_lights], entry.classes, options.sprites)
        recogniser.train(crops, options.steps, options.out / "recogniser.pt", options.threads)
    first = torch.load(options.out / "ema.pt", weights_only=True)
    second = torch.load(options.out / "recogniser.pt", weights_only=True)
    path = options.out / "kryss-signs.safetensors"
    digest = export({**first, **{PREFIX + key: value for key, value in second.items()}}, path, entry.classes)
    log.info("%s: %d bytes, sha256 %s (for weights.yaml)", path, path.stat().st_size, digest)
    if options.photos:
        metrics = measure(entry, path, judge_signs[: options.photos])
        (options.out / "metrics.json").write_text(json.dumps(metrics, indent=1) + "\n", encoding="utf-8")
        log.info("held-out photos: %s", {key: value for key, value in metrics.items() if key != "classes"})
    return 0


if __name__ == "__main__":
    sys.exit(main())

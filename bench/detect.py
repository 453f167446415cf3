"""Photos a second from JPEG files to detections: the thesis's way, effdet's own loop, ours, and the bare forward pass.

    ./kryss bench detect [--photos DIR] [--model NAME] [--device cpu] [--json FILE] [--report FILE] [--depth [NAME] | --backends]

Of one model, on one machine, in one run, in turns; each contestant in a process of its own, so that its memory is its own:

(a) one at a time: a photo is read, decoded, resized to the network's input, run through the finder on torch (fp32, all cores)
    and suppressed by effdet's DetBenchPredict with its defaults: what the thesis did. No second stage.
(b) effdet's validation loop: its data set, its loader with as many workers as cores, its resizing, batches of 4, DetBenchPredict;
    on a CPU without its CUDA prefetcher, whose normalisation is done here. No second stage.
(c) ours: Detector.detect on the files, read anew each time: decoding, views, finder, second stage, merging, thresholds.
(d) the bare forward pass: (c)'s finder alone in (c)'s library, precision, batch and number of streams, on inputs that lie ready
    in memory; nothing is read, decoded, suppressed or read a second time.
(e) as (d), and the second stage's bare forward pass for as many crops as (c) had it read, in its batches: what our whole model
    (it is both networks) costs without the rest.

--depth: of a depth model instead (default: kryss-depth)
(f) DepthModel.measure on the files, read anew each time: reading, decoding, resizing, network, the median of one box.
(g) its bare forward pass: the network alone in (f)'s library, precision and number of streams, on inputs that lie ready.

All see the same pixels: the size of (c)'s input for the photo. Loading and the first photos, which compile, are not counted.
--backends: processor time of a forward pass of the finder by library and precision instead (int8 where nncf is installed,
calibrated on the photos).
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "include"))

from kryss.vision.detect import Detector, Prepared, detector_of, prepare  # noqa: E402
from kryss.vision.networks import effdet_config, effdet_model, load_network, read_state, threads  # noqa: E402
from kryss.vision.registry import Weights, model_key, resolve, weights_file  # noqa: E402

TOWN = ROOT / "include" / "kryss" / "demo" / "areas" / "town" / "photos"
WARM_UP = 4
EFFDET_BATCH = 4
CONTESTANTS = {
    "a": "(a) one photo at a time, torch, effdet's DetBenchPredict",
    "b": "(b) effdet's validation loop",
    "c": "(c) ours",
    "d": "(d) bare forward pass of our finder",
    "e": "(e) bare forward passes of our finder and our reader",
}
DEPTH_CONTESTANTS = {
    "f": "(f) our depth",
    "g": "(g) bare forward pass of its network",
}


def files(folder: Path) -> list[Path]:
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))
    if not found:
        raise SystemExit(f"no JPEG files in {folder}")
    return found


def bench_predict(entry: Weights, size: tuple[int, int], device: str) -> Any:
    """effdet's own way from pixels to boxes. ``size``: height, width."""
    import torch
    from effdet import DetBenchPredict

    model = effdet_model(effdet_config(entry.architecture, len(entry.classes), {**entry.options, "image_size": size}))
    model.load_state_dict(read_state(weights_file(entry)))
    torch.set_num_threads(os.cpu_count() or 1)
    return DetBenchPredict(model).eval().requires_grad_(False).to(device)


def one_at_a_time(entry: Weights, paths: list[Path], device: str) -> Callable[[list[Path]], int]:
    import torch
    from PIL import Image

    detector = detector_of(without_reader(entry), device)
    how = entry.preprocessing
    assert how is not None
    benches: dict[tuple[int, int], Any] = {}
    sizes = {path: input_size(detector, path) for path in paths}

    @torch.inference_mode()
    def turn(some: list[Path]) -> int:
        found = 0
        for path in some:
            height, width = sizes[path]
            if (height, width) not in benches:
                benches[height, width] = bench_predict(entry, (height, width), device)
            image = Image.open(path).convert("RGB")
            scale = min(height / image.height, width / image.width)
            image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BILINEAR)
            canvas = Image.new("RGB", (width, height), (128, 128, 128))
            canvas.paste(image)
            values = (torch.from_numpy(np.array(canvas)).permute(2, 0, 1).float() / how.scale - 0.5) / 0.5
            found += int((benches[height, width](values[None].to(device))[0][:, 4] > 0.3).sum())
        return found

    return turn


def validation_loop(entry: Weights, paths: list[Path], device: str) -> Callable[[list[Path]], int]:
    import torch
    from effdet.data import create_loader, create_parser
    from effdet.data.dataset import DetectionDatset
    from effdet.data.parsers import CocoParserCfg
    from effdet.data.transforms import transforms_coco_eval
    from PIL import Image

    detector = detector_of(without_reader(entry), device)
    sizes = {path: input_size(detector, path) for path in paths}
    height, width = (max(size[k] for size in sizes.values()) for k in (0, 1))
    bench = bench_predict(entry, (height, width), device)
    mean = std = torch.full((1, 3, 1, 1), 127.5, device=device)
    folder = Path(tempfile.mkdtemp(prefix="kryss-bench-"))

    @torch.inference_mode()
    def turn(some: list[Path]) -> int:
        images = []
        for number, path in enumerate(some):
            with Image.open(path) as image:
                images.append({"id": number, "file_name": str(path), "width": image.width, "height": image.height})
        labels = {"images": images, "annotations": [], "categories": [{"id": 1, "name": "sign"}]}
        (folder / "photos.json").write_text(json.dumps(labels))
        parser = create_parser("coco", cfg=CocoParserCfg(ann_filename=str(folder / "photos.json"), has_labels=False))
        loader = create_loader(
            DetectionDatset(Path("/"), parser=parser),
            (height, width),
            EFFDET_BATCH,
            use_prefetcher=False,
            num_workers=os.cpu_count() or 1,
            pin_mem=device != "cpu",
            transform_fn=transforms_coco_eval((height, width), use_prefetcher=True, fill_color="mean"),
        )
        found = 0
        for pixels, target in loader:
            values = pixels.to(device, non_blocking=True).float().sub_(mean).div_(std)
            info = {key: value.to(device) for key, value in target.items() if key in ("img_scale", "img_size")}
            found += int((bench(values, img_info=info)[:, :, 4] > 0.3).sum())
        return found

    return turn


def ours(entry: Weights, paths: list[Path], device: str) -> Callable[[list[Path]], int]:
    detector = detector_of(entry, device)

    def turn(some: list[Path]) -> int:
        outcomes = detector.detect((path.name, path.read_bytes()) for path in some)
        return sum(len(outcome) for _, outcome in outcomes if isinstance(outcome, list))

    return turn


def bare(entry: Weights, paths: list[Path], device: str, reads: bool = False) -> Callable[[list[Path]], int]:
    """Forward passes on ready inputs, as many at a time and in as large batches as ours."""
    network, second = load_network(entry, device, detector_of(entry, device).score_threshold)
    plans = detector_of(without_reader(entry), device).model.plans
    views = {path: prepare(plans, (path.name, path.read_bytes(), None)).views[0] for path in paths}
    ready: dict[tuple[Path, ...], list[Any]] = {}
    passes: dict[Path, list[int]] = {}
    from kryss.vision.recognise import INPUT_PX

    reader = second.read if second and reads else None
    if reader is not None:
        passes = reader_passes(entry, paths, device)
        black = {size: np.zeros((size, INPUT_PX, INPUT_PX, 3), np.uint8) for size in reader.batches}
        for crops in black.values():
            reader.run(crops)

    def group(some: list[Path]) -> list[tuple[Path, ...]]:
        by_shape: dict[Any, list[Path]] = {}
        for path in some:
            by_shape.setdefault(tuple(view.pixels.shape for view in views[path]), []).append(path)
        return [
            tuple(of_shape[k : k + network.batch])
            for of_shape in by_shape.values()
            for k in range(0, len(of_shape), network.batch)
        ]

    def one(several: tuple[Path, ...]) -> int:
        for values in ready[several]:
            network.forward(values)
        if reader is not None:
            for size in (size for path in several for size in passes[path]):
                reader.run(black[size])
        return len(several)

    def turn(some: list[Path]) -> int:
        with ThreadPoolExecutor(network.streams) as pool:
            done = sum(pool.map(one, group(some)))
        if device != "cpu":
            import torch

            torch.cuda.synchronize()
        return done

    for some in (paths[:WARM_UP], paths):
        for several in group(some):
            if several not in ready:
                ready[several] = [network.ready([views[p][k].pixels for p in several]) for k in range(len(views[several[0]]))]
    return turn


def our_depth(entry: Weights, paths: list[Path], device: str) -> Callable[[list[Path]], int]:
    from kryss.vision.depth import DepthModel, PhotoBoxes
    from kryss.vision.depth.families import family

    model = DepthModel(entry, *family(entry))

    def turn(some: list[Path]) -> int:
        asked = (PhotoBoxes(path.name, path.read_bytes, [(600.0, 400.0, 640.0, 440.0)]) for path in some)
        return sum(depth.metres is not None for _, depths in model.measure(asked) for depth in depths)

    return turn


def bare_depth(entry: Weights, paths: list[Path], device: str) -> Callable[[list[Path]], int]:
    from kryss.vision.depth.families import family, kryss_run
    from kryss.vision.depth.network import input_size
    from kryss.vision.photo import read_photo

    if entry.family != "kryss-depth":
        raise SystemExit(f"{model_key(entry)}: only of the family kryss-depth the network can be run alone")
    made, run = family(entry), kryss_run(entry)
    from PIL import Image

    def ready(path: Path) -> np.ndarray:
        pixels = read_photo(path.read_bytes(), None, made.needed_side).pixels
        size = input_size(pixels.shape[1], pixels.shape[0], int(entry.options["pixels"]))
        return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BOX))

    inputs = {path: ready(path) for path in paths}

    def turn(some: list[Path]) -> int:
        with ThreadPoolExecutor(made.streams) as pool:
            return len(list(pool.map(run, [inputs[path] for path in some])))

    return turn


def reader_passes(entry: Weights, paths: list[Path], device: str) -> dict[Path, list[int]]:
    """The batches in which our second stage's network reads each photo's crops."""
    from kryss.vision.recognise import Reader

    detector = detector_of(entry, device)
    plain = Reader._read
    calls: list[int] = []

    def counted(reader: Reader, pixels: np.ndarray, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        calls.extend(reader.parts(len(frames)))
        return plain(reader, pixels, frames)

    passes = {}
    with patch.object(Reader, "_read", counted):
        for path in paths:
            calls.clear()
            detector.look(path.name, path.read_bytes())
            passes[path] = list(calls)
    return passes


def without_reader(entry: Weights) -> Weights:
    return dataclasses.replace(entry, inference=dataclasses.replace(entry.inference, recogniser=False))


def input_size(detector: Detector, path: Path) -> tuple[int, int]:
    """Height and width of our first view of a photo."""
    prepared: Prepared = prepare(detector.model.plans, (path.name, path.read_bytes(), None))
    height, width = prepared.views[0][0].pixels.shape[:2]
    return height, width


MAKERS: dict[str, Callable[[Weights, list[Path], str], Callable[[list[Path]], int]]] = {
    "a": one_at_a_time,
    "b": validation_loop,
    "c": ours,
    "d": bare,
    "e": lambda entry, paths, device: bare(entry, paths, device, reads=True),
    "f": our_depth,
    "g": bare_depth,
}


def contest(key: str, name: str, device: str, folder: Path, photos: int) -> None:
    """In a process of its own: gets ready, then runs a turn for each line that comes in."""
    paths = files(folder)
    paths = (paths * -(-photos // len(paths)))[:photos] if photos else paths
    told_to = sys.stdout
    # Libraries print, too.
    sys.stdout = sys.stderr
    turn = MAKERS[key](resolve(name), paths, device)
    turn(paths[:WARM_UP])
    print("ready", file=told_to, flush=True)
    for _ in sys.stdin:
        began, busy = time.perf_counter(), cpu_s()
        found = turn(paths)
        seconds = time.perf_counter() - began
        peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)) / 1024
        told = {"seconds": seconds, "cpu_s": cpu_s() - busy, "photos": len(paths), "found": found, "peak_mb": peak}
        print(json.dumps(told), file=told_to, flush=True)


def cpu_s() -> float:
    """Processor time of this process and of its children that have ended."""
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def race(keys: list[str], options: argparse.Namespace) -> dict[str, dict[str, float]]:
    """All contestants get ready, then take turns, so that a slow minute of the machine hits all of them."""
    command = [sys.executable, str(Path(__file__)), "--photos", str(options.photos), "--model", options.model]
    command += ["--device", options.device, "--number", str(options.number)]
    titles = CONTESTANTS | DEPTH_CONTESTANTS
    running = {}
    for key in keys:
        process = subprocess.Popen(
            [*command, "--contest", key], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=sys.stderr, text=True
        )
        running[key] = process
    for key, process in running.items():
        assert process.stdout is not None
        if process.stdout.readline().strip() != "ready":
            raise SystemExit(f"{titles[key]} did not get ready")
    turns: dict[str, list[dict[str, float]]] = {key: [] for key in keys}
    for number in range(options.turns):
        for key, process in running.items():
            assert process.stdin is not None and process.stdout is not None
            process.stdin.write("go\n")
            process.stdin.flush()
            turns[key].append(json.loads(process.stdout.readline()))
            rate = turns[key][-1]["photos"] / turns[key][-1]["seconds"]
            print(f"turn {number + 1} {titles[key]}: {rate:.2f} photos/s", file=sys.stderr, flush=True)
    for process in running.values():
        process.communicate()
    return {key: {name: statistics.median(one[name] for one in told) for name in told[0]} for key, told in turns.items()}


def report(results: dict[str, dict[str, float]], options: argparse.Namespace) -> str:
    entry = resolve(options.model)
    rates = {key: one["photos"] / one["seconds"] for key, one in results.items()}
    cpu = next((line.split(":")[1].strip() for line in cpu_info() if line.startswith("model name")), platform.processor())
    titles, rivals = (DEPTH_CONTESTANTS, "g") if options.depth else (CONTESTANTS, "ade")
    way = "" if options.depth else f", {entry.inference.backend} {entry.inference.precision}"
    lines = [
        f"{datetime.now(UTC).date().isoformat()}: {device_name(options.device)}{os.cpu_count()} cores ({cpu}).",
        f"{model_key(entry)}{way}, {threads()} streams; "
        f"{int(next(iter(results.values()))['photos'])} photos a turn, median of {options.turns} turns.",
        "",
        "| | photos/s | s a photo | processor s a photo |"
        + "".join(f" to ({other}) |" for other in rivals)
        + " peak memory MB |",
        "|---|---:|---:|---:|" + "---:|" * (len(rivals) + 1),
    ]
    for key, one in results.items():
        ratios = [f"{rates[key] / rates[other]:.2f}" if other in rates else "" for other in rivals]
        lines.append(
            f"| {titles[key]} | {rates[key]:.2f} | {1 / rates[key]:.3f} | {one['cpu_s'] / one['photos']:.3f} | "
            + " | ".join(ratios)
            + f" | {one['peak_mb']:,.0f} |"
        )
    return "\n".join(lines) + "\n"


def cpu_info() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.is_file() else []


def device_name(device: str) -> str:
    if device == "cpu":
        return ""
    import torch

    return f"{torch.cuda.get_device_name(device)}, "


def backends(options: argparse.Namespace) -> str:
    """Processor seconds of one forward pass of the finder, one thread, in turns."""
    from kryss.vision.compiled import compiled, graph, openvino

    ov = openvino()
    import onnxruntime
    import torch

    from kryss.vision.networks import free_size

    entry = resolve(options.model)
    torch.set_num_threads(1)
    paths = files(options.photos)[:24]
    plans = detector_of(without_reader(entry), "cpu").model.plans
    pictures = [prepare(plans, (path.name, path.read_bytes(), None)).views[0][0].pixels[None] for path in paths]
    pictures = [picture for picture in pictures if picture.shape == pictures[0].shape]
    picture = pictures[0]
    module = free_size(entry, read_state(weights_file(entry)))
    free = graph(lambda: module, picture.shape, (1, -1, -1, 3), f"bench {entry.sha256}")
    runs: dict[str, Callable[[], Any]] = {}
    for precision in ("fp32", "bf16"):
        runs[f"OpenVINO {precision}"] = partial(compiled(free, precision, 1), picture)
    if importlib.util.find_spec("nncf"):
        import nncf

        sized = free.clone()
        sized.reshape(list(picture.shape))
        small = nncf.quantize(sized, nncf.Dataset(pictures), preset=nncf.QuantizationPreset.MIXED, subset_size=len(pictures))
        runs["OpenVINO int8 (nncf)"] = partial(compiled(small, "bf16", 1), picture)
    with tempfile.TemporaryDirectory() as folder:
        onnx = Path(folder) / "finder.onnx"
        torch.onnx.export(module, (torch.from_numpy(picture),), onnx, dynamo=False)
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(str(onnx), settings, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    runs["ONNX Runtime fp32"] = lambda: session.run(None, {name: picture})
    last = module.to(memory_format=torch.channels_last)

    def on_torch(network: Any, half: bool) -> Callable[[], Any]:
        def go() -> Any:
            with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=half):
                return [values.float().numpy() for values in network(torch.from_numpy(picture))]

        return go

    runs["torch fp32"], runs["torch bf16 (autocast)"] = on_torch(last, False), on_torch(last, True)
    runs["torch.compile bf16"] = on_torch(torch.compile(last), True)
    reference = [np.asarray(values) for values in runs["OpenVINO fp32"]()]
    sure = 1 / (1 + np.exp(-reference[0]))
    told: dict[str, list[float]] = {key: [] for key in runs}
    moved = {}
    for key, go in runs.items():
        moved[key] = float(np.abs(1 / (1 + np.exp(-np.asarray(go()[0]))) - sure).max())
    for _ in range(options.turns):
        for key, go in runs.items():
            began = time.process_time()
            go()
            told[key].append(time.process_time() - began)
    lines = [
        f"One forward pass of {model_key(entry)}'s finder on {picture.shape[2]} x {picture.shape[1]} pixels, one thread "
        f"(OpenVINO {ov.__version__.split('-')[0]}, ONNX Runtime {onnxruntime.__version__}, torch {torch.__version__}).",
        "",
        "| | processor s | scores move by at most |",
        "|---|---:|---:|",
        *(f"| {key} | {statistics.median(values):.3f} | {moved[key]:.3f} |" for key, values in told.items()),
    ]
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(prog="kryss bench detect", description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("--photos", type=Path, default=TOWN, metavar="DIR", help="JPEG files (default: those of the demo town)")
    add("--number", type=int, default=0, metavar="N", help="photos a turn; more than there are: some again (default: all, once)")
    add("--model", default="kryss-street-lite0", help="of family effdet (default: the one that ships)")
    add("--device", default="cpu", help="as torch names it: cpu, cuda (default cpu)")
    add("--turns", type=int, default=3, metavar="N", help="of each contestant, one after the other (default 3)")
    add("--only", nargs="+", choices=list(MAKERS), metavar="KEY", help=", ".join(MAKERS))
    add("--depth", nargs="?", const="kryss-depth", metavar="NAME", help="of a depth model instead (default: kryss-depth)")
    add("--backends", action="store_true", help="compare libraries and precisions of the finder on a CPU instead")
    add("--json", type=Path, metavar="FILE", help="write the figures")
    add("--report", type=Path, metavar="FILE", help="write the table as Markdown")
    add("--contest", choices=list(MAKERS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.contest:
        contest(options.contest, options.model, options.device, options.photos, options.number)
        return 0
    if options.backends:
        text = backends(options)
    else:
        if options.depth:
            options.model = options.depth
        rivals = DEPTH_CONTESTANTS if options.depth else CONTESTANTS
        results = race([key for key in rivals if not options.only or key in options.only], options)
        text = report(results, options)
        if options.json:
            options.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(text)
    if options.report:
        options.report.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

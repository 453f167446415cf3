"""Networks on a CPU through OpenVINO: converted from torch once, kept on disk, compiled for a size of input.

The graph is converted with free sizes and kept in the weights folder under a name that follows from the weights and OpenVINO's
version, so that a task pays for the conversion once on a machine and for the compilation (half a second) once a process.
Every stream has one thread: streams scale better than threads that share a picture, and sums are added in one order, so the bits
of a result depend on neither the number of streams nor what else is going on. bf16 is used where the processor has it, else
OpenVINO takes fp32.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from kryss.vision.registry import weights_dir

log = logging.getLogger(__name__)

Compiled = Callable[[np.ndarray], list[np.ndarray]]
"""One input to all outputs; may be called from as many threads as there are streams."""
_FIRST = threading.Lock()
SHAPES = 3
"""Sizes of input that stay compiled: each holds buffers for each stream. Photos of a sequence have one size."""


def graph(make: Callable[[], Any], example: Sequence[int], free: Sequence[int], identity: str) -> Any:
    """The OpenVINO model of a torch module that takes uint8.

    ``make``: the module, asked for only if it is not kept; ``example``: a shape to trace it with; ``free``: the shape with -1
    where it may vary; ``identity``: what the result depends on, e.g. the hash of the weights and the options.
    """
    ov = openvino()
    key = hashlib.sha256(f"{identity} {tuple(free)} {ov.__version__} 3".encode()).hexdigest()[:20]
    folder = weights_dir() / "openvino" / key
    core = _core()
    if not (folder / "model.xml").is_file():
        log.info("converting a network to OpenVINO, once: %s", folder)
        made = _converted(make(), example, free)
        try:
            _keep(made, folder)
        except (OSError, RuntimeError) as error:
            # A read-only or full disk costs time, not the detections.
            log.warning("a converted network cannot be kept in %s, each process converts it anew: %s", folder, error)
            return made
    return core.read_model(folder / "model.xml")


def _keep(model: Any, folder: Path) -> None:
    """Writes a model into a folder that is there whole or not at all."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        # For whoever shares the weights folder; mkdtemp's folders are for their owner alone.
        part.chmod(0o755)
        openvino().save_model(model, part / "model.xml", compress_to_fp16=False)
        try:
            part.rename(folder)
        except OSError:
            # Another process was as fast: what it kept is the same.
            if not (folder / "model.xml").is_file():
                raise
    finally:
        shutil.rmtree(part, ignore_errors=True)


def openvino() -> Any:
    """The library, without its telemetry: importing it reports that to a server, and so does every conversion. Where the package
    that does so is absent it goes without.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino as library

    with _FIRST:
        # The first array that is handed over sets NumPy up inside of OpenVINO: two threads that do so at once wait for each other
        # for ever (pybind11: one holds the interpreter lock, the other the guard of a static).
        library.Tensor(np.zeros(1, np.uint8), shared_memory=True)
    return library


def _converted(module: Any, example: Sequence[int], free: Sequence[int]) -> Any:
    """Through OpenVINO's frontend itself, without the searching and reporting of ``openvino.convert_model``."""
    ov = openvino()
    import torch
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    with torch.inference_mode(), warnings.catch_warnings():
        # What is traced as a constant is meant to be one: ``free`` says what may vary.
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
        traced = TorchScriptPythonDecoder(module, example_input=torch.zeros(tuple(example), dtype=torch.uint8))
    frontend = FrontEndManager().load_by_framework("pytorch")
    made = frontend.convert(frontend.load(traced))
    [given] = made.inputs
    given.get_node().set_partial_shape(ov.PartialShape(list(free)))
    given.get_node().set_element_type(ov.Type.u8)
    made.validate_nodes_and_infer_types()
    return made


@lru_cache(maxsize=1)
def _core() -> Any:
    return openvino().Core()


def compiled(model: Any, precision: str, streams: int) -> Compiled:
    """A model of ``graph`` on this CPU. ``precision``: fp32 or bf16; ``streams``: calls that may run at a time."""
    hint = {"fp32": "f32", "bf16": "bf16"}.get(precision)
    if hint is None:
        raise ValueError(f"OpenVINO: no precision {precision!r} here, only fp32 and bf16")
    options = {
        "INFERENCE_PRECISION_HINT": hint,
        "NUM_STREAMS": streams,
        "INFERENCE_NUM_THREADS": streams,
        # Whoever shares the machine shares its cores.
        "ENABLE_CPU_PINNING": False,
    }
    lock = threading.Lock()

    @lru_cache(maxsize=SHAPES)
    def sized(shape: tuple[int, ...]) -> tuple[Any, list[Any]]:
        """The network for a size of input, and its requests that nobody uses at the moment: they go with it."""
        sized_model = model.clone()
        sized_model.reshape(list(shape))
        return _core().compile_model(sized_model, "CPU", options), []

    def run(values: np.ndarray) -> list[np.ndarray]:
        with lock:
            network, idle = sized(values.shape)
            request = idle.pop() if idle else network.create_infer_request()
        request.infer([values], share_inputs=True)
        outputs = [np.array(request.get_output_tensor(k).data) for k in range(len(network.outputs))]
        with lock:
            idle.append(request)
        return outputs

    return run

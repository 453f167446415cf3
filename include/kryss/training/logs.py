"""What a training tells while it runs: a table, TensorBoard, and pictures of what it finds.

After a resume the table and TensorBoard go on where the checkpoint was taken: later rows of the killed run are dropped.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import cv2
import numpy as np

from kryss.training.validation import Found, Judged

COLUMNS = ("step", "stage", "minutes", "rate", "loss", "focal", "box", "ciou", "cross_entropy", "seconds_a_step")
CELL_PX = 640
TRUTH, SEEN = (60, 200, 60), (235, 60, 40)
DRAWN_FROM = 0.2


class Journal:
    """``log.csv`` and ``validation.csv`` in a folder, and the same in TensorBoard's files beside them."""

    def __init__(self, folder: Path, step: int, figures: Sequence[str]) -> None:
        """``step``: where the training goes on; 0: anew. ``figures``: the names of what a validation says."""
        from torch.utils.tensorboard import SummaryWriter

        self._losses = Table(folder / "log.csv", COLUMNS, step)
        self._figures = Table(folder / "validation.csv", ("step", "stage", *figures), step)
        self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1 if step else None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._losses.close()
        self._figures.close()
        self._board.close()

    def step(self, step: int, stage: str, values: Mapping[str, float]) -> None:
        self._losses.add({"step": step, "stage": stage, **values})
        for key, value in values.items():
            self._board.add_scalar(f"training/{key}", value, step)

    def validation(self, step: int, stage: str, figures: Mapping[str, float]) -> None:
        """A run that was killed between a validation and its checkpoint judges again: the row is there already."""
        if step in self._figures.kept:
            return
        self._figures.add({"step": step, "stage": stage, **figures})
        for key, value in figures.items():
            self._board.add_scalar(f"validation/{key}", value, step)

    def picture(self, step: int, picture: np.ndarray) -> None:
        self._board.add_image("predictions", picture, step, dataformats="HWC")


class Table:
    """A CSV file that is whole after every row."""

    def __init__(self, path: Path, columns: Sequence[str], step: int) -> None:
        rows: list[dict[str, str]] = []
        if step and path.is_file():
            with path.open(newline="", encoding="utf-8") as file:
                # A kill may have cut the last row off.
                rows = [row for row in csv.DictReader(file) if (row.get("step") or "").isdigit() and None not in row.values()]
        rows = [row for row in rows if int(row["step"]) <= step]
        self.kept = {int(row["step"]) for row in rows}
        """The steps of the rows that were there before."""
        self._file = path.open("w", newline="", encoding="utf-8")
        self._writer = csv.DictWriter(self._file, columns, restval="", extrasaction="ignore")
        self._writer.writeheader()
        self._writer.writerows(rows)
        self._file.flush()

    def add(self, row: Mapping[str, object]) -> None:
        self._writer.writerow({key: f"{value:.6g}" if isinstance(value, float) else value for key, value in row.items()})
        self._file.flush()

    def close(self) -> None:
        self._file.close()


def predictions(photos: Sequence[Judged], found: Sequence[Found], names: Sequence[str]) -> np.ndarray:
    """(h, w, 3) uint8: the photos side by side, two in a row; truth green, what was found red with its score."""
    cells = [_cell(judged, seen, names) for judged, seen in zip(photos, found, strict=True)]
    if len(cells) % 2:
        cells.append(np.zeros((CELL_PX // 2, CELL_PX, 3), np.uint8))
    rows = []
    for left, right in zip(cells[::2], cells[1::2], strict=True):
        height = max(len(left), len(right))
        rows.append(np.hstack([np.pad(cell, ((0, height - len(cell)), (0, 0), (0, 0))) for cell in (left, right)]))
    return np.vstack(rows)


def _cell(judged: Judged, seen: Found, names: Sequence[str]) -> np.ndarray:
    pixels = judged.photo.pixels()
    scale = CELL_PX / pixels.shape[1]
    cell = np.ascontiguousarray(cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)[:, :CELL_PX])
    cell = np.pad(cell, ((0, 0), (0, CELL_PX - cell.shape[1]), (0, 0)))
    for left, top, right, bottom, _ in judged.photo.boxes:
        cv2.rectangle(cell, _at(left, top, scale), _at(right, bottom, scale), TRUTH, 2)
    for (left, top, right, bottom), score, label in zip(seen.boxes, seen.scores, seen.labels, strict=True):
        if score >= DRAWN_FROM:
            cv2.rectangle(cell, _at(left, top, scale), _at(right, bottom, scale), SEEN, 1)
            text = f"{names[label].split('--')[-2] if '--' in names[label] else names[label]} {score:.2f}"
            cv2.putText(cell, text, _at(left, top - 3, scale), cv2.FONT_HERSHEY_SIMPLEX, 0.35, SEEN, 1, cv2.LINE_AA)
    return cell


def _at(x: float, y: float, scale: float) -> tuple[int, int]:
    return round(x * scale), round(y * scale)

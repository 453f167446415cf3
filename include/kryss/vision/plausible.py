"""Where and how large signs and lights are in photos of streets, learned from labelled photos: what lies far outside is doubted.

For each kind (sign, light) a Gaussian over three properties of a box and how they go together: the height of its centre in the
photo (0 top, 1 bottom), the logarithm of its height as a part of the photo's, the logarithm of its width by its height. A find
whose squared Mahalanobis distance is beyond the limit of its kind (that of 99.5 % of the labelled ones, with a margin) is not
believed, unless its score is at least ``sure``: the filter never hides a confident box.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kryss.model import Box
from kryss.vision.boxes import Candidates
from kryss.vision.taxonomy import is_light

WITHIN, MARGIN = 0.995, 1.5
"""The limit is so many times the squared distance within which this part of the labelled boxes lies."""
FEWEST = 20
"""Labelled boxes of a kind from which something can be learned."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of thing."""

    mean: tuple[float, ...]
    """(3,): height in the photo, log relative height, log aspect."""
    precision: tuple[tuple[float, ...], ...]
    """(3, 3): inverse of their covariance."""
    limit: float
    """Squared Mahalanobis distance."""
    boxes: int
    """It was learned from."""


@dataclass(frozen=True, slots=True)
class Plausibility:
    """What ``learn`` has seen. Kinds that it has not are never doubted."""

    kinds: dict[str, Kind]
    sure: float
    """Score from which a find is believed wherever it is."""

    def keep(self, found: Candidates, names: Sequence[str], size: tuple[float, float]) -> np.ndarray:
        """(n,) bool: which finds in a photo of a width and height are believed."""
        believed = found.scores >= self.sure
        values = properties(found.boxes, size)
        kinds = np.array([kind_of(names[index]) for index in found.classes], dtype=object)
        for name in set(kinds):
            if name not in self.kinds:
                believed |= kinds == name
                continue
            kind = self.kinds[name]
            away = values - np.array(kind.mean)
            distance = np.einsum("ni,ij,nj->n", away, np.array(kind.precision), away)
            believed |= (kinds == name) & (distance <= kind.limit)
        return believed


def kind_of(class_name: str) -> str:
    return "light" if is_light(class_name) else "sign"


def properties(boxes: np.ndarray, size: tuple[float, float]) -> np.ndarray:
    """(n, 3) of boxes (n, 4) in a photo of a width and height."""
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    width, height = np.maximum(boxes[:, 2] - boxes[:, 0], 1e-3), np.maximum(boxes[:, 3] - boxes[:, 1], 1e-3)
    return np.stack([(boxes[:, 1] + boxes[:, 3]) / 2 / size[1], np.log(height / size[1]), np.log(width / height)], 1)


def learn(labelled: Iterable[tuple[str, Box, tuple[float, float]]], sure: float) -> Plausibility:
    """From labelled boxes: class, ltrb box, width and height of the photo."""
    seen: dict[str, list[np.ndarray]] = {}
    for name, box, size in labelled:
        seen.setdefault(kind_of(name), []).append(properties(np.array([box]), size)[0])
    kinds = {}
    for name, rows in sorted(seen.items()):
        if len(rows) < FEWEST:
            raise ValueError(f"{len(rows)} labelled boxes of kind {name}: at least {FEWEST} tell something about where they are")
        values = np.array(rows)
        mean = values.mean(0)
        # A little spread of its own, should all boxes be alike.
        precision = np.linalg.inv(np.cov(values.T) + 1e-4 * np.eye(3))
        away = values - mean
        limit = MARGIN * float(np.quantile(np.einsum("ni,ij,nj->n", away, precision, away), WITHIN))
        kinds[name] = Kind(
            tuple(np.round(mean, 5).tolist()),
            tuple(tuple(row) for row in np.round(precision, 4).tolist()),
            round(limit, 3),
            len(rows),
        )
    return Plausibility(kinds, sure)


def save(known: Plausibility, path: Path) -> None:
    document = {
        "sure": known.sure,
        "kinds": {
            name: {"mean": kind.mean, "precision": kind.precision, "limit": kind.limit, "boxes": kind.boxes}
            for name, kind in known.kinds.items()
        },
    }
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def load(path: Path) -> Plausibility:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        kinds = {
            name: Kind(tuple(row["mean"]), tuple(tuple(r) for r in row["precision"]), float(row["limit"]), int(row["boxes"]))
            for name, row in document["kinds"].items()
        }
        return Plausibility(kinds, float(document["sure"]))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} does not say where objects are in photos (kryss.vision.plausible.save): {error!r}") from error

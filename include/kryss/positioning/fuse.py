"""Sightings to objects: which sightings show the same sign, and where it then stands.

Association is done where the errors are, in bearing and log range: a sighting may belong to an object if it is seen where
the object should be seen from that camera (chi-square gate). Near, certain sightings found the objects, far ones join
them; then objects are re-estimated and sightings re-assigned until nothing moves. Two sightings of one photo never make
one object. The result does not depend on the order of the input.

The position is a robust generalised least squares fit (Gauss-Newton, Huber weights) of bearings and log ranges. What
sightings have in common is in their covariance: the object's size and the focal length scale all its ranges together, and
half the variance of a pose is its whole sequence's. Photos from one drive therefore do not pretend to average it away,
while ranges that shrink as the camera comes closer do correct the size.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.spatial import cKDTree

from kryss.model import Covariance, FusedObject, Sighting
from kryss.positioning.frame import Frame, frame_for, wrap_deg
from kryss.positioning.sizes import object_size, shape_of

Array = NDArray[np.float64]

GATE_CHI2 = 11.8
"""99.7 % of true sightings pass it (two degrees of freedom)."""
REACH_M = 50.0
"""No sighting joins an object farther than this from where it puts it: the honest error of one at the end of the range."""
MERGE_CHI2 = 6.0
MERGE_M = 8.0
MERGE_LIGHTS_M = 4.5
"""Heads of one junction stand closer together than two signs of one class ever do."""
SAME_FACE_DEG = 100.0
"""A sign is read from the front only: views that differ by more show another plate, perhaps on the same pole."""
SHARED_POSE_VARIANCE = 0.5
HUBER_SIGMA = 2.0
FLOOR_SIGMA_M = {"sfm": 0.4, "gps": 1.5}
"""One axis that no number of photos averages away: the datum of a reconstruction, the bias of GPS in one street."""
SAME_BOX_DEG, SAME_BOX_RANGE = 0.3, 0.1
LEAST_SIGMA = 0.01
"""Relative: no range is better than a hundredth."""
MOST_IN_A_FIT = 60
ROUNDS = 4
TWIN_M = 4.0
"""Two classes of one family this close may be one sign that was misread."""
MINORITY = 0.5

_RADIUS_95 = np.array([1.9600, 1.9625, 1.9704, 1.9842, 2.0051, 2.0359, 2.0813, 2.1460, 2.2303, 2.3318, 2.4477])
"""Radius in units of the larger standard deviation that holds 95 %, by ratio of the smaller to the larger (0, 0.1, ... 1)."""


def fuse(sightings: Iterable[Sighting]) -> list[FusedObject]:
    """One object per cluster of sightings of one class, sorted by class and earliest sighting."""
    rows = sorted(sightings, key=sighting_key)
    if not rows:
        return []
    frame = frame_for([row.lon for row in rows], [row.lat for row in rows])
    by_class: dict[str, list[int]] = defaultdict(list)
    for index, row in enumerate(rows):
        by_class[row.class_name].append(index)
    data = _Data.of(rows, frame)
    clusters = [cluster for name in sorted(by_class) for cluster in _cluster(data, np.array(by_class[name]))]
    clusters = _settle_classes(data, clusters)
    return sorted(
        (_object(data, cluster) for cluster in clusters), key=lambda one: (one.class_name, sighting_key(one.sightings[0]))
    )


def sighting_key(sighting: Sighting) -> tuple[object, ...]:
    """The order in which sightings are always taken."""
    return (sighting.captured_at, sighting.image_id, sighting.ordinal, sighting.model_key)


def error_radius_m(covariance: Covariance) -> float:
    """Radius of the circle that holds 95 % of a two-dimensional normal distribution."""
    east, cross, north = covariance
    small, large = np.linalg.eigvalsh([[east, cross], [cross, north]])
    ratio = np.sqrt(max(small, 0.0) / large) if large > 0 else 0.0
    return float(np.sqrt(large) * np.interp(ratio, np.linspace(0, 1, len(_RADIUS_95)), _RADIUS_95))


@dataclass(frozen=True)
class _Data:
    """The sightings as arrays, metres and radians in the frame. Row i is ``rows[i]``."""

    rows: Sequence[Sighting]
    frame: Frame
    camera: Array
    """(n, 2) metres"""
    point: Array
    """(n, 2) metres: where the sighting alone puts the object"""
    bearing: Array
    """(n,) radians from grid north"""
    range: Array
    """(n,) metres"""
    sigma_range: Array
    """(n,) relative, own part"""
    sigma_shared: Array
    """(n,) relative, shared by all sightings of an object; never zero"""
    sigma_bearing: Array
    sigma_camera: Array
    covariance: Array
    """(n, 2, 2) of ``point``"""
    estimates: dict[tuple[int, ...], tuple[Array, Array]] = field(default_factory=dict)
    """What :func:`_estimate` found by members: most clusters do not change from round to round."""

    @staticmethod
    def of(rows: Sequence[Sighting], frame: Frame) -> _Data:
        lon, lat = [row.camera_lon for row in rows], [row.camera_lat for row in rows]
        range_m = np.array([row.range_m for row in rows])
        total = np.array([row.range_sigma_m for row in rows]) / range_m
        shared = np.clip([_shared_sigma(row) for row in rows], LEAST_SIGMA, np.maximum(total, LEAST_SIGMA))
        return _Data(
            rows=rows,
            frame=frame,
            camera=frame.to_xy(lon, lat),
            point=frame.to_xy([row.lon for row in rows], [row.lat for row in rows]),
            bearing=np.radians(np.array([row.bearing_deg for row in rows]) - frame.convergence_deg(lon, lat)),
            range=range_m,
            sigma_range=np.sqrt(np.maximum(total**2 - shared**2, LEAST_SIGMA**2)),
            sigma_shared=shared,
            sigma_bearing=np.radians([row.bearing_sigma_deg for row in rows]),
            sigma_camera=np.array([row.camera_sigma_m for row in rows]),
            covariance=np.array([[[e, c], [c, n]] for e, c, n in (row.covariance for row in rows)]),
        )


def _shared_sigma(row: Sighting) -> float:
    """Relative; where the sighting does not say it, the spread of its class's sizes."""
    if row.range_shared_sigma_m > 0 or not row.method.startswith("known-size"):
        return row.range_shared_sigma_m / row.range_m
    size = object_size(row.class_name)
    return size.sigma_fraction if size else 0.0


@dataclass
class _Cluster:
    """Sightings of one object. Its state is east, north and log scale: how much too far all its ranges are (its size)."""

    members: list[int]
    state: Array
    """(3,)"""
    state_covariance: Array
    """(3, 3)"""
    images: set[str]
    class_name: str
    view: Array
    """(2,) sum of the unit vectors from the cameras"""

    @property
    def mean(self) -> Array:
        return self.state[:2]

    @property
    def covariance(self) -> Array:
        return self.state_covariance[:2, :2]

    @property
    def view_deg(self) -> float:
        """Mean bearing of the looks at it."""
        return float(np.degrees(np.arctan2(self.view[0], self.view[1])))


def _new_cluster(data: _Data, members: Sequence[int]) -> _Cluster:
    ordered = np.array(sorted(members))
    key = tuple(ordered.tolist())
    if key not in data.estimates:
        data.estimates[key] = _estimate(data, ordered)
    state, covariance = data.estimates[key]
    rows = [data.rows[i] for i in ordered]
    view = np.array([np.sin(data.bearing[ordered]).sum(), np.cos(data.bearing[ordered]).sum()])
    return _Cluster([int(i) for i in ordered], state, covariance, {row.image_id for row in rows}, rows[0].class_name, view)


def _cluster(data: _Data, indices: NDArray[np.intp]) -> list[_Cluster]:
    """Clusters of the sightings of one class."""
    clusters = _found(data, indices)
    seen = {_membership(clusters)}
    for _ in range(ROUNDS):
        clusters = _merge([_new_cluster(data, cluster.members) for cluster in clusters], data)
        clusters = _reassign(data, indices, clusters)
        membership = _membership(clusters)
        if membership in seen:
            break
        seen.add(membership)
    return _merge([_new_cluster(data, cluster.members) for cluster in clusters], data)


def _membership(clusters: Iterable[_Cluster]) -> tuple[tuple[int, ...], ...]:
    return tuple(sorted(tuple(cluster.members) for cluster in clusters))


def _found(data: _Data, indices: NDArray[np.intp]) -> list[_Cluster]:
    """First clusters, founded by the most certain sightings; each next one joins the likeliest or founds its own."""
    certainty = np.trace(data.covariance[indices], axis1=1, axis2=2)
    clusters: list[_Cluster] = []
    cells: dict[tuple[int, int], list[int]] = defaultdict(list)
    for index in indices[np.lexsort((indices, certainty))]:
        cell = tuple(np.floor(data.point[index] / REACH_M).astype(int))
        near = [k for dx, dy in product((-1, 0, 1), repeat=2) for k in cells.get((cell[0] + dx, cell[1] + dy), ())]
        costs = [(_cost(data, int(index), clusters[k]), k) for k in near]
        best = min((one for one in costs if one[0] is not None), default=None, key=lambda one: (one[0], one[1]))
        if best is None:
            cells[cell[0], cell[1]].append(len(clusters))
            clusters.append(_new_cluster(data, [int(index)]))
        else:
            _join(data, clusters[best[1]], int(index))
    return clusters


def _join(data: _Data, cluster: _Cluster, index: int) -> None:
    """One Kalman step: quick, and blind to what sightings share except the size; the fit that follows is not."""
    residual, jacobian, innovation = _innovation(data, index, cluster)
    gain = np.linalg.solve(innovation, jacobian @ cluster.state_covariance).T
    cluster.state = cluster.state + gain @ residual
    kept = cluster.state_covariance - gain @ innovation @ gain.T
    cluster.state_covariance = (kept + kept.T) / 2
    cluster.members.append(index)
    cluster.images.add(data.rows[index].image_id)
    cluster.view = cluster.view + np.array([np.sin(data.bearing[index]), np.cos(data.bearing[index])])


def _cost(data: _Data, index: int, cluster: _Cluster, exclusive: bool = True) -> float | None:
    """-2 log likelihood (up to a constant) that the sighting shows the cluster's object; None if it cannot."""
    (x, y, scale), (px, py) = cluster.state.tolist(), data.point[index].tolist()
    if (x - px) ** 2 + (y - py) ** 2 > REACH_M**2:
        return None
    row = data.rows[index]
    if exclusive and row.image_id in cluster.images and not _is_same_box(data, index, cluster.members):
        return None
    bearing = float(data.bearing[index])
    if not row.class_name.startswith("object--"):
        turned = bearing - math.atan2(*cluster.view.tolist())
        if math.cos(turned) < math.cos(math.radians(SAME_FACE_DEG)):
            return None
    # The numbers of _innovation, written out: this is what nearly all the time of a large fuse is spent on.
    cx, cy = data.camera[index].tolist()
    (xx, xy, xs), (_, yy, ys), (_, _, ss) = cluster.state_covariance.tolist()
    camera = float(data.sigma_camera[index]) ** 2
    dx, dy = x - cx, y - cy
    distance = max(math.hypot(dx, dy), 1.0)
    ax, ay = dx / distance**2, dy / distance**2
    range_off = math.log(row.range_m / distance) - scale
    bearing_off = math.remainder(bearing - math.atan2(dx, dy), math.tau)
    xx, yy = xx + camera, yy + camera
    along = ax * (xx * ax + 2 * xy * ay + 2 * xs) + yy * ay * ay + 2 * ys * ay + ss + float(data.sigma_range[index]) ** 2
    across = xx * ay * ay - 2 * xy * ax * ay + yy * ax * ax + float(data.sigma_bearing[index]) ** 2
    both = (xx - yy) * ax * ay + xy * (ay * ay - ax * ax) + xs * ay - ys * ax
    determinant = along * across - both * both
    chi2 = (across * range_off**2 - 2 * both * range_off * bearing_off + along * bearing_off**2) / determinant
    return chi2 + math.log(determinant) if chi2 <= GATE_CHI2 else None


def _innovation(data: _Data, index: int, cluster: _Cluster) -> tuple[Array, Array, Array]:
    """Residual ``(2,)`` of a sighting against a cluster, its derivative ``(2, 3)`` by the state, its covariance ``(2, 2)``."""
    residual, jacobian = _residuals(data, np.array([index]), cluster.state)
    camera = jacobian[0, :, :2] * data.sigma_camera[index]
    noise = np.diag([data.sigma_range[index] ** 2, data.sigma_bearing[index] ** 2]) + camera @ camera.T
    return residual[0], jacobian[0], jacobian[0] @ cluster.state_covariance @ jacobian[0].T + noise


def _is_same_box(data: _Data, index: int, members: Iterable[int]) -> bool:
    """The detector boxed one thing twice: every other of these sightings in this photo has its box in the same place."""
    for other in members:
        if data.rows[other].image_id == data.rows[index].image_id and other != index:
            turned = abs(float(wrap_deg(np.degrees(data.bearing[other] - data.bearing[index]))))
            if turned > SAME_BOX_DEG or abs(np.log(data.range[other] / data.range[index])) > SAME_BOX_RANGE:
                return False
    return True


def _residuals(data: _Data, indices: NDArray[np.intp], state: Array) -> tuple[Array, Array]:
    """``(n, 2)`` log range and bearing residuals, measured minus predicted, and ``(n, 2, 3)`` derivative by the state."""
    offset = state[:2] - data.camera[indices]
    distance = np.maximum(np.hypot(offset[:, 0], offset[:, 1]), 1.0)
    turned = data.bearing[indices] - np.arctan2(offset[:, 0], offset[:, 1])
    residual = np.column_stack([np.log(data.range[indices] / distance) - state[2], np.arctan2(np.sin(turned), np.cos(turned))])
    jacobian = np.zeros((len(indices), 2, 3))
    jacobian[:, 0, :2] = offset / distance[:, None] ** 2
    jacobian[:, 0, 2] = 1.0
    jacobian[:, 1, :2] = np.column_stack([offset[:, 1], -offset[:, 0]]) / distance[:, None] ** 2
    return residual, jacobian


def _estimate(data: _Data, members: NDArray[np.intp]) -> tuple[Array, Array]:
    """State ``(3,)`` of one object and its covariance ``(3, 3)`` from its sightings."""
    if len(members) > MOST_IN_A_FIT:
        certainty = np.trace(data.covariance[members], axis1=1, axis2=2)
        members = np.sort(members[np.lexsort((members, certainty))[:MOST_IN_A_FIT]])
    information = np.linalg.inv(data.covariance[members])
    start = np.linalg.solve(information.sum(axis=0), np.einsum("nij,nj->i", information, data.point[members]))
    state = np.array([start[0], start[1], 0.0])
    n = len(members)
    scale_sigma = float(np.min(data.sigma_shared[members]))
    prior = np.diag([0.0, 0.0, scale_sigma**-2])
    sequences = np.array([data.rows[i].sequence_id for i in members])
    together = (sequences[:, None] == sequences[None, :]) * SHARED_POSE_VARIANCE
    np.fill_diagonal(together, 1.0)
    own = np.zeros((n, 2, n, 2))
    # A camera of unknown focal length shares more than the size; with another camera's sightings that is its own error.
    own[:, 0, :, 0] = np.diag(data.sigma_range[members] ** 2 + data.sigma_shared[members] ** 2 - scale_sigma**2)
    own[:, 1, :, 1] = together * np.outer(data.sigma_bearing[members], data.sigma_bearing[members])
    camera = together * np.outer(data.sigma_camera[members], data.sigma_camera[members])

    weight = np.ones(n)
    normal, chi2 = np.eye(3), 0.0
    for _ in range(15):
        residual, jacobian = _residuals(data, members, state)
        toward = jacobian[:, :, :2]
        noise = own + np.einsum("ab,aij,bkj->aibk", camera, toward, toward)
        marginal = np.einsum("aiaj->aij", noise) + np.einsum("ai,aj->aij", jacobian[:, :, 2], jacobian[:, :, 2]) * scale_sigma**2
        scale = 1.0 / np.sqrt(weight)
        spread = (noise * scale[:, None, None, None] * scale[None, None, :, None]).reshape(2 * n, 2 * n)
        stacked = jacobian.reshape(2 * n, 3)
        weighted = np.linalg.solve(spread, np.column_stack([stacked, residual.reshape(2 * n)]))
        normal = stacked.T @ weighted[:, :3] + prior
        slope = stacked.T @ weighted[:, 3] - prior @ state
        step = np.linalg.solve(normal, slope)
        chi2 = float(residual.reshape(2 * n) @ weighted[:, 3] + state @ prior @ state - slope @ step)
        step *= min(1.0, 10.0 / max(float(np.hypot(step[0], step[1])), 1e-9))
        state = state + step
        # Judged with the size free: a sighting is not an outlier because the sign is large.
        loose = np.maximum(np.einsum("ai,aij,aj->a", residual, np.linalg.inv(marginal), residual), 1e-12)
        weight = np.minimum(1.0, HUBER_SIGMA / np.sqrt(loose))
        if float(np.hypot(step[0], step[1])) < 1e-4:
            break
    inflation = float(np.clip(chi2 / (2 * n - 2), 1.0, 4.0)) if n > 1 else 1.0
    floor = min(FLOOR_SIGMA_M[data.rows[i].pose_origin] for i in members)
    covariance = np.asarray(np.linalg.inv(normal) * inflation + np.diag([floor**2, floor**2, 0.0]), dtype=np.float64)
    return state, covariance


def _reassign(data: _Data, indices: NDArray[np.intp], clusters: list[_Cluster]) -> list[_Cluster]:
    """Every sighting to its likeliest object; those of one photo to different ones, jointly the likeliest."""
    tree = cKDTree(np.array([cluster.mean for cluster in clusters]))
    photos: dict[str, list[int]] = defaultdict(list)
    for index in indices:
        photos[data.rows[index].image_id].append(int(index))
    members: dict[int, list[int]] = defaultdict(list)
    alone: list[list[int]] = []
    for image_id in sorted(photos):
        boxes = _distinct_boxes(data, photos[image_id])
        near = sorted({k for box in boxes for k in tree.query_ball_point(data.point[box[0]], REACH_M)})
        costs = [[_cost(data, box[0], clusters[k], exclusive=False) for k in near] for box in boxes]
        impossible = 1e6
        table = np.array([[impossible if cost is None else cost for cost in line] for line in costs]).reshape(
            len(boxes), len(near)
        )
        taken = {}
        if near:
            taken = {r: near[c] for r, c in zip(*linear_sum_assignment(table), strict=True) if table[r, c] < impossible}
        for row, box in enumerate(boxes):
            if row in taken:
                members[taken[row]] += box
            else:
                alone.append(box)
    groups = [members[k] for k in sorted(members)] + alone
    return [_new_cluster(data, group) for group in groups]


def _distinct_boxes(data: _Data, indices: list[int]) -> list[list[int]]:
    """Sightings of one photo and class, with those of nearly the same box together."""
    boxes: list[list[int]] = []
    for index in indices:
        for box in boxes:
            if _is_same_box(data, index, box):
                box.append(index)
                break
        else:
            boxes.append([index])
    return boxes


def _merge(clusters: list[_Cluster], data: _Data) -> list[_Cluster]:
    """Objects of one class that stand in one place within their errors, and were never seen apart, become one."""
    clusters = sorted(clusters, key=lambda one: one.members[0])
    while len(clusters) > 1:
        means = np.array([cluster.mean for cluster in clusters])
        pairs = []
        for a, b in cKDTree(means).query_pairs(MERGE_M):
            apart = means[a] - means[b]
            reach = MERGE_LIGHTS_M if clusters[a].class_name.startswith("object--") else MERGE_M
            chi2 = float(apart @ np.linalg.solve(clusters[a].covariance + clusters[b].covariance, apart))
            if chi2 < MERGE_CHI2 and np.hypot(*apart) < reach and _may_be_one(data, clusters[a], clusters[b]):
                pairs.append((chi2, *sorted((clusters[a].members[0], clusters[b].members[0])), a, b))
        if not pairs:
            return clusters
        used: set[int] = set()
        merged: list[_Cluster] = []
        for *_, a, b in sorted(pairs):
            if a not in used and b not in used:
                used |= {a, b}
                merged.append(_new_cluster(data, clusters[a].members + clusters[b].members))
        clusters = sorted([c for k, c in enumerate(clusters) if k not in used] + merged, key=lambda one: one.members[0])
    return clusters


def _may_be_one(data: _Data, a: _Cluster, b: _Cluster) -> bool:
    if a.images & b.images:
        return False
    if a.class_name.startswith("object--"):
        return True
    return abs(float(wrap_deg(a.view_deg - b.view_deg))) <= SAME_FACE_DEG


def _settle_classes(data: _Data, clusters: list[_Cluster]) -> list[_Cluster]:
    """One sign that the detector read as two classes of one family gets the class that its photos speak for.

    Two clusters may be one sign if they stand within their errors, are seen from the same side, and never both in one
    photo. A sign does not change within a drive, so in each sequence that shows both, the class with the larger sum of
    scores takes the other's sightings. What is left of the smaller one joins the larger if the two overlap in time: a
    sign that was replaced does not, and stays two.
    """
    clusters = sorted(clusters, key=lambda one: one.members[0])
    for _ in range(2 * len(clusters)):
        means = np.array([cluster.mean for cluster in clusters])
        twins = sorted(
            (float(np.hypot(*(means[a] - means[b]))), *sorted((a, b)))
            for a, b in (cKDTree(means).query_pairs(TWIN_M) if len(clusters) > 1 else ())
            if _are_twins(data, clusters[a], clusters[b])
        )
        for _, a, b in twins:
            settled = _settle(data, clusters[a], clusters[b])
            if settled is not None:
                kept = [cluster for k, cluster in enumerate(clusters) if k not in (a, b)]
                clusters = sorted(kept + settled, key=lambda one: one.members[0])
                break
        else:
            break
    return clusters


def _are_twins(data: _Data, a: _Cluster, b: _Cluster) -> bool:
    if a.class_name == b.class_name or family(a.class_name) is None or family(a.class_name) != family(b.class_name):
        return False
    apart = a.mean - b.mean
    if float(apart @ np.linalg.solve(a.covariance + b.covariance, apart)) > MERGE_CHI2 or a.images & b.images:
        return False
    return abs(float(wrap_deg(a.view_deg - b.view_deg))) <= 60.0


def family(class_name: str) -> tuple[str, str] | None:
    """Classes that a detector may take for each other: same category and outline."""
    shape = shape_of(class_name)
    return (class_name.split("--")[0], shape.name) if shape else None


def _settle(data: _Data, a: _Cluster, b: _Cluster) -> list[_Cluster] | None:
    """The twins after the vote, or None if it changes nothing."""
    parts: dict[str, tuple[list[int], list[int]]] = defaultdict(lambda: ([], []))
    for side, cluster in enumerate((a, b)):
        for index in cluster.members:
            parts[data.rows[index].sequence_id][side].append(index)

    def score(members: Iterable[int]) -> float:
        return round(sum(data.rows[i].score for i in members), 9)

    shares: tuple[list[int], list[int]] = ([], [])
    for of_a, of_b in parts.values():
        if of_a and of_b:
            shares[0 if (score(of_a), a.class_name) >= (score(of_b), b.class_name) else 1].extend(of_a + of_b)
        else:
            shares[0].extend(of_a)
            shares[1].extend(of_b)
    large, small = sorted(zip(shares, (a.class_name, b.class_name), strict=True), key=lambda one: (-score(one[0]), one[1]))
    times = [[data.rows[i].captured_at for i in members] for members, _ in (large, small)]
    if (
        small[0]
        and score(small[0]) < MINORITY * score(large[0])
        and min(times[0]) <= max(times[1])
        and min(times[1]) <= max(times[0])
    ):
        large, small = (large[0] + small[0], large[1]), ([], small[1])
    settled = [replace(_new_cluster(data, members), class_name=name) for members, name in (large, small) if members]
    if {(tuple(one.members), one.class_name) for one in settled} == {(tuple(one.members), one.class_name) for one in (a, b)}:
        return None
    return settled


def _object(data: _Data, cluster: _Cluster) -> FusedObject:
    lon, lat = data.frame.to_lonlat(cluster.mean)[0]
    # Millimetres of covariance and a centimetre of position: what is believed must not flicker with rounding.
    covariance = tuple(round(float(v), 4) for v in (cluster.covariance[0, 0], cluster.covariance[0, 1], cluster.covariance[1, 1]))
    members = sorted((data.rows[i] for i in cluster.members), key=sighting_key)
    return FusedObject(
        class_name=cluster.class_name,
        lon=round(float(lon), 7),
        lat=round(float(lat), 7),
        covariance=(covariance[0], covariance[1], covariance[2]),
        error_radius_m=round(error_radius_m((covariance[0], covariance[1], covariance[2])), 2),
        sightings=tuple(members),
    )

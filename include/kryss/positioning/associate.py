"""Which sightings show the same object.

Two sets of sightings become one object where that explains them better than two objects do: by the Bayes factor of the
residuals between them against a new object standing there by chance. The best pairs join first (agglomeration by mutual best
partners, Murtagh 1983), inside each drive, where the poses' shared errors cancel, then over drives; then sightings are given
anew to the objects, those of one photo jointly (linear assignment). No object has two boxes of one photo.
Nothing depends on the order of the input.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.optimize import linear_sum_assignment
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from kryss.positioning.adjust import NEAREST_M, Corrections, Objects, estimate, linearise, scale_prior, sums
from kryss.positioning.table import Array, Codes, Scene

NEIGHBOURS = 10
REACH_M = 40.0
"""No two estimates of one object are farther apart: the honest error of a sighting at the end of the range."""
GATE_CHI2 = 13.8
"""99.9 % of true pairs pass it (two degrees of freedom)."""
DENSITY_PER_M2 = {True: 0.0001, False: 0.0004}
"""How many other objects of its family stand around an object: signs (with a front), lights and other things."""
SAME_FACE_DEG = 100.0
"""A sign is read from the front only: views that differ by more show another plate, perhaps on the same pole."""
MISREAD = 0.03
"""How often a detector takes one class of a family for another."""
SAME_BOX_RAD, SAME_BOX_LOG_RANGE, SAME_BOX_HEIGHT_M = np.radians(0.3), 0.1, 0.25
HEIGHTS_M = 4.0
"""Over how many metres heights of objects are spread: two of different height are rarely one."""
HEIGHT_SIGMA_M = 0.2
"""What heights are never better than: plates are turned, roads are bent."""
ROUNDS = 40

Rows = NDArray[np.intp]


def same_boxes(scene: Scene) -> Rows:
    """``(n,)`` for each sighting the best one of its photo that shows the same box: detectors box some things twice."""
    order = np.lexsort((scene.bearing, scene.family, scene.image))
    pairs = []
    for step in (1, 2):
        a, b = order[:-step], order[step:]
        same = (
            (scene.image[a] == scene.image[b])
            & (scene.family[a] == scene.family[b])
            & (np.abs(scene.bearing[a] - scene.bearing[b]) < SAME_BOX_RAD)
            & (np.abs(scene.log_range[a] - scene.log_range[b]) < SAME_BOX_LOG_RANGE)
        )
        apart = np.abs(scene.height[a] - scene.height[b])
        # Plates of two classes stand above each other on one pole: only their height tells them from one misread.
        same &= (apart < SAME_BOX_HEIGHT_M) | (np.isnan(apart) & (scene.kind[a] == scene.kind[b]))
        pairs.append(np.column_stack([a[same], b[same]]))
    joined = np.concatenate(pairs)
    graph = sparse.coo_matrix((np.ones(len(joined)), (joined[:, 0], joined[:, 1])), shape=(len(scene), len(scene)))
    _, box = connected_components(graph, directed=False)
    best = np.lexsort((np.arange(len(scene)), -scene.score, box))
    return best[np.searchsorted(box[best], box)]


@dataclass
class Clusters:
    """A partition of the sightings ``rows`` into ``count`` objects, and what is estimated of each."""

    rows: Rows
    labels: Codes
    """(m,) 0 ... count - 1"""
    objects: Objects
    view: Array
    """(count, 2) sum of unit vectors from the cameras"""
    kind: Codes
    """(count,) the class that most score speaks for"""
    family: Codes
    size: Codes
    """(count,) number of sightings"""
    first: Codes
    """(count,) the smallest row: what an object is told apart and ordered by"""
    last: Codes
    height: Array
    """(count,) metres above the road; NaN where no sighting tells it"""
    height_sigma: Array

    @property
    def count(self) -> int:
        return len(self.size)


def describe(scene: Scene, rows: Rows, labels: Codes, corrections: Corrections, old: Clusters | None = None) -> Clusters:
    """The clusters of a partition, numbered by their first sighting. Those that ``old`` has too are not estimated again."""
    first = np.full(int(labels.max(initial=-1)) + 1, len(scene))
    np.minimum.at(first, labels, rows)
    _, labels = np.unique(first[labels], return_inverse=True)
    count = int(labels.max(initial=-1)) + 1
    size = np.bincount(labels, minlength=count)
    first, last = np.full(count, len(scene)), np.zeros(count, dtype=np.int64)
    np.minimum.at(first, labels, rows)
    np.maximum.at(last, labels, rows)
    objects = _estimated(scene, rows, labels, count, corrections, old, first, last, size)
    bearing = scene.bearing[rows]
    view = sums(np.column_stack([np.sin(bearing), np.cos(bearing)]), labels, count)
    kind = _voted(scene, rows, labels)
    return Clusters(
        rows, labels, objects, view, kind, scene.family[first], size, first, last, *_height(scene, rows, labels, count)
    )


def _estimated(
    scene: Scene,
    rows: Rows,
    labels: Codes,
    count: int,
    corrections: Corrections,
    old: Clusters | None,
    first: Codes,
    last: Codes,
    size: Codes,
) -> Objects:
    if old is None:
        return estimate(scene, rows, labels, count, corrections)
    # Agglomeration only ever joins whole clusters: one with the same first sighting and size has the same sightings.
    place = np.searchsorted(old.first, first)
    kept = (old.first[np.minimum(place, old.count - 1)] == first) & (old.size[np.minimum(place, old.count - 1)] == size)
    changed = np.flatnonzero(~kept)
    number = np.full(count, -1)
    number[changed] = np.arange(len(changed))
    mine = number[labels] >= 0
    fresh = estimate(scene, rows[mine], number[labels[mine]], len(changed), corrections)
    place = place[kept]
    state, own, covariance = np.zeros((count, 3)), np.zeros((count, 3, 3)), np.zeros((count, 3, 3))
    for target, stale, new in (
        (state, old.objects.state, fresh.state),
        (own, old.objects.own, fresh.own),
        (covariance, old.objects.covariance, fresh.covariance),
    ):
        target[kept], target[changed] = stale[place], new
    weight = old.objects.weight.copy()
    weight[mine] = fresh.weight
    return Objects(state, own, covariance, weight)


def _height(scene: Scene, rows: Rows, labels: Codes, count: int) -> tuple[Array, Array]:
    """``(count,)`` height above the road and its sigma; NaN where no sighting tells it."""
    told = np.isfinite(scene.height[rows])
    mine, where = rows[told], labels[told]
    weight = np.hypot(scene.height_sigma[mine], HEIGHT_SIGMA_M) ** -2
    total = np.bincount(where, weight, count)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.bincount(where, weight * scene.height[mine], count) / total
    return mean, np.where(total > 0, np.hypot(1.0 / np.sqrt(np.maximum(total, 1e-12)), HEIGHT_SIGMA_M), np.nan)


def _height_fit(height_a: Array, sigma_a: Array, height_b: Array, sigma_b: Array) -> Array:
    """Log Bayes factor of two heights being one object's; 0 where one is unknown."""
    spread = np.hypot(sigma_a, sigma_b)
    fit = np.log(HEIGHTS_M / (np.sqrt(2 * np.pi) * np.minimum(spread, HEIGHTS_M))) - 0.5 * ((height_a - height_b) / spread) ** 2
    return np.where(np.isfinite(fit), np.minimum(fit, np.log(HEIGHTS_M)), 0.0)


def _voted(scene: Scene, rows: Rows, labels: Codes) -> Codes:
    """``(count,)`` the class with the largest sum of scores; of equals the first by name."""
    kinds = int(scene.kind.max(initial=0)) + 1
    pair, inverse = np.unique(labels * kinds + scene.kind[rows], return_inverse=True)
    votes = np.round(np.bincount(inverse, scene.score[rows] + 1e-6), 9)
    order = np.lexsort((pair % kinds, -votes, pair // kinds))
    _, begin = np.unique(pair[order] // kinds, return_index=True)
    return np.asarray(pair[order][begin] % kinds)


def agglomerate(scene: Scene, clusters: Clusters, corrections: Corrections, *, drives: bool) -> Clusters:
    """Joins clusters until no pair is better as one. ``drives``: over drives, or only inside each."""
    for _ in range(ROUNDS):
        a, b, gain = _joinable(scene, clusters, corrections, drives)
        if not len(gain):
            break
        order = np.lexsort((b, a, -gain))
        best = np.full(clusters.count, len(gain))
        ranks = np.arange(len(gain))
        np.minimum.at(best, a[order], ranks)
        np.minimum.at(best, b[order], ranks)
        mutual = (best[a[order]] == ranks) & (best[b[order]] == ranks)
        target = np.arange(clusters.count)
        target[b[order][mutual]] = a[order][mutual]
        clusters = describe(scene, clusters.rows, target[clusters.labels], corrections, clusters)
    return clusters


def _joinable(scene: Scene, clusters: Clusters, corrections: Corrections, drives: bool) -> tuple[Codes, Codes, Array]:
    """Pairs a < b of clusters that are better as one, with by how much (log Bayes factor)."""
    sequence = scene.sequence[clusters.first]
    group = clusters.family if drives else clusters.family * scene.sequences + sequence
    a, b = _near(clusters.objects.state[:, :2], group)
    fits = faces_alike(scene, clusters, a, b)
    a, b = a[fits], b[fits]
    gain = _log_bayes(scene, clusters, corrections, a, b, drives)
    gain += _height_fit(clusters.height[a], clusters.height_sigma[a], clusters.height[b], clusters.height_sigma[b])
    misread = clusters.kind[a] != clusters.kind[b]
    if drives:
        # A sign does not change within a drive; between drives another class is another sign.
        fewer, more = np.where(clusters.size[a] <= clusters.size[b], (a, b), (b, a))
        inside = (scene.time[clusters.first[fewer]] >= scene.time[clusters.first[more]]) & (
            scene.time[clusters.last[fewer]] <= scene.time[clusters.last[more]]
        )
        gain[misread & ~inside] = -np.inf
    gain[misread] += np.log(MISREAD) * np.minimum(clusters.size[a], clusters.size[b])[misread]
    better = gain > 0
    a, b, gain = a[better], b[better], gain[better]
    apart = ~_share_a_photo(scene, clusters, a, b)
    return a[apart], b[apart], gain[apart]


def _near(point: Array, group: Codes) -> tuple[Codes, Codes]:
    """Pairs a < b of points of one group that are among each other's nearest."""
    if len(point) < 2:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    _, group = np.unique(group, return_inverse=True)
    placed = np.column_stack([point, group * (4 * REACH_M)])
    tree = cKDTree(placed)
    k = min(NEIGHBOURS + 1, len(point))
    _, near = tree.query(placed, k=k, distance_upper_bound=REACH_M)
    a, b = np.repeat(np.arange(len(point)), k), near.ravel()
    real = (b < len(point)) & (a != b)
    a, b = a[real], b[real]
    pair = np.unique(np.minimum(a, b) * len(point) + np.maximum(a, b))
    return pair // len(point), pair % len(point)


def density_of(scene: Scene, rows: Rows) -> Array:
    """``(m,)`` how many other objects of its family stand around each sighting's, per square metre."""
    return np.where(scene.front[rows], DENSITY_PER_M2[True], DENSITY_PER_M2[False])


def faces_alike(scene: Scene, clusters: Clusters, a: Codes, b: Codes) -> NDArray[np.bool_]:
    front = scene.front[clusters.first[a]]
    one, other = clusters.view[a], clusters.view[b]
    cosine = (one * other).sum(axis=1) / np.maximum(np.hypot(*one.T) * np.hypot(*other.T), 1e-12)
    return ~front | (cosine > np.cos(np.radians(SAME_FACE_DEG)))


def _share_a_photo(scene: Scene, clusters: Clusters, a: Codes, b: Codes) -> NDArray[np.bool_]:
    """Of each pair of clusters, whether some photo shows both."""
    images = int(scene.image.max(initial=0)) + 1
    seen = np.sort(clusters.labels * images + scene.image[clusters.rows])
    small, large = np.where(clusters.size[a] <= clusters.size[b], (a, b), (b, a))
    order = np.argsort(clusters.labels, kind="stable")
    begin = np.searchsorted(clusters.labels[order], np.arange(clusters.count))
    number = clusters.size[small]
    pair = np.repeat(np.arange(len(a)), number)
    within = np.arange(len(pair)) - np.repeat(np.cumsum(number) - number, number)
    member = clusters.rows[order[begin[small[pair]] + within]]
    wanted = large[pair] * images + scene.image[member]
    at = np.minimum(np.searchsorted(seen, wanted), max(len(seen) - 1, 0))
    found = seen[at] == wanted if len(seen) else np.zeros(0, dtype=bool)
    both = np.zeros(len(a), dtype=bool)
    both[pair[found]] = True
    return both


def _log_bayes(scene: Scene, clusters: Clusters, corrections: Corrections, a: Codes, b: Codes, drives: bool) -> Array:
    """How much likelier each pair's residuals are if they are one object than if the other stood there by chance."""
    known = clusters.objects.covariance if drives else clusters.objects.own
    trace = known[:, 0, 0] + known[:, 1, 1]
    swap = (trace[a] > trace[b]) & (clusters.size[a] <= clusters.size[b]) | (clusters.size[a] < clusters.size[b])
    sure, other = np.where(swap, (b, a), (a, b))
    density = density_of(scene, clusters.first[a])
    gain = np.zeros(len(a))
    single = clusters.size[other] == 1
    rows = clusters.first[other[single]]
    gain[single] = log_fit(scene, rows, clusters, sure[single], known[sure[single]], corrections, density[single], drives)
    many = ~single
    apart = clusters.objects.state[sure[many], :2] - clusters.objects.state[other[many], :2]
    spread = known[sure[many]][:, :2, :2] + known[other[many]][:, :2, :2]
    gain[many] = log_density(apart, spread) - np.log(density[many])
    return gain


def log_fit(
    scene: Scene,
    rows: Rows,
    clusters: Clusters,
    what: Codes,
    known: Array,
    corrections: Corrections,
    density: Array,
    drives: bool,
) -> Array:
    """``(m,)`` log Bayes factor that each sighting shows the cluster ``what`` (m,), of covariance ``known`` (m, 3, 3)."""
    sequence, state = scene.sequence[rows], clusters.objects.state[what]
    # A range with a depth and one without do not err alike: the scale of the object is not the sighting's.
    scale_sigma = scale_prior(scene, clusters.rows, clusters.labels, clusters.count)[what]
    beyond = np.abs(scene.object_sigma[rows] ** 2 - scale_sigma**2)
    linear = linearise(scene, rows, state, corrections.of(scene, rows), beyond)
    noise = linear.by_object @ known @ linear.by_object.transpose(0, 2, 1)
    noise[:, range(2), range(2)] += linear.pixel
    by_photo = linear.by_sequence[:, :, :3]
    noise += by_photo @ corrections.photo_covariance[scene.image[rows]] @ by_photo.transpose(0, 2, 1)
    if drives:
        noise += linear.by_sequence @ corrections.covariance[sequence] @ linear.by_sequence.transpose(0, 2, 1)
    distance = np.maximum(np.hypot(*(state[:, :2] - scene.camera[rows]).T), NEAREST_M)
    # A chance object per square metre is distance squared per unit of log range and radian.
    return log_density(linear.residual, noise) - np.log(density * distance**2)


def log_density(apart: Array, spread: Array) -> Array:
    """Log of the normal density; minus infinity beyond the gate."""
    determinant = spread[:, 0, 0] * spread[:, 1, 1] - spread[:, 0, 1] ** 2
    chi2 = (
        spread[:, 1, 1] * apart[:, 0] ** 2 - 2 * spread[:, 0, 1] * apart[:, 0] * apart[:, 1] + spread[:, 0, 0] * apart[:, 1] ** 2
    ) / determinant
    return np.where(chi2 <= GATE_CHI2, -0.5 * chi2 - 0.5 * np.log(determinant) - np.log(2 * np.pi), -np.inf)


def reassign(scene: Scene, clusters: Clusters, corrections: Corrections, *, drives: bool) -> Clusters:
    """Every sighting to its likeliest object; those of one photo to different ones, jointly the likeliest."""
    rows = clusters.rows
    correction = corrections.of(scene, rows)
    turn = scene.bearing[rows] - correction[:, 2]
    reach = np.exp(scene.log_range[rows])
    point = scene.camera[rows] + correction[:, :2] + reach[:, None] * np.column_stack([np.sin(turn), np.cos(turn)])
    spacing = 4 * REACH_M
    group, of_sighting = clusters.family, scene.family[rows]
    if not drives:
        group = group * scene.sequences + scene.sequence[clusters.first]
        of_sighting = of_sighting * scene.sequences + scene.sequence[rows]
    numbers = np.unique(group)
    group, of_sighting = np.searchsorted(numbers, group), np.searchsorted(numbers, of_sighting)
    tree = cKDTree(np.column_stack([clusters.objects.state[:, :2], group * spacing]))
    k = min(6, clusters.count)
    _, near = tree.query(np.column_stack([point, of_sighting * spacing]), k=np.arange(1, k + 1), distance_upper_bound=REACH_M)
    who, what = np.repeat(np.arange(len(rows)), k), near.ravel()
    real = what < clusters.count
    own = np.arange(len(rows))
    pair = np.unique(np.concatenate([who[real], own]) * clusters.count + np.concatenate([what[real], clusters.labels]))
    who, what = pair // clusters.count, pair % clusters.count
    density = density_of(scene, rows[who])
    fit = log_fit(scene, rows[who], clusters, what, clusters.objects.own[what], corrections, density, drives)
    fit += _height_fit(
        scene.height[rows[who]],
        np.hypot(scene.height_sigma[rows[who]], HEIGHT_SIGMA_M),
        clusters.height[what],
        clusters.height_sigma[what],
    )
    fit += np.log(MISREAD) * (scene.kind[rows[who]] != clusters.kind[what])
    view = clusters.view[what] / np.maximum(np.hypot(*clusters.view[what].T), 1e-12)[:, None]
    facing = view[:, 0] * np.sin(scene.bearing[rows[who]]) + view[:, 1] * np.cos(scene.bearing[rows[who]])
    fit[scene.front[rows[who]] & (facing < np.cos(np.radians(SAME_FACE_DEG)))] = -np.inf
    # Alone in its cluster, a sighting fits itself by definition: it may only leave for something better than chance.
    fit[(clusters.size[what] == 1) & (what == clusters.labels[who])] = 0.0
    fit[(clusters.size[what] == 1) & (what != clusters.labels[who])] = -np.inf
    good = fit >= 0
    who, what, fit = who[good], what[good], fit[good]
    labels = clusters.count + own
    for begin, end in _photos(scene.image[rows[who]]):
        them, things = np.unique(who[begin:end]), np.unique(what[begin:end])
        if len(them) == 1:
            at = int(np.lexsort((what[begin:end], -fit[begin:end]))[0])
            labels[them[0]] = what[begin + at]
            continue
        cost = np.zeros((len(them), len(things) + len(them)))
        cost[:, : len(things)] = 1.0
        cost[np.searchsorted(them, who[begin:end]), np.searchsorted(things, what[begin:end])] = -fit[begin:end]
        for row, column in zip(*linear_sum_assignment(cost), strict=True):
            if column < len(things) and cost[row, column] <= 0:
                labels[them[row]] = things[column]
    return describe(scene, rows, labels, corrections)


def _photos(image: Codes) -> list[tuple[int, int]]:
    """Runs of equal values. Sightings are ordered by time and photo, so those of a photo stand together."""
    edges = np.flatnonzero(np.diff(image)) + 1
    bounds = [0, *edges.tolist(), len(image)]
    return [pair for pair in pairwise(bounds) if pair[0] < pair[1]]

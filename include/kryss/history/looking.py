"""Which photos should have shown which object.

A photo should have shown an object if it looks at it as photos did that showed it: from about the same side, from a like
distance, with the object well inside its view, in width and in height, and with its front towards the camera. From a side or a
distance from which nothing ever showed it, it may be hidden: such a photo says nothing.

Three more things are told here. A photo that shows *another thing in the very place* of an object (another sign, hardly ever
seen in one visit with it) has certainly looked there. One that shows a thing of its kind there, which fusion has taken for
another, may well show this one: it says nothing. And looks without a pause between them are one *visit*: what hides an object
from one of them, a van or a bus, hides it from the others.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from kryss.history.evidence import Evidence
from kryss.history.identity import SAME_PLACE_CHI2, chi2
from kryss.history.surveys import SurveyLook
from kryss.history.views import Cameras
from kryss.model import FusedObject, Sighting
from kryss.positioning.frame import Frame, frame_for, wrap_deg
from kryss.positioning.table import Array, Codes, codes, families

SAME_SIDE_DEG = 25.0
NEARER, FARTHER = 0.6, 1.1
"""Beyond these multiples of the nearest and the farthest distance it was seen from, nothing is expected of a photo."""
FACE_DEG = 75.0
"""A sign is read up to this far from its front."""
SAME_FRONT_DEG = 60.0
CAMERA_M, CAMERA_SIGMA_M = 1.8, 0.7
"""Height of a camera above the road: on a bonnet, on a roof."""
TWIN_M = 10.0
"""Two clusters of one kind so close to each other may be one thing."""
VISIT_PAUSE_S = 600.0
"""Looks at an object with a longer pause between them are two visits."""
OCCUPIED_RATE = 0.90
"""A photo that shows another sign where this one stood was neither too far nor hidden: only the detector can have erred."""
SURVEY = "survey"
"""``Sighting.method`` of what a survey lists; its ``sequence_id`` is the survey's."""
APPROACHES = 6
"""Sides of an object, each a sixth of the circle."""
MISREAD_SHARE = 0.2
"""Of two classes in one place, of each of which no larger part was seen in a visit with the other, one stood after the other."""
CHUNK = 4096

Twins = tuple[int, int, bool]
"""Two clusters in one place, and whether one stood after the other."""


def look_of(one: Sighting) -> str:
    """The id of the photo, or of the survey, that shows it."""
    return one.sequence_id if one.method == SURVEY else one.image_id


@dataclass(frozen=True)
class Photos:
    """The ``n`` photos that looked with a pose, or that show something, and the surveys, by capture time, then id."""

    ids: list[str]
    captured: list[datetime]
    time: Array
    """seconds since 1970"""
    model: Codes
    """index into ``models`` of the effective one; a survey is its own"""
    models: tuple[str, ...]
    posed: NDArray[np.intp]
    """(p,) the photos that have a pose and were searched"""
    cameras: Cameras
    """of these"""
    frame: Frame
    camera: Array
    """(p, 2) metres"""
    index: Mapping[str, int]

    @staticmethod
    def of(evidence: Evidence) -> Photos:
        looks = {image.id: (image, key) for key in sorted(evidence.looks) for image in evidence.looks[key]}
        searched = {image_id: one for image_id, one in looks.items() if image_id in evidence.poses}
        captured = {image_id: image.captured_at for image_id, (image, _) in searched.items()}
        model_of = {image_id: key for image_id, (_, key) in searched.items()}
        captured |= {survey.id: survey.captured_at for survey in evidence.surveys}
        model_of |= {survey.id: survey.id for survey in evidence.surveys}
        for cluster in evidence.objects:
            for one in cluster.sightings:
                captured.setdefault(look_of(one), one.captured_at)
                model_of.setdefault(look_of(one), one.model_key)
        ids = sorted(captured, key=lambda image_id: (captured[image_id], image_id))
        posed = [row for row, image_id in enumerate(ids) if image_id in searched]
        images = [searched[ids[row]][0] for row in posed]
        poses = [evidence.poses[image.id].pose for image in images]
        lon, lat = [pose.lon for pose in poses], [pose.lat for pose in poses]
        frame = frame_for(lon, lat)
        model, models = codes(model_of[image_id] for image_id in ids)
        return Photos(
            ids=ids,
            captured=[captured[image_id] for image_id in ids],
            time=np.array([captured[image_id].timestamp() for image_id in ids], dtype=np.float64),
            model=model,
            models=models,
            posed=np.array(posed, dtype=np.intp),
            cameras=Cameras.of(images, evidence.poses),
            frame=frame,
            camera=frame.to_xy(lon, lat) if posed else np.zeros((0, 2)),
            index={image_id: row for row, image_id in enumerate(ids)},
        )


@dataclass(frozen=True)
class Things:
    """The ``k`` clusters as columns, and their sightings."""

    place: Array
    """(k, 2) metres in the photos' frame"""
    blur_m: Array
    """half the radius of its place"""
    facing_deg: Array
    """NaN where it has no front or none is known"""
    height_m: Array
    """above the road, NaN where unknown, with its error"""
    height_sigma_m: Array
    kind: Codes
    """index into ``classes``"""
    classes: tuple[str, ...]
    family: Codes
    front: NDArray[np.bool_]
    """whether it is read from its front only"""
    sighting_thing: Codes
    """(s,) by thing, then photo"""
    sighting_photo: Codes
    sighting_camera: Array
    """(s, 2)"""
    by_camera: NDArray[np.bool_]
    """(s,) False: a survey's"""

    @staticmethod
    def of(clusters: Sequence[FusedObject], facing: Sequence[float | None], photos: Photos) -> Things:
        rows = sorted(
            (k, photos.index[look_of(one)], n) for k, each in enumerate(clusters) for n, one in enumerate(each.sightings)
        )
        seen = [clusters[k].sightings[n] for k, _, n in rows]
        kind, classes = codes(one.class_name for one in clusters)
        family, front = families(classes)
        nan = float("nan")

        def column(values: Sequence[float | None]) -> Array:
            return np.array([nan if value is None else value for value in values], dtype=np.float64)

        def xy(lon: list[float], lat: list[float]) -> Array:
            return photos.frame.to_xy(lon, lat) if lon else np.zeros((0, 2))

        return Things(
            place=xy([one.lon for one in clusters], [one.lat for one in clusters]),
            blur_m=column([one.error_radius_m / 2.0 for one in clusters]),
            facing_deg=column(facing),
            height_m=column([one.height_m for one in clusters]),
            height_sigma_m=column([one.height_sigma_m or 0.0 for one in clusters]),
            kind=kind,
            classes=classes,
            family=family[kind],
            front=front[kind],
            sighting_thing=np.array([k for k, _, _ in rows], dtype=np.int64),
            sighting_photo=np.array([photo for _, photo, _ in rows], dtype=np.int64),
            sighting_camera=xy([one.camera_lon for one in seen], [one.camera_lat for one in seen]),
            by_camera=np.array([one.method != SURVEY for one in seen], dtype=bool),
        )

    def __len__(self) -> int:
        return len(self.kind)


@dataclass(frozen=True)
class Looks:
    """``n`` looks of photos at objects, by object, then photo: those that should have shown it and those that did."""

    thing: Codes
    photo: Codes
    seen: NDArray[np.bool_]
    expected: NDArray[np.bool_]
    """False: nothing was expected, but it was seen"""
    range_m: Array
    given: Array
    """How likely it shows the object, where that is known: of a survey, and of a photo that shows another thing in its place,
    from which nothing hides it; NaN of others"""
    visit: Codes
    """0, 1, ... over all objects"""
    approach: Codes
    """The side from which the photo looks, of :data:`APPROACHES`; 0 if nothing was expected"""


def looks_at(things: Things, photos: Photos, surveys: Sequence[SurveyLook], pairs: Sequence[Twins]) -> Looks:
    """Every look that says something of an object."""
    n = max(len(photos.ids), 1)
    found = np.concatenate([np.zeros((0, 4)), *_expected(things, photos)])
    expected = found[:, 0].astype(np.int64) * n + found[:, 1].astype(np.int64)
    shown = np.unique(things.sighting_thing * n + things.sighting_photo)
    given = _given(things, photos, surveys, pairs, n)
    alike = [one * n + _photos_of(things, other) for a, b, in_turn in pairs if not in_turn for one, other in ((a, b), (b, a))]
    unclear = np.unique(np.concatenate([np.zeros(0, dtype=np.int64), *alike]))
    key = np.unique(np.concatenate([expected, shown, given[0]]))
    key = key[_member(key, shown) | ~_member(key, unclear)]
    seen = _member(key, shown)

    def column(keys: Codes, values: Array) -> Array:
        filled, kept = np.full(len(key), np.nan), _member(keys, key)
        filled[np.searchsorted(key, keys[kept])] = values[kept]
        return filled

    range_m, chance = column(expected, found[:, 2]), column(*given)
    thing, photo = key // n, key % n
    time = photos.time[photo] if len(key) else np.zeros(0)
    begins = np.ones(len(key), dtype=bool)
    begins[1:] = (thing[1:] != thing[:-1]) | (time[1:] - time[:-1] > VISIT_PAUSE_S)
    return Looks(
        thing=thing,
        photo=photo,
        seen=seen,
        expected=np.isfinite(range_m) | np.isfinite(chance),
        range_m=range_m,
        given=chance,
        visit=np.cumsum(begins) - 1,
        approach=np.nan_to_num(column(expected, found[:, 3])).astype(np.int64),
    )


def _given(things: Things, photos: Photos, surveys: Sequence[SurveyLook], pairs: Sequence[Twins], n: int) -> tuple[Codes, Array]:
    """Sorted keys (thing * n + photo) of the looks of which it is known how likely they show the object, and how likely."""
    keys, chances = [np.zeros(0, dtype=np.int64)], [np.zeros(0)]
    for a, b, in_turn in pairs:
        for one, other in ((a, b), (b, a)) if in_turn else ():
            keys.append(one * n + _photos_of(things, other))
            chances.append(np.full(len(keys[-1]), OCCUPIED_RATE))
    for survey in sorted(surveys, key=lambda one: one.id):
        rate = np.array([survey.detected.get(name, 0.0) for name in things.classes])[things.kind] if len(things) else np.zeros(0)
        inside = np.flatnonzero((rate > 0.0) & _inside(survey, things, photos))
        keys.append(inside * n + photos.index[survey.id])
        chances.append(rate[inside])
    key, first = np.unique(np.concatenate(keys), return_index=True)
    return key, np.concatenate(chances)[first]


def _inside(survey: SurveyLook, things: Things, photos: Photos) -> NDArray[np.bool_]:
    """``(k,)`` whether each thing stands in the area of a survey, however wrong its place is."""
    area = shapely.transform(shapely.geometry.shape(survey.area), lambda lonlat: photos.frame.to_xy(lonlat[:, 0], lonlat[:, 1]))
    points = shapely.points(things.place)
    return np.asarray(shapely.contains(area, points) & (shapely.distance(area.boundary, points) >= 2.0 * things.blur_m))


def _member(keys: Codes, of: Codes) -> NDArray[np.bool_]:
    """``np.isin`` for a sorted second argument."""
    if not len(of):
        return np.zeros(len(keys), dtype=bool)
    return np.asarray(of[np.minimum(np.searchsorted(of, keys), len(of) - 1)] == keys)


def _expected(things: Things, photos: Photos) -> Iterator[Array]:
    """Rows (thing, photo, range in metres, approach), some things at a time."""
    mine = things.sighting_thing[things.by_camera]
    offset = things.place[mine] - things.sighting_camera[things.by_camera]
    range_m, bearing_deg = _polar(offset)
    nearest, farthest = np.full(len(things), np.inf), np.full(len(things), -np.inf)
    np.minimum.at(nearest, mine, range_m)
    np.maximum.at(farthest, mine, range_m)
    turn = np.radians(bearing_deg)
    usual = np.degrees(np.arctan2(np.bincount(mine, np.sin(turn), len(things)), np.bincount(mine, np.cos(turn), len(things))))
    # Bearings of all things on one line, each circle laid out three times, so that the nearest one is beside any other.
    circles = np.sort(np.concatenate([mine * 1080.0 + bearing_deg % 360.0 + turn for turn in (0.0, 360.0, 720.0)]))
    if not len(photos.posed) or not len(circles):
        return
    tree = cKDTree(photos.camera)
    seen_by_camera = np.flatnonzero(np.isfinite(nearest))
    order = seen_by_camera[np.argsort(farthest[seen_by_camera], kind="stable")]
    convergence = photos.frame.convergence_deg(*photos.frame.to_lonlat(things.place).T)
    for begin in range(0, len(order), CHUNK):
        some = order[begin : begin + CHUNK]
        reach = FARTHER * float(farthest[some].max())
        pairs = cKDTree(things.place[some]).sparse_distance_matrix(tree, reach, output_type="ndarray")
        thing, camera = some[pairs["i"]], pairs["j"].astype(np.intp)
        fits = (pairs["v"] >= NEARER * nearest[thing]) & (pairs["v"] <= FARTHER * farthest[thing])
        thing, camera = thing[fits], camera[fits]
        distance, bearing = _polar(things.place[thing] - photos.camera[camera])
        at = thing * 1080.0 + bearing % 360.0 + 360.0
        after = np.minimum(np.searchsorted(circles, at), len(circles) - 1)
        turned = np.minimum(np.abs(circles[after] - at), np.abs(at - circles[np.maximum(after - 1, 0)]))
        fits = (turned <= SAME_SIDE_DEG) & (distance > 0.1)
        thing, camera, distance, bearing = thing[fits], camera[fits], distance[fits], bearing[fits]
        approach = np.floor(((bearing - usual[thing]) / 360.0 * APPROACHES + 0.5) % APPROACHES)
        bearing = bearing + convergence[thing]
        from_front = np.abs(wrap_deg(bearing + 180.0 - things.facing_deg[thing]))
        fits = ~(things.front[thing] & (from_front > FACE_DEG))
        thing, camera, distance, bearing, approach = (each[fits] for each in (thing, camera, distance, bearing, approach))
        rise = things.height_m[thing] - CAMERA_M
        fits = photos.cameras.shows(
            camera,
            bearing,
            np.degrees(np.arctan2(rise, distance)),
            np.degrees(np.arctan2(things.blur_m[thing], distance)),
            np.degrees(np.arctan2(np.hypot(things.height_sigma_m[thing], CAMERA_SIGMA_M), distance)),
        )
        yield np.column_stack([thing[fits], photos.posed[camera[fits]], distance[fits], approach[fits]])


def _polar(offset: Array) -> tuple[Array, Array]:
    return np.hypot(offset[:, 0], offset[:, 1]), np.degrees(np.arctan2(offset[:, 0], offset[:, 1]))


def _photos_of(things: Things, k: int) -> Codes:
    begin, end = np.searchsorted(things.sighting_thing, [k, k + 1])
    return things.sighting_photo[begin:end]


def twins(clusters: Sequence[FusedObject], things: Things, photos: Photos) -> Iterator[Twins]:
    """Pairs a < b in one place that no photo shows together; whether one stood after the other.

    Two signs of different classes, hardly ever seen in one visit, are two things, of which one came in the place of the other.
    Two clusters of one family may otherwise be one thing that was taken for two.
    """
    if len(things) < 2:
        return
    for a, b in sorted(cKDTree(things.place).query_pairs(TWIN_M)):
        kin = things.family[a] == things.family[b]
        signs = things.front[a] and things.front[b]
        if (not kin and not signs) or chi2(things.place[a] - things.place[b], clusters[a], clusters[b]) >= SAME_PLACE_CHI2:
            continue
        if signs and not np.abs(wrap_deg(things.facing_deg[a] - things.facing_deg[b])) <= SAME_FRONT_DEG:
            continue
        mine, others = _photos_of(things, a), _photos_of(things, b)
        if len(np.intersect1d(mine, others)):
            continue
        together = max(_close(photos.time[mine], photos.time[others]), _close(photos.time[others], photos.time[mine]))
        in_turn = bool(things.kind[a] != things.kind[b] and together <= MISREAD_SHARE)
        if kin or in_turn:
            yield a, b, in_turn


def _close(time: Array, to: Array) -> float:
    """Which share of some times is in one visit with others."""
    after = np.searchsorted(to, time)
    apart = np.minimum(np.abs(time - to[np.minimum(after, len(to) - 1)]), np.abs(time - to[np.maximum(after - 1, 0)]))
    return float((apart <= VISIT_PAUSE_S).mean())

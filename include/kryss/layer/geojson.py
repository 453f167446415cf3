"""The layer as GeoJSON (RFC 7946): a FeatureCollection with one Feature per intersection, in the structure of the thesis.

A Feature's geometry is a GeometryCollection whose first member is the area polygon and whose other members are the objects'
Points; ``properties.objects[i]`` describes ``geometries[i + 1]``. Ended objects stay, with ``status`` ``ended``.

The same nouns give the same bytes on any machine: features and objects are sorted by id, keys are sorted, and numbers are
rounded here and nowhere else: coordinates to 7 decimals (1 cm), metres to 2, assumed sizes to 3, probabilities to 4, degrees to
1; instants to the whole second, UTC. Only valid time is written: what the database knew when is not part of the layer.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import shapely

from kryss.model import Intersection, ObjectVersion, StreetObject

COORDINATE_DECIMALS = 7
EARTH_RADIUS_M = 6_371_008.8
ABSENCE = ("gone_after", "gone_by", "back_after", "back_by")
MAPILLARY_IMAGE_URL = "https://www.mapillary.com/app/?pKey={key}"

Json = dict[str, Any]
SizeOf = Callable[[str], float | None]


class LayerError(ValueError):
    """The nouns cannot be written as a valid layer; the message names the intersection or object and the value."""


def build(
    intersections: Iterable[Intersection],
    objects: Iterable[StreetObject],
    assignments: Mapping[str, str],
    history: Mapping[str, Sequence[ObjectVersion]] | None = None,
    *,
    assumed_size_m: SizeOf | None = None,
    best_images: Mapping[str, str] | None = None,
    image_url: str | None = MAPILLARY_IMAGE_URL,
) -> Json:
    """The FeatureCollection. Objects without an assignment stand at no intersection and are left out.

    ``best_images`` names the image to show for an object; without one it is the last of its evidence. ``image_url`` is a
    template with ``{key}``, or None where the photos have no public page.
    """
    ordered = sorted(intersections, key=lambda junction: junction.id)
    members: dict[str, list[StreetObject]] = {junction.id: [] for junction in ordered}
    if len(members) != len(ordered):
        raise LayerError(f"intersection ids repeat: {_repeated([junction.id for junction in ordered])}")
    seen: set[str] = set()
    for item in sorted(objects, key=lambda item: item.id):
        if item.id in seen:
            raise LayerError(f"object id {item.id!r} appears twice; an id names one object")
        seen.add(item.id)
        home = assignments.get(item.id)
        if home is None:
            continue
        if home not in members:
            raise LayerError(f"object {item.id!r} is assigned to intersection {home!r}, which is not in the layer")
        members[home].append(item)

    def entry(item: StreetObject) -> Json:
        return object_properties(
            item,
            (history or {}).get(item.id, ()),
            assumed_size_m=assumed_size_m(item.class_name) if assumed_size_m else None,
            best_image=(best_images or {}).get(item.id),
            image_url=image_url,
        )

    features = [feature(junction, members[junction.id], entry) for junction in ordered]
    collection: Json = {"type": "FeatureCollection", "features": features}
    if features:
        collection["bbox"] = _join([item["bbox"] for item in features])
    return collection


def feature(junction: Intersection, objects: Sequence[StreetObject], entry: Callable[[StreetObject], Json]) -> Json:
    """One intersection: its area, its objects, and what describes them in the same order."""
    ring = area_ring(junction)
    points = [position(item.lon, item.lat, f"object {item.id!r}") for item in objects]
    return {
        "type": "Feature",
        "id": junction.id,
        "bbox": _bbox([*ring, *points]),
        "geometry": {
            "type": "GeometryCollection",
            "geometries": [
                {"type": "Polygon", "coordinates": [ring]},
                *({"type": "Point", "coordinates": point} for point in points),
            ],
        },
        "properties": {
            "id": junction.id,
            "name": junction.name,
            "kind": junction.kind,
            "arms": junction.arms,
            "source": junction.source,
            "speed_limit_kmh": rounded(junction.speed_limit_kmh, 1, f"speed limit of intersection {junction.id!r}"),
            "centre": position(junction.lon, junction.lat, f"centre of intersection {junction.id!r}"),
            "object_count": sum(item.status == "standing" for item in objects),
            "objects": [entry(item) for item in objects],
        },
    }


def object_properties(
    item: StreetObject,
    versions: Sequence[ObjectVersion] = (),
    *,
    assumed_size_m: float | None = None,
    best_image: str | None = None,
    image_url: str | None = MAPILLARY_IMAGE_URL,
) -> Json:
    """What ``properties.objects[i]`` says of one object."""
    what = f"of object {item.id!r}"
    images = sorted({image_id for image_id, _ in item.evidence})
    image_key = best_image or (images[-1] if images else None)
    return {
        "id": item.id,
        "class": item.class_name,
        "object_type": object_type(item.class_name),
        "assumed_size_m": None if assumed_size_m is None else rounded(assumed_size_m, 3, f"assumed size {what}"),
        "status": item.status,
        "standing_probability": rounded(item.standing_probability, 4, f"standing probability {what}"),
        "first_seen_at": instant(item.first_seen_at),
        "last_seen_at": instant(item.last_seen_at),
        "ended_at": None if item.ended_at is None else instant(item.ended_at),
        "began_after": None if item.began_after is None else instant(item.began_after),
        "absences": [{name: instant(getattr(one, name)) for name in ABSENCE} for one in item.absences],
        "replaced_by": item.replaced_by,
        "error_radius_m": rounded(item.error_radius_m, 2, f"error radius {what}"),
        "facing_deg": None if item.facing_deg is None else rounded(item.facing_deg, 1, f"facing {what}") % 360.0,
        "height_m": None if item.height_m is None else rounded(item.height_m, 2, f"height {what}"),
        "image_key": image_key,
        "image_url": None if image_url is None or image_key is None else image_url.format(key=image_key),
        "image_count": len(images),
        "evidence": images,
        "missed_in": list(item.misses),
        "history": valid_time_states(item, versions),
        "method": item.method or None,
        "model": item.model_key or None,
    }


def valid_time_states(item: StreetObject, versions: Sequence[ObjectVersion] = ()) -> list[Json]:
    """The states an object went through, oldest first, the last one being the present.

    Versions are kept by system time; only their order is used here. Neighbours of one class and status tell one story, of which
    the later knows more, so the later stays; ``reason`` says why the first of them was believed (None: no version tells).
    """
    believed = sorted(versions, key=lambda version: version.known_from)
    states: list[Json] = []
    for known, reason in [*((version.object, version.reason) for version in believed), (item, None)]:
        state = {
            "class": known.class_name,
            "status": known.status,
            "first_seen_at": instant(known.first_seen_at),
            "last_seen_at": instant(known.last_seen_at),
            "ended_at": None if known.ended_at is None else instant(known.ended_at),
            "reason": reason,
        }
        if states and (states[-1]["class"], states[-1]["status"]) == (state["class"], state["status"]):
            state["reason"] = states.pop()["reason"]
        states.append(state)
    return states


def object_type(class_name: str) -> str:
    return "traffic light" if class_name.startswith("object--traffic-light") else "traffic sign"


def area_ring(junction: Intersection) -> list[list[float]]:
    """The exterior ring as RFC 7946 section 3.1.6 wants it: closed, counter-clockwise, no repeated neighbours."""
    what = f"area of intersection {junction.id!r}"
    ring: list[list[float]] = []
    for lon, lat in junction.area:
        point = position(lon, lat, what)
        if not ring or point != ring[-1]:
            ring.append(point)
    if ring and ring[0] != ring[-1]:
        ring.append(list(ring[0]))
    if len(ring) < 4:
        raise LayerError(f"{what} has {len(ring)} positions after rounding; a closed ring needs 4")
    polygon = shapely.Polygon(ring)
    if not polygon.is_valid:
        raise LayerError(f"{what} is not a valid polygon: {shapely.is_valid_reason(polygon)}")
    return ring if polygon.exterior.is_ccw else ring[::-1]


def position(lon: float, lat: float, what: str) -> list[float]:
    point = [rounded(lon, COORDINATE_DECIMALS, what), rounded(lat, COORDINATE_DECIMALS, what)]
    if not (-180.0 <= point[0] <= 180.0 and -90.0 <= point[1] <= 90.0):
        raise LayerError(f"{what} is at lon {lon}, lat {lat}, which is outside WGS84 (areas across 180 degrees must be split)")
    return point


def rounded(value: float, decimals: int, what: str) -> float:
    if not math.isfinite(value):
        raise LayerError(f"{what} is {value}, which JSON cannot hold")
    return round(float(value), decimals) + 0.0  # + 0.0 turns -0.0 into 0.0


def instant(moment: datetime) -> str:
    """ISO 8601, UTC, whole seconds: of one width, so that text order is time order."""
    if moment.tzinfo is None:
        raise LayerError(f"instant {moment.isoformat()} has no time zone; instants are timezone-aware UTC")
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def distance_m(a: Sequence[float], b: Sequence[float]) -> float:
    """Between two ``(lon, lat)`` a few metres apart, on the sphere of mean radius."""
    north = math.radians(b[1] - a[1])
    east = math.radians(b[0] - a[0]) * math.cos(math.radians((a[1] + b[1]) / 2))
    return EARTH_RADIUS_M * math.hypot(north, east)


def dump_layer(collection: Json) -> bytes:
    """Canonical bytes of the collection, one Feature a line."""
    head = {key: value for key, value in collection.items() if key not in ("type", "features")}
    lines = ",\n".join(_compact(item) for item in collection["features"])
    members = "".join(f'"{key}":{_compact(value)},\n' for key, value in sorted(head.items()))
    return ('{"type":"FeatureCollection",\n' + members + '"features":[\n' + lines + "\n]}\n").encode()


def dump(document: Json) -> bytes:
    """Canonical bytes of a small document, for people to read too."""
    return (json.dumps(document, ensure_ascii=False, allow_nan=False, sort_keys=True, indent=1) + "\n").encode()


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":"))


def _bbox(points: Sequence[Sequence[float]]) -> list[float]:
    lons, lats = [point[0] for point in points], [point[1] for point in points]
    return [min(lons), min(lats), max(lons), max(lats)]


def _join(boxes: Sequence[Sequence[float]]) -> list[float]:
    return _bbox([corner for box in boxes for corner in (box[:2], box[2:])])


def _repeated(ids: Sequence[str]) -> list[str]:
    return sorted({item for item in ids if ids.count(item) > 1})[:5]

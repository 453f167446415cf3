"""Reading: rows of the database as nouns, in an order that depends on nothing but the data (not on the collation)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, get_args

from sqlalchemy import ARRAY, Connection, DateTime, Row, Select, Subquery, Table, Text, any_, exists, func, literal, select
from sqlalchemy.sql import FromClause
from sqlalchemy.sql.elements import ColumnElement

from kryss.model import (
    Detection,
    Image,
    Intersection,
    Lineage,
    Municipality,
    ObjectStatus,
    ObjectVersion,
    PhotoOutcome,
    PhotoResult,
    RejectedPose,
    Release,
    Sighting,
    StreetObject,
    Survey,
)
from kryss.store import rows, tables
from kryss.store.features import LayerRows, SizeOf
from kryss.store.tables import table

MUNICIPALITY = table(tables.Municipality)
IMAGE = table(tables.Image)
REJECTED_ENTITY = table(tables.RejectedEntity)
PHOTO_RESULT = table(tables.PhotoResult)
REJECTED_POSE = table(tables.RejectedPose)
DETECTION = table(tables.Detection)
SIGHTING = table(tables.Sighting)
OBJECT = table(tables.Object)
OBJECT_VERSION = table(tables.ObjectVersion)
LINEAGE = table(tables.Lineage)
ADOPTED = table(tables.Model)
REMOVED_PHOTO = table(tables.RemovedPhoto)
INTERSECTION = table(tables.Intersection)
INTERSECTION_VERSION = table(tables.IntersectionVersion)
ASSIGNMENT = table(tables.Assignment)
RELEASE = table(tables.Release)
SURVEY = table(tables.Survey)
SURVEYED = table(tables.Surveyed)


def _without(source: Table, *names: str) -> list[ColumnElement[Any]]:
    return [column for column in source.columns if column.name not in names]


def _lon_lat(point: ColumnElement[Any]) -> list[ColumnElement[Any]]:
    return [func.ST_X(point).label("lon"), func.ST_Y(point).label("lat")]


def _wkb(column: ColumnElement[Any], label: str) -> ColumnElement[Any]:
    return func.ST_AsBinary(column, type_=tables.RAW_BYTES).label(label)


def _believed(source: FromClause, known: datetime | None) -> ColumnElement[bool]:
    """Rows that are believed now, or were at an instant of system time."""
    if known is None:
        return source.c.known_to.is_(None) if "known_to" in source.c else func.upper_inf(source.c.system)
    return source.c.system.bool_op("@>")(literal(rows.instant(known), DateTime(timezone=True)))


class Reader:
    """Reads of one transaction. ``known``: an instant of system time whose beliefs to read; None for today's."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def _rows(self, query: Select[Any]) -> list[Row[Any]]:
        return list(self._connection.execute(query))

    def municipality(self, code: str) -> Municipality | None:
        query = select(*_without(MUNICIPALITY, "boundary"), _wkb(MUNICIPALITY.c.boundary, "boundary_wkb"))
        found = self._rows(query.where(MUNICIPALITY.c.code == code))
        return rows.to_municipality(found[0]) if found else None

    def images(self, code: str) -> list[Image]:
        """By capture time, then id."""
        return self._images(select(*_without(IMAGE, "geom")).where(IMAGE.c.code == code))

    def looks(self, code: str, model_key: str) -> list[Image]:
        """The images that the model has looked at, whether it saw something or not. By capture time, then id."""
        looked = (PHOTO_RESULT.c.code == IMAGE.c.code) & (PHOTO_RESULT.c.image_id == IMAGE.c.id)
        query = select(*_without(IMAGE, "geom")).join(PHOTO_RESULT, looked)
        return self._images(
            query.where(IMAGE.c.code == code, PHOTO_RESULT.c.model_key == model_key, PHOTO_RESULT.c.outcome == "ok")
        )

    def _effective(self, code: str, prefer: str | None) -> Subquery:
        """``image_id, model_key`` of each photo that was looked at: whose word is taken. That is ``prefer``'s if it has looked at
        the photo, else that of the model adopted last of those that have."""
        looked = (ADOPTED.c.code == PHOTO_RESULT.c.code) & (ADOPTED.c.model_key == PHOTO_RESULT.c.model_key)
        return (
            select(PHOTO_RESULT.c.image_id, PHOTO_RESULT.c.model_key)
            .join(ADOPTED, looked)
            .where(PHOTO_RESULT.c.code == code, PHOTO_RESULT.c.outcome == "ok")
            .distinct(PHOTO_RESULT.c.image_id)
            .order_by(
                PHOTO_RESULT.c.image_id,
                func.coalesce(PHOTO_RESULT.c.model_key == prefer, False).desc(),
                ADOPTED.c.adopted_at.desc(),
                PHOTO_RESULT.c.model_key.collate("C").desc(),
            )
            .subquery()
        )

    def effective_models(self, code: str, prefer: str | None) -> dict[str, str]:
        """By photo that was looked at, the model that is believed of it (`_effective`)."""
        effective = self._effective(code, prefer)
        return dict(
            sorted((row.image_id, row.model_key) for row in self._rows(select(effective.c.image_id, effective.c.model_key)))
        )

    def effective_looks(self, code: str, prefer: str | None) -> dict[str, list[Image]]:
        """Every photo that was looked at, once, under the model that is believed of it (`_effective`): by model key, then by
        capture time and id."""
        effective = self._effective(code, prefer)
        query = select(*_without(IMAGE, "geom"), effective.c.model_key).join(effective, IMAGE.c.id == effective.c.image_id)
        found: dict[str, list[Image]] = {}
        for row in self._rows(query.where(IMAGE.c.code == code)):
            found.setdefault(row.model_key, []).append(rows.to_image(row))
        return {key: sorted(found[key], key=lambda image: (image.captured_at, image.id)) for key in sorted(found)}

    def effective_sightings(self, code: str, prefer: str | None) -> list[Sighting]:
        """The sightings of each photo by the model that is believed of it. By capture time, then image id, then ordinal."""
        effective = self._effective(code, prefer)
        believed = (SIGHTING.c.image_id == effective.c.image_id) & (SIGHTING.c.model_key == effective.c.model_key)
        query = select(*_without(SIGHTING, "geom"), *_lon_lat(SIGHTING.c.geom)).join(effective, believed)
        return self._sightings(query.where(SIGHTING.c.code == code))

    def _images(self, query: Select[Any]) -> list[Image]:
        found = [rows.to_image(row) for row in self._rows(query)]
        return sorted(found, key=lambda image: (image.captured_at, image.id))

    def rejected_entities(self, code: str) -> dict[str, str]:
        """Reasons by image id."""
        query = select(REJECTED_ENTITY.c.image_id, REJECTED_ENTITY.c.reason).where(REJECTED_ENTITY.c.code == code)
        return dict(sorted((row.image_id, row.reason) for row in self._rows(query)))

    def photo_results(self, code: str, model_key: str) -> list[PhotoResult]:
        """By image id."""
        query = select(PHOTO_RESULT).where(PHOTO_RESULT.c.code == code, PHOTO_RESULT.c.model_key == model_key)
        return sorted((rows.to_photo_result(row) for row in self._rows(query)), key=lambda result: result.image_id)

    def image_states(self, code: str, model_key: str) -> dict[str, tuple[str, int]]:
        """Outcome and number of attempts, by image id."""
        columns = PHOTO_RESULT.c.image_id, PHOTO_RESULT.c.outcome, PHOTO_RESULT.c.attempts
        query = select(*columns).where(PHOTO_RESULT.c.code == code, PHOTO_RESULT.c.model_key == model_key)
        return dict(sorted((row.image_id, (row.outcome, row.attempts)) for row in self._rows(query)))

    def rejected_poses(self, code: str) -> list[RejectedPose]:
        """By image id, then origin."""
        found = [rows.to_rejected_pose(row) for row in self._rows(select(REJECTED_POSE).where(REJECTED_POSE.c.code == code))]
        return sorted(found, key=lambda pose: (pose.image_id, pose.origin))

    def detections(self, code: str, model_key: str, image_ids: Collection[str] | None = None) -> list[Detection]:
        """Of these images, or of all. By image id, then ordinal."""
        query = select(DETECTION).where(DETECTION.c.code == code, DETECTION.c.model_key == model_key)
        if image_ids is not None:
            query = query.where(DETECTION.c.image_id == any_(literal(sorted(image_ids), ARRAY(Text))))
        found = [rows.to_detection(row) for row in self._rows(query)]
        return sorted(found, key=lambda detection: (detection.image_id, detection.ordinal))

    def sightings(self, code: str, model_key: str) -> list[Sighting]:
        """By capture time, then image id, then ordinal."""
        query = select(*_without(SIGHTING, "geom"), *_lon_lat(SIGHTING.c.geom))
        return self._sightings(query.where(SIGHTING.c.code == code, SIGHTING.c.model_key == model_key))

    def _sightings(self, query: Select[Any]) -> list[Sighting]:
        found = [rows.to_sighting(row) for row in self._rows(query)]
        return sorted(found, key=lambda sighting: (sighting.captured_at, sighting.image_id, sighting.ordinal))

    def objects(self, code: str, known: datetime | None = None) -> list[StreetObject]:
        """What is believed of every object, the ended ones too. By id."""
        return [rows.to_object(row) for row in self._object_versions(code, _believed(OBJECT_VERSION, known))]

    def objects_as_of(self, code: str, valid: datetime, known: datetime | None = None) -> list[StreetObject]:
        """The objects that stood at an instant of capture time. By id."""
        stood = OBJECT_VERSION.c.valid.bool_op("@>")(literal(rows.instant(valid), DateTime(timezone=True)))
        return [rows.to_object(row) for row in self._object_versions(code, _believed(OBJECT_VERSION, known), stood)]

    def object_ids(self, code: str) -> set[str]:
        """Every id ever given to an object."""
        return {row.id for row in self._rows(select(OBJECT.c.id).where(OBJECT.c.code == code))}

    def lineage(self, code: str) -> list[Lineage]:
        """Every event in the life of an id. By system time, then id, relation and other id."""
        found = [rows.to_lineage(row) for row in self._rows(select(LINEAGE).where(LINEAGE.c.code == code))]
        return sorted(found, key=lambda event: (event.known_at, event.object_id, event.relation, event.other_id or ""))

    def withdrawn_objects(self, code: str) -> list[StreetObject]:
        """The last belief about each object that is believed no more. By id."""
        now = OBJECT_VERSION.alias()
        is_believed = exists().where(now.c.code == code, now.c.object_id == OBJECT_VERSION.c.object_id, _believed(now, None))
        last = {row.object_id: row for row in self._object_versions(code, ~is_believed)}
        return [rows.to_object(row) for row in last.values()]

    def image_ids(self, code: str) -> set[str]:
        """Of all photos that are known."""
        return {row.id for row in self._rows(select(IMAGE.c.id).where(IMAGE.c.code == code))}

    def removed_images(self, code: str) -> dict[str, str]:
        """Reasons (``deleted``, ``takedown``) by image id."""
        query = select(REMOVED_PHOTO.c.image_id, REMOVED_PHOTO.c.reason).where(REMOVED_PHOTO.c.code == code)
        return dict(sorted((row.image_id, row.reason) for row in self._rows(query)))

    def object_history(self, code: str) -> dict[str, list[ObjectVersion]]:
        """Every belief about every object, by id, then by system time."""
        history: dict[str, list[ObjectVersion]] = {}
        for row in self._object_versions(code):
            version = ObjectVersion(rows.to_object(row), row.known_from, row.known_to, row.reason)
            history.setdefault(row.object_id, []).append(version)
        return history

    def _object_versions(self, code: str, *conditions: ColumnElement[bool]) -> list[Row[Any]]:
        source = OBJECT_VERSION
        clock = func.lower(source.c.system).label("known_from"), func.upper(source.c.system).label("known_to")
        query = select(*_without(source, "geom", "valid", "system", "follows", "known_to"), *_lon_lat(source.c.geom), *clock)
        found = self._rows(query.where(source.c.code == code, *conditions))
        return sorted(found, key=lambda row: (row.object_id, row.known_from, row.first_seen_at))

    def intersections(self, code: str, known: datetime | None = None) -> list[Intersection]:
        """By id."""
        return self._intersections(self._intersection_versions(code).where(_believed(INTERSECTION_VERSION, known)))

    def intersections_ever(self, code: str) -> list[Intersection]:
        """Every junction that was ever known, withdrawn ones too, each as it was last believed. By id."""
        source = INTERSECTION_VERSION
        last = (source.c.intersection_id, func.lower(source.c.system).desc())
        return self._intersections(self._intersection_versions(code).distinct(last[0]).order_by(*last))

    def _intersection_versions(self, code: str) -> Select[Any]:
        source = INTERSECTION_VERSION
        shapes = [_wkb(source.c[name], f"{name}_wkb") for name in ("area", "reach", "approaches")]
        plain = _without(source, "center", "area", "reach", "approaches", "valid", "system")
        return select(*plain, *_lon_lat(source.c.center), *shapes).where(source.c.code == code)

    def _intersections(self, query: Select[Any]) -> list[Intersection]:
        return sorted((rows.to_intersection(row) for row in self._rows(query)), key=lambda intersection: intersection.id)

    def assignments(self, code: str, known: datetime | None = None) -> dict[str, str]:
        """Junction ids by object id."""
        columns = ASSIGNMENT.c.object_id, ASSIGNMENT.c.intersection_id
        found = self._rows(select(*columns).where(ASSIGNMENT.c.code == code, _believed(ASSIGNMENT, known)))
        return dict(sorted((row.object_id, row.intersection_id) for row in found))

    def surveys(self, code: str) -> list[Survey]:
        """By day, then source."""
        things: dict[str, list[Row[Any]]] = {}
        columns = [column for column in SURVEYED.columns if column.name != "geom"]
        for row in self._rows(select(*columns, *_lon_lat(SURVEYED.c.geom)).where(SURVEYED.c.code == code)):
            things.setdefault(row.survey_id, []).append(row)
        found = [rows.to_survey(row, things.get(row.id, [])) for row in self._rows(select(SURVEY).where(SURVEY.c.code == code))]
        return sorted(found, key=lambda survey: (survey.surveyed_at, survey.source))

    def releases(self, code: str) -> list[Release]:
        """In the order in which they were recorded."""
        return [rows.to_release(row) for row in self._releases(code)]

    def release_instants(self, code: str) -> dict[str, datetime]:
        """By release name, the instant of system time whose beliefs it holds: give it as ``known`` to rebuild the release."""
        return {row.name: row.system_at for row in self._releases(code)}

    def release_inputs(self, code: str) -> dict[str, tuple[datetime, dict[str, Any]]]:
        """By release name, the instant of `release_instants` and what else the release is made from; of releases of before that
        was kept, an empty dict."""
        return {row.name: (row.system_at, row.inputs) for row in self._releases(code)}

    def _releases(self, code: str) -> list[Row[Any]]:
        found = self._rows(select(RELEASE).where(RELEASE.c.code == code))
        return sorted(found, key=lambda row: (row.system_at, row.name[:10], len(row.name), row.name))

    def newest(self, code: str) -> datetime | None:
        """The instant of system time of the last change to the municipality; None: there never was one. What is believed then is
        what is believed now."""
        return self._connection.scalar(select(MUNICIPALITY.c.system_at).where(MUNICIPALITY.c.code == code))

    def removed_since(self, code: str, instant: datetime) -> int:
        """How many photos had to go after an instant of system time."""
        return self._count(REMOVED_PHOTO, code, REMOVED_PHOTO.c.removed_at > rows.instant(instant))

    def layer(self, code: str, known: datetime | None = None, *, sizes: SizeOf, image_url: str | None) -> LayerRows:
        """The layer as JSON text, streamed. ``sizes``: height in metres that a class is assumed to have; ``image_url``: template
        of a photo's page with ``{key}``, None where the photos have none."""
        newest = self.newest(code)
        return LayerRows(self._connection, code, known, newest, sizes=sizes, image_url=image_url)

    def summary(self, code: str) -> dict[str, int]:
        """Row counts for the report and the doctor."""
        counts = {
            "images": self._count(IMAGE, code),
            "rejected_entities": self._count(REJECTED_ENTITY, code),
            **{
                f"photos_{key}": number for key, number in self._by(PHOTO_RESULT, "outcome", get_args(PhotoOutcome), code).items()
            },
            "rejected_poses": self._count(REJECTED_POSE, code),
            "detections": self._count(DETECTION, code),
            "sightings": self._count(SIGHTING, code),
            **{
                f"objects_{key}": number
                for key, number in self._by(OBJECT_VERSION, "status", get_args(ObjectStatus), code).items()
            },
            "object_versions": self._count(OBJECT_VERSION, code),
            "intersections": self._count(INTERSECTION_VERSION, code, _believed(INTERSECTION_VERSION, None)),
            "assignments": self._count(ASSIGNMENT, code, _believed(ASSIGNMENT, None)),
            "releases": self._count(RELEASE, code),
        }
        return counts

    def _count(self, source: Table, code: str, *conditions: ColumnElement[bool]) -> int:
        return self._connection.scalar(select(func.count()).select_from(source).where(source.c.code == code, *conditions)) or 0

    def _by(self, source: Table, column: str, values: Sequence[str], code: str) -> dict[str, int]:
        query = select(source.c[column].label("value"), func.count().label("rows")).where(source.c.code == code)
        if "system" in source.c:
            query = query.where(_believed(source, None))
        counted = {row.value: row.rows for row in self._rows(query.group_by(source.c[column]))}
        return {value: counted.get(value, 0) for value in values}

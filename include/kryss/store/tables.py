"""The tables of the schema ``kryss`` as SQLAlchemy 2 and GeoAlchemy2 models.

``sql/migrations`` makes the tables and documents every column; these models describe the same tables for queries and for the
merges of `kryss.store.merge`. A test builds a database from each and compares the catalogues, so neither can drift.
"""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any, ClassVar

from geoalchemy2 import Geometry, WKBElement
from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Computed,
    DateTime,
    Float,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, TSTZMULTIRANGE, TSTZRANGE, ExcludeConstraint, MultiRange, Range
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

SCHEMA = "kryss"
SRID = 4326
RAW_BYTES = LargeBinary()


class Base(DeclarativeBase):
    """All tables of Kryss."""

    metadata = MetaData(schema=SCHEMA)
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        str: Text(),
        datetime: DateTime(timezone=True),
        float: Float(53),
        uuid.UUID: Uuid(as_uuid=False),
        dict[str, Any]: JSONB(),
        list[str]: ARRAY(Text()),
        list[float]: ARRAY(Float(53)),
        list[int]: ARRAY(Integer()),
        list[datetime]: ARRAY(DateTime(timezone=True)),
        Range[datetime]: TSTZRANGE(),
        MultiRange[datetime]: TSTZMULTIRANGE(),
    }


def _point(nullable: bool = False) -> Any:
    return mapped_column(Geometry("POINT", srid=SRID, spatial_index=False), nullable=nullable)


def _polygon(nullable: bool = False) -> Any:
    return mapped_column(Geometry("POLYGON", srid=SRID, spatial_index=False), nullable=nullable)


def _system() -> Any:
    return mapped_column(server_default=text("tstzrange(now(), NULL, '[)')"))


def _references(parent: str, *columns: str, to: tuple[str, ...], cascade: bool = False) -> ForeignKeyConstraint:
    targets = [f"{SCHEMA}.{parent}.{column}" for column in to]
    return ForeignKeyConstraint(columns, targets, ondelete="CASCADE" if cascade else None)


def _of_municipality() -> ForeignKeyConstraint:
    return _references("municipality", "code", to=("code",))


def _of_image() -> ForeignKeyConstraint:
    return _references("image", "code", "image_id", to=("code", "id"), cascade=True)


def _never_overlapping(*same: str, overlapping: tuple[str, ...]) -> ExcludeConstraint:
    elements: list[tuple[Column[Any], str]] = [
        *((Column(name), "=") for name in same),
        *((Column(name), "&&") for name in overlapping),
    ]
    return ExcludeConstraint(*elements, using="gist")


def _current_index(name: str, *columns: str) -> Index:
    return Index(name, *columns, postgresql_where=text("upper_inf(system)"))


class Municipality(Base):
    __tablename__ = "municipality"
    code: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    country: Mapped[str]
    boundary: Mapped[WKBElement] = mapped_column(Geometry("MULTIPOLYGON", srid=SRID, spatial_index=False), nullable=False)
    system_at: Mapped[datetime | None]


class Image(Base):
    __tablename__ = "image"
    code: Mapped[str] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(primary_key=True)
    sequence_id: Mapped[str]
    captured_at: Mapped[datetime]
    width: Mapped[int]
    height: Mapped[int]
    camera_type: Mapped[str]
    camera_parameters: Mapped[list[float] | None]
    exif_orientation: Mapped[int] = mapped_column(SmallInteger)
    is_pano: Mapped[bool] = mapped_column(Boolean)
    make: Mapped[str | None]
    model: Mapped[str | None]
    creator: Mapped[str | None]
    gps: Mapped[dict[str, Any] | None]
    sfm: Mapped[dict[str, Any] | None]
    geom: Mapped[WKBElement | None] = _point(nullable=True)
    __table_args__ = (
        _of_municipality(),
        CheckConstraint("width > 0"),
        CheckConstraint("height > 0"),
        CheckConstraint("exif_orientation BETWEEN 1 AND 8"),
        Index("image_geom_idx", "geom", postgresql_using="gist"),
        Index(
            "image_captured_at_idx",
            text("captured_at timestamptz_minmax_multi_ops"),
            postgresql_using="brin",
            postgresql_with={"pages_per_range": 16},
        ),
    )


class RejectedEntity(Base):
    __tablename__ = "rejected_entity"
    code: Mapped[str] = mapped_column(primary_key=True)
    image_id: Mapped[str] = mapped_column(primary_key=True)
    reason: Mapped[str]
    __table_args__ = (_of_municipality(),)


class PhotoResult(Base):
    __tablename__ = "photo_result"
    code: Mapped[str] = mapped_column(primary_key=True)
    image_id: Mapped[str] = mapped_column(primary_key=True)
    model_key: Mapped[str] = mapped_column(primary_key=True)
    outcome: Mapped[str]
    reason: Mapped[str | None]
    attempts: Mapped[int]
    detections: Mapped[int]
    __table_args__ = (
        _of_image(),
        CheckConstraint("outcome IN ('ok', 'failed', 'gone')"),
        CheckConstraint("attempts > 0"),
        CheckConstraint("detections >= 0"),
    )


class RejectedPose(Base):
    __tablename__ = "rejected_pose"
    code: Mapped[str] = mapped_column(primary_key=True)
    image_id: Mapped[str] = mapped_column(primary_key=True)
    origin: Mapped[str] = mapped_column(primary_key=True)
    reason: Mapped[str]
    __table_args__ = (_of_image(), CheckConstraint("origin IN ('sfm', 'gps')"))


class Detection(Base):
    __tablename__ = "detection"
    code: Mapped[str] = mapped_column(primary_key=True)
    image_id: Mapped[str] = mapped_column(primary_key=True)
    model_key: Mapped[str] = mapped_column(primary_key=True)
    ordinal: Mapped[int] = mapped_column(primary_key=True)
    class_name: Mapped[str]
    score: Mapped[float]
    box: Mapped[list[float]]
    depth: Mapped[float | None]
    __table_args__ = (_of_image(), CheckConstraint("ordinal >= 0"), CheckConstraint("cardinality(box) = 4"))


class Sighting(Base):
    __tablename__ = "sighting"
    code: Mapped[str] = mapped_column(primary_key=True)
    image_id: Mapped[str] = mapped_column(primary_key=True)
    model_key: Mapped[str] = mapped_column(primary_key=True)
    ordinal: Mapped[int] = mapped_column(primary_key=True)
    sequence_id: Mapped[str]
    captured_at: Mapped[datetime]
    class_name: Mapped[str]
    score: Mapped[float]
    camera_lon: Mapped[float]
    camera_lat: Mapped[float]
    camera_sigma_m: Mapped[float]
    pose_origin: Mapped[str]
    bearing_deg: Mapped[float]
    bearing_sigma_deg: Mapped[float]
    range_m: Mapped[float]
    range_sigma_m: Mapped[float]
    range_shared_sigma_m: Mapped[float]
    range_sequence_sigma_m: Mapped[float]
    height_m: Mapped[float | None]
    height_sigma_m: Mapped[float | None]
    method: Mapped[str]
    geom: Mapped[WKBElement] = _point()
    covariance_ee_m2: Mapped[float]
    covariance_en_m2: Mapped[float]
    covariance_nn_m2: Mapped[float]
    __table_args__ = (
        _references(
            "detection",
            "code",
            "image_id",
            "model_key",
            "ordinal",
            to=("code", "image_id", "model_key", "ordinal"),
            cascade=True,
        ),
        CheckConstraint("pose_origin IN ('sfm', 'gps')"),
        Index("sighting_geom_idx", "geom", postgresql_using="gist"),
    )


class Object(Base):
    __tablename__ = "object"
    code: Mapped[str] = mapped_column(primary_key=True)
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    class_name: Mapped[str]
    first_system: Mapped[datetime]
    __table_args__ = (_of_municipality(),)


class ObjectVersion(Base):
    __tablename__ = "object_version"
    version: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    code: Mapped[str]
    object_id: Mapped[uuid.UUID]
    class_name: Mapped[str]
    geom: Mapped[WKBElement] = _point()
    covariance_ee_m2: Mapped[float]
    covariance_en_m2: Mapped[float]
    covariance_nn_m2: Mapped[float]
    error_radius_m: Mapped[float]
    first_seen_at: Mapped[datetime]
    last_seen_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    status: Mapped[str]
    standing_probability: Mapped[float]
    evidence_image_ids: Mapped[list[str]]
    evidence_ordinals: Mapped[list[int]]
    misses: Mapped[list[str]]
    facing_deg: Mapped[float | None]
    height_m: Mapped[float | None]
    height_sigma_m: Mapped[float | None]
    model_key: Mapped[str]
    method: Mapped[str]
    began_after: Mapped[datetime | None]
    gone_after: Mapped[list[datetime] | None]
    gone_by: Mapped[list[datetime] | None]
    back_after: Mapped[list[datetime] | None]
    back_by: Mapped[list[datetime] | None]
    replaced_by: Mapped[uuid.UUID | None]
    image_id: Mapped[str | None]
    reason: Mapped[str]
    valid: Mapped[MultiRange[datetime]] = mapped_column(
        Computed(
            "CASE WHEN gone_by IS NULL THEN tstzmultirange(tstzrange(first_seen_at, ended_at, '[)')) "
            "ELSE kryss.valid_time(first_seen_at, ended_at, gone_by, back_by) END",
            persisted=True,
        ),
        nullable=False,
    )
    system: Mapped[Range[datetime]] = _system()
    follows: Mapped[datetime | None]
    known_to: Mapped[datetime | None] = mapped_column(Computed("upper(system)", persisted=True))
    __table_args__ = (
        _references("object", "code", "object_id", to=("code", "id")),
        CheckConstraint("error_radius_m >= 0"),
        CheckConstraint("status IN ('standing', 'unconfirmed', 'ended')"),
        CheckConstraint("standing_probability BETWEEN 0 AND 1"),
        CheckConstraint("last_seen_at >= first_seen_at"),
        CheckConstraint("ended_at > first_seen_at AND ended_at >= last_seen_at"),
        CheckConstraint("(status = 'ended') = (ended_at IS NOT NULL)"),
        CheckConstraint("cardinality(evidence_image_ids) = cardinality(evidence_ordinals)"),
        CheckConstraint("began_after <= first_seen_at"),
        CheckConstraint(
            "cardinality(gone_by) > 0 AND cardinality(gone_after) = cardinality(gone_by) "
            "AND cardinality(back_after) = cardinality(gone_by) AND cardinality(back_by) = cardinality(gone_by)"
        ),
        CheckConstraint("num_nulls(gone_after, gone_by, back_after, back_by) IN (0, 4)"),
        CheckConstraint("gone_after[1] >= first_seen_at AND back_by[cardinality(back_by)] <= last_seen_at"),
        CheckConstraint("replaced_by IS NULL OR status = 'ended'"),
        CheckConstraint("reason IN ('street', 'evidence', 'model')"),
        CheckConstraint("lower_inc(system) AND NOT upper_inc(system)"),
        CheckConstraint("follows <= lower(system)"),
        UniqueConstraint("known_to", "code", "object_id"),
        _references("object_version", "code", "follows", "object_id", to=("code", "known_to", "object_id")),
        Index(
            "object_version_follows_idx", "object_id", "code", text("COALESCE(follows, '-infinity'::timestamptz)"), unique=True
        ),
        Index("object_version_geom_idx", "geom", postgresql_using="gist", postgresql_where=text("known_to IS NULL")),
        Index(
            "object_version_past_geom_idx",
            "geom",
            "system",
            postgresql_using="gist",
            postgresql_where=text("NOT upper_inf(system)"),
        ),
        Index("object_version_opened_idx", text("lower(system)")),
    )


class Lineage(Base):
    __tablename__ = "lineage"
    event: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    code: Mapped[str]
    object_id: Mapped[uuid.UUID]
    relation: Mapped[str]
    other_id: Mapped[uuid.UUID | None]
    reason: Mapped[str]
    system_at: Mapped[datetime]
    __table_args__ = (
        _references("object", "code", "object_id", to=("code", "id")),
        _references("object", "code", "other_id", to=("code", "id")),
        CheckConstraint("relation IN ('merged_into', 'split_from', 'lost_evidence', 'unsupported')"),
        CheckConstraint("reason IN ('street', 'evidence', 'model')"),
        CheckConstraint("(relation IN ('merged_into', 'split_from')) = (other_id IS NOT NULL)"),
        Index("lineage_object_idx", "code", "object_id"),
    )


class Model(Base):
    __tablename__ = "model"
    code: Mapped[str] = mapped_column(primary_key=True)
    model_key: Mapped[str] = mapped_column(primary_key=True)
    adopted_at: Mapped[datetime]
    __table_args__ = (_of_municipality(),)


class Load(Base):
    __tablename__ = "load"
    code: Mapped[str] = mapped_column(primary_key=True)
    system_at: Mapped[datetime] = mapped_column(primary_key=True)
    code_version: Mapped[str]
    run: Mapped[str | None]
    __table_args__ = (_of_municipality(),)


class RemovedPhoto(Base):
    __tablename__ = "removed_photo"
    code: Mapped[str] = mapped_column(primary_key=True)
    image_id: Mapped[str] = mapped_column(primary_key=True)
    reason: Mapped[str]
    removed_at: Mapped[datetime]
    __table_args__ = (_of_municipality(), CheckConstraint("reason IN ('deleted', 'takedown')"))


class Intersection(Base):
    __tablename__ = "intersection"
    code: Mapped[str] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(primary_key=True)
    source: Mapped[str]
    first_system: Mapped[datetime]
    __table_args__ = (_of_municipality(),)


class IntersectionVersion(Base):
    __tablename__ = "intersection_version"
    version: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    code: Mapped[str]
    intersection_id: Mapped[str]
    source: Mapped[str]
    center: Mapped[WKBElement] = _point()
    area: Mapped[WKBElement] = _polygon()
    speed_limit_kmh: Mapped[float]
    name: Mapped[str | None]
    kind: Mapped[str | None]
    arms: Mapped[int | None]
    members: Mapped[list[str]]
    reach: Mapped[WKBElement | None] = _polygon(nullable=True)
    approaches: Mapped[WKBElement | None] = mapped_column(
        Geometry("MULTILINESTRING", srid=SRID, spatial_index=False), nullable=True
    )
    area_method: Mapped[str]
    valid: Mapped[Range[datetime]] = mapped_column(server_default=text("tstzrange(NULL, NULL)"))
    system: Mapped[Range[datetime]] = _system()
    __table_args__ = (
        _references("intersection", "code", "intersection_id", to=("code", "id")),
        CheckConstraint("ST_IsValid(area)"),
        CheckConstraint("ST_IsValid(reach)"),
        CheckConstraint("area_method IN ('square', 'arms')"),
        CheckConstraint("speed_limit_kmh > 0"),
        CheckConstraint("NOT isempty(valid)"),
        CheckConstraint("NOT isempty(system)"),
        _never_overlapping("code", "intersection_id", overlapping=("valid", "system")),
        _current_index("intersection_version_current_idx", "code", "intersection_id"),
        Index("intersection_version_area_idx", "area", postgresql_using="gist"),
    )


class Assignment(Base):
    __tablename__ = "assignment"
    assignment: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    code: Mapped[str]
    object_id: Mapped[uuid.UUID]
    intersection_id: Mapped[str]
    system: Mapped[Range[datetime]] = _system()
    __table_args__ = (
        _references("object", "code", "object_id", to=("code", "id")),
        _references("intersection", "code", "intersection_id", to=("code", "id")),
        CheckConstraint("NOT isempty(system)"),
        _never_overlapping("code", "object_id", overlapping=("system",)),
        _current_index("assignment_current_idx", "code", "object_id"),
        _current_index("assignment_intersection_idx", "code", "intersection_id"),
    )


class Survey(Base):
    __tablename__ = "survey"
    code: Mapped[str] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(primary_key=True)
    source: Mapped[str]
    surveyed_at: Mapped[datetime]
    accuracy_m: Mapped[float]
    complete: Mapped[bool] = mapped_column(Boolean)
    rejected: Mapped[dict[str, Any]]
    __table_args__ = (_of_municipality(), CheckConstraint("accuracy_m > 0"))


class Surveyed(Base):
    __tablename__ = "surveyed"
    code: Mapped[str] = mapped_column(primary_key=True)
    survey_id: Mapped[str] = mapped_column(primary_key=True)
    line: Mapped[int] = mapped_column(primary_key=True)
    class_name: Mapped[str]
    facing_deg: Mapped[float | None]
    name: Mapped[str | None]
    geom: Mapped[WKBElement] = _point()
    __table_args__ = (
        _references("survey", "code", "survey_id", to=("code", "id"), cascade=True),
        CheckConstraint("line > 0"),
        CheckConstraint("facing_deg >= 0 AND facing_deg < 360"),
    )


class Release(Base):
    __tablename__ = "release"
    code: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    url: Mapped[str]
    sha256: Mapped[str]
    intersections: Mapped[int]
    objects: Mapped[int]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    system_at: Mapped[datetime]
    previous: Mapped[str | None]
    inputs: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))
    __table_args__ = (_of_municipality(), CheckConstraint("intersections >= 0"), CheckConstraint("objects >= 0"))


class Verdict(Base):
    __tablename__ = "verdict"
    code: Mapped[str] = mapped_column(primary_key=True)
    object_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    release: Mapped[str] = mapped_column(primary_key=True)
    class_name: Mapped[str]
    verdict: Mapped[str]
    note: Mapped[str | None]
    judged_by: Mapped[str] = mapped_column(primary_key=True)
    judged_at: Mapped[datetime] = mapped_column(server_default=func.now())
    __table_args__ = (
        _references("object", "code", "object_id", to=("code", "id")),
        CheckConstraint("verdict IN ('right', 'wrong', 'unsure')"),
    )


def table(model: type[Base]) -> Table:
    """The Core table of a model."""
    found = model.__table__
    assert isinstance(found, Table)
    return found

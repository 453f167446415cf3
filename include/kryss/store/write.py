"""Writing: one transaction of one municipality. All of it is kept, or nothing."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any, Literal, TypeVar

from sqlalchemy import Connection, CursorResult, Table, select, text
from sqlalchemy.dialects.postgresql import insert

from kryss import __version__
from kryss.model import (
    Detection,
    Image,
    Intersection,
    Lineage,
    Municipality,
    PhotoResult,
    Reason,
    RejectedPose,
    Release,
    Sighting,
    StreetObject,
    Survey,
)
from kryss.store import read, rows
from kryss.store.copying import encode, lines_of
from kryss.store.errors import UnknownMunicipality
from kryss.store.merge import (
    Counts,
    Versioned,
    merge_set,
    merge_versions,
    undo_versions,
    written_columns,
)
from kryss.store.read import Reader
from kryss.store.tables import Base

OBJECTS = Versioned(read.OBJECT_VERSION, "object_id", read.OBJECT, ("class_name",))
INTERSECTIONS = Versioned(read.INTERSECTION_VERSION, "intersection_id", read.INTERSECTION, ("source",))
ASSIGNMENTS = Versioned(read.ASSIGNMENT, "object_id")


class Tx(Reader):
    """Reads and writes of one municipality, under its lock. Made by `Store.transaction`."""

    def __init__(self, connection: Connection, code: str, run: str | None = None) -> None:
        super().__init__(connection)
        self.code = code
        self.run = run
        self._system_at: datetime | None = None
        self._written: set[str] = set()

    def upsert_municipality(self, municipality: Municipality) -> int:
        """Rows written: 1, or 0 where nothing changed."""
        self._own(municipality.code)
        return merge_set(self._connection, read.MUNICIPALITY, [rows.municipality_row(municipality)])

    def load(
        self,
        *,
        model_key: str | None = None,
        images: Iterable[Image] = (),
        rejected_entities: Mapping[str, str] | None = None,
        results: Iterable[PhotoResult] = (),
        attempts: Mapping[str, int] | None = None,
        detections: Iterable[Detection] | None = None,
        sightings: Iterable[Sighting] | None = None,
        rejected_poses: Iterable[RejectedPose] | None = None,
        placed: Collection[str] | None = None,
    ) -> dict[str, int]:
        """Loads what a run found; returns the rows inserted, updated or deleted, by table. Equal rows are not touched.

        ``model_key`` is needed with results, detections and sightings. ``attempts``: the number of this attempt by image id;
        without it a known result keeps its number and a new one has 1. Detections replace those of the images they are of and of
        every image with an ``ok`` result; sightings and rejected poses replace those of the images ``placed`` (without it: of the
        same images, and of those they are of). A list that is None leaves its table alone. Malformed metadata
        (``rejected_entities``: reason by image id) is forgotten once the image is loaded. What is said of a removed photo is left
        out: a run that began before the removal does not bring it back.
        """
        gone = self.removed_images(self.code).keys()
        by_image = {image.id: image for image in images if image.id not in gone}
        by_result = {result.image_id: result for result in results if result.image_id not in gone}
        found = None if detections is None else _keyed(detections, _detection_key, gone)
        seen = None if sightings is None else _keyed(sightings, _detection_key, gone)
        poses = None if rejected_poses is None else _keyed(rejected_poses, lambda pose: (pose.image_id, pose.origin), gone)
        rejected_entities = {key: reason for key, reason in (rejected_entities or {}).items() if key not in gone}
        self._check_model(model_key, bool(by_result), [*(found or {}).values(), *(seen or {}).values()])

        looked = {result.image_id for result in by_result.values() if result.outcome == "ok"}
        looked |= {detection.image_id for detection in (found or {}).values()}
        judged = set(placed) if placed is not None else looked
        written: dict[str, int] = {}
        written["image"] = self._merge(read.IMAGE, (rows.image_row(self.code, image) for image in by_image.values()))
        written["rejected_entity"] = self._load_rejected_entities(rejected_entities, by_image)
        written["photo_result"] = self._load_results(model_key, by_result, attempts or {})
        if model_key is not None and any(result.outcome == "ok" for result in by_result.values()):
            self._adopt(model_key)
        if found is not None:
            scope = {"code": self.code, "model_key": model_key, "image_ids": looked}
            written["detection"] = self._merge(
                read.DETECTION, (rows.detection_row(self.code, detection) for detection in found.values()), scope
            )
        if seen is not None:
            ids = judged | {sighting.image_id for sighting in seen.values()}
            scope = {"code": self.code, "model_key": model_key, "image_ids": ids}
            written["sighting"] = self._merge(
                read.SIGHTING, (rows.sighting_row(self.code, sighting) for sighting in seen.values()), scope
            )
        if poses is not None:
            scope = {"code": self.code, "image_ids": judged | {pose.image_id for pose in poses.values()}}
            written["rejected_pose"] = self._merge(
                read.REJECTED_POSE, (rows.rejected_pose_row(self.code, pose) for pose in poses.values()), scope
            )
        return written

    def write_objects(
        self,
        code: str,
        objects: Iterable[StreetObject],
        *,
        reasons: Mapping[str, Reason] | None = None,
        lineage: Iterable[Lineage] = (),
    ) -> Counts:
        """Makes these the beliefs about objects: all of them. What is not among them is withdrawn, its id stays registered.

        ``reasons``: why, by object id, a version is written if it differs from what was believed; else ``evidence``.
        ``lineage``: what became of ids; an event that is known already is not written again.
        """
        counts = self._write(code, OBJECTS, rows.object_lines(self.code, _once(objects, "object_version"), reasons or {}))
        self._write_lineage(lineage)
        return counts

    def _write_lineage(self, events: Iterable[Lineage]) -> None:
        """Events of this transaction's earlier writes are taken back. Known is what was told since the object last changed."""
        if read.LINEAGE.name in self._written:
            self._execute("DELETE FROM kryss.lineage WHERE code = :code AND system_at = :at", at=self.system_at())
        ordered = sorted(events, key=_event_key)
        changes = self._execute(
            "SELECT object_id::text AS id, max(coalesce(upper(system), lower(system))) AS at FROM kryss.object_version "
            "WHERE code = :code AND object_id = ANY(CAST(:ids AS uuid[])) GROUP BY object_id",
            ids=sorted({event.object_id for event in ordered}),
        )
        last_change = {row.id: row.at for row in changes}
        known = {_event_key(event): event.known_at for event in self.lineage(self.code)}
        for event in ordered:
            told, changed = known.get(_event_key(event)), last_change.get(event.object_id)
            if told is not None and (changed is None or told >= changed):
                continue
            self._connection.execute(read.LINEAGE.insert(), rows.lineage_row(self.code, event, self.system_at()))
            self._written.add(read.LINEAGE.name)

    def load_survey(self, survey: Survey) -> Literal["new", "unchanged", "replaced"]:
        """Keeps a survey with its rows; one of the same day and source that says something else is replaced."""
        known = {one.id: one for one in self.surveys(self.code)}
        if known.get(survey.id) == survey:
            return "unchanged"
        self._execute("DELETE FROM kryss.survey WHERE code = :code AND id = :id", id=survey.id)
        self._merge(read.SURVEY, [rows.survey_row(self.code, survey)])
        self._merge(read.SURVEYED, (rows.surveyed_row(self.code, survey.id, thing) for thing in survey.things))
        return "replaced" if survey.id in known else "new"

    def remove_images(self, image_ids: Iterable[str], reason: Literal["deleted", "takedown"]) -> dict[str, int]:
        """Removes photos and all that hangs on them, from past beliefs too, and remembers not to load them again.

        The one exception to the rule that past versions are never changed. Beliefs keep what was worked out of a photo (places,
        dates) until they are worked out anew without it. Returns rows by table; a second time it writes nothing.
        """
        ids = sorted(set(image_ids))
        removed = {
            name: self._execute(f"DELETE FROM kryss.{name} WHERE code = :code AND image_id = ANY(:ids)", ids=ids).rowcount
            for name in ("sighting", "detection", "rejected_pose", "photo_result", "rejected_entity")
        }
        removed["image"] = self._execute("DELETE FROM kryss.image WHERE code = :code AND id = ANY(:ids)", ids=ids).rowcount
        removed["object_version"] = self._execute(
            "UPDATE kryss.object_version v SET (evidence_image_ids, evidence_ordinals) = ("
            "SELECT coalesce(array_agg(e.image_id ORDER BY e.n), '{}'), coalesce(array_agg(e.ordinal ORDER BY e.n), '{}') "
            "FROM unnest(v.evidence_image_ids, v.evidence_ordinals) WITH ORDINALITY AS e (image_id, ordinal, n) "
            "WHERE e.image_id <> ALL(:ids)), misses = ("
            "SELECT coalesce(array_agg(m.image_id ORDER BY m.n), '{}') "
            "FROM unnest(v.misses) WITH ORDINALITY AS m (image_id, n) WHERE m.image_id <> ALL(:ids)), "
            "image_id = CASE WHEN image_id <> ALL(:ids) THEN image_id END "
            "WHERE code = :code AND (evidence_image_ids && CAST(:ids AS text[]) OR misses && CAST(:ids AS text[]) "
            "OR image_id = ANY(:ids))",
            ids=ids,
        ).rowcount
        new = [image_id for image_id in ids if image_id not in self.removed_images(self.code)]
        if new:
            at = self.system_at()
            given = [{"code": self.code, "image_id": image_id, "reason": reason, "removed_at": at} for image_id in new]
            self._connection.execute(read.REMOVED_PHOTO.insert(), given)
        return {**removed, "removed_photo": len(new)}

    def write_intersections(self, code: str, intersections: Iterable[Intersection]) -> Counts:
        """Makes these the junctions: all of them. Vanished ones are withdrawn."""
        given = (rows.intersection_row(self.code, noun) for noun in _once(intersections, "intersection_version"))
        return self._write(code, INTERSECTIONS, lines_of(written_columns(read.INTERSECTION_VERSION), given))

    def write_assignments(self, code: str, assignments: Mapping[str, str]) -> Counts:
        """Makes these the junctions (by object id) that objects belong to: all of them."""
        given = (encode((self.code, object_id, intersection_id)) for object_id, intersection_id in sorted(assignments.items()))
        return self._write(code, ASSIGNMENTS, given)

    def record_release(self, release: Release, inputs: Mapping[str, Any] | None = None, known: datetime | None = None) -> bool:
        """Records a release; False where it was recorded so before. A row of this name that says something else is replaced: its
        writer died before the release was there.

        ``inputs``: all that it is made from besides beliefs, as JSON; its ``previous``, if any, names the release before.
        ``known``: the instant of system time whose beliefs it holds (`LayerRows.known` of what was exported); without it, the
        newest that this transaction sees.
        """
        self._own(release.code)
        row = {
            **{name: getattr(release, name) for name in ("name", "url", "sha256", "intersections", "objects")},
            "system_at": known or self.newest(release.code) or self.system_at(),
            "previous": (inputs or {}).get("previous"),
            "inputs": dict(inputs or {}),
        }
        written = insert(read.RELEASE).values(code=self.code, **row)
        same = select(read.RELEASE.c.name).where(
            read.RELEASE.c.code == self.code, *(read.RELEASE.c[name].is_not_distinct_from(value) for name, value in row.items())
        )
        if self._connection.scalar(same) is not None:
            return False  # an upsert would lock the row, and so write to it
        return bool(self._connection.execute(written.on_conflict_do_update(index_elements=["code", "name"], set_=row)).rowcount)

    def forget(self) -> dict[str, int]:
        """Removes everything of this municipality, its history and its ids too; returns rows by table.

        For recorded areas that are played again from nothing. Knowledge of a real municipality is never removed.
        """
        removed = {}
        for table in reversed(Base.metadata.sorted_tables):
            if "code" in table.columns:
                removed[table.name] = self._connection.execute(table.delete().where(table.c.code == self.code)).rowcount
        return removed

    def system_at(self) -> datetime:
        """The instant of system time of this transaction's changes: later than any before it, by the server's clock."""
        if self._system_at is None:
            self._system_at = self._execute(
                "UPDATE kryss.municipality SET system_at = greatest(clock_timestamp(), system_at + interval '1 microsecond') "
                "WHERE code = :code RETURNING system_at"
            ).scalar()
            if self._system_at is None:
                raise self._unknown()
            self._execute(
                "INSERT INTO kryss.load (code, system_at, code_version, run) VALUES (:code, :at, :code_version, :run)",
                at=self._system_at,
                code_version=__version__,
                run=self.run,
            )
        return self._system_at

    def _execute(self, sql: str, **parameters: Any) -> CursorResult[Any]:
        return self._connection.execute(text(sql), {"code": self.code, **parameters})

    def _adopt(self, model_key: str) -> None:
        """Makes a model that has looked the one whose word is taken first."""
        latest = self._execute("SELECT model_key FROM kryss.model WHERE code = :code ORDER BY adopted_at DESC LIMIT 1").scalar()
        if latest != model_key:
            self._execute(
                "INSERT INTO kryss.model (code, model_key, adopted_at) VALUES (:code, :model_key, :at) "
                "ON CONFLICT (code, model_key) DO UPDATE SET adopted_at = excluded.adopted_at",
                model_key=model_key,
                at=self.system_at(),
            )

    def _unknown(self) -> UnknownMunicipality:
        return UnknownMunicipality(f"municipality {self.code!r} is not in the database: call upsert_municipality first")

    def _own(self, code: str) -> None:
        if code != self.code:
            raise ValueError(f"this transaction holds the lock of {self.code!r} and cannot write {code!r}")

    def _check_model(self, model_key: str | None, results: bool, made: Iterable[Detection | Sighting]) -> None:
        keys = {noun.model_key for noun in made}
        if model_key is None and (results or keys):
            raise ValueError("results, detections and sightings need their model_key")
        if keys - {model_key}:
            raise ValueError(f"detections of {sorted(keys)} in a load of model {model_key!r}: load each model by itself")

    def _merge(self, target: Table, source: Iterable[Mapping[str, Any]], stated: Mapping[str, Any] | None = None) -> int:
        if self._connection.scalar(text("SELECT count(*) FROM kryss.municipality WHERE code = :code"), {"code": self.code}) == 0:
            raise self._unknown()
        return merge_set(self._connection, target, source, stated=stated)

    def _load_rejected_entities(self, rejected: Mapping[str, str], by_image: Mapping[str, Image]) -> int:
        source = [
            {"code": self.code, "image_id": image_id, "reason": reason}
            for image_id, reason in rejected.items()
            if image_id not in by_image
        ]
        return self._merge(read.REJECTED_ENTITY, source, {"code": self.code, "image_ids": set(by_image)})

    def _load_results(self, model_key: str | None, results: Mapping[str, PhotoResult], attempts: Mapping[str, int]) -> int:
        if not results or model_key is None:
            return 0
        known = self.image_states(self.code, model_key)
        source = (
            rows.photo_result_row(self.code, model_key, result, attempts.get(image_id, known.get(image_id, ("", 1))[1]))
            for image_id, result in results.items()
        )
        return self._merge(read.PHOTO_RESULT, source)

    def _write(self, code: str, versioned: Versioned, lines: Iterable[str]) -> Counts:
        self._own(code)
        again = versioned.target.name in self._written
        if again:
            undo_versions(self._connection, versioned, self.code, self.system_at())
        counts = merge_versions(self._connection, versioned, lines, self.code, self.system_at, again=again)
        if counts.written:
            self._written.add(versioned.target.name)
        return counts


def _detection_key(noun: Detection | Sighting) -> tuple[str, str, int]:
    return noun.image_id, noun.model_key, noun.ordinal


Noun = TypeVar("Noun", Detection, Sighting, RejectedPose)
Key = TypeVar("Key")
Thing = TypeVar("Thing", StreetObject, Intersection)


def _event_key(event: Lineage) -> tuple[str, str, str]:
    return event.object_id, event.relation, event.other_id or ""


def _keyed(nouns: Iterable[Noun], key: Callable[[Noun], Key], gone: Collection[str]) -> dict[Key, Noun]:
    return {key(noun): noun for noun in nouns if noun.image_id not in gone}


def _once(nouns: Iterable[Thing], table: str) -> Iterator[Thing]:
    """The nouns, as long as no id comes twice."""
    seen: set[str] = set()
    for noun in nouns:
        if noun.id in seen:
            raise ValueError(f"{table}: {noun.id!r} is given twice")
        seen.add(noun.id)
        yield noun

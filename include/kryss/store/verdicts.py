"""Verdicts of people on objects of a release: right, wrong or unsure. Who judged what, and which objects are next.

An object keeps its place in the line from release to release: within its class, objects are ordered by a hash of their id, and
those at the front are judged (permanent random numbers; Ohlsson, "Coordination of samples using permanent random numbers",
1995). The front of the line of a class is a simple random sample of it in every release, and a verdict from an earlier release
still counts as long as the belief it judged is the one that is published: the same row of ``object_version``. What changed or
came since, and has its place in that front, waits for a verdict (`waiting`): without it, those that are judged are no random
sample, but the ones that did not change.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args
from uuid import UUID

from sqlalchemy import Connection, text

Verdict = Literal["right", "wrong", "unsure"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
JUDGED = ("standing", "unconfirmed")
"""Statuses whose objects are judged: what has ended is no longer claimed to stand."""
MAX_NOTE = 1000

_INSTANT = text("SELECT system_at FROM kryss.release WHERE code = :code AND name = :release")
# The instant comes as a parameter, and is not looked up by the query: the planner must know how much it asks for.
_FRAME = """
WITH frame AS MATERIALIZED (
    SELECT v.version, v.object_id, v.class_name
    FROM kryss.object_version v
    JOIN kryss.assignment a ON a.code = v.code AND a.object_id = v.object_id AND a.system @> CAST(:known AS timestamptz)
    WHERE v.code = :code AND v.system @> CAST(:known AS timestamptz) AND v.status = :status
),
judged AS (
    SELECT DISTINCT ON (d.object_id, d.judged_by)
           d.object_id, d.judged_by, d.verdict, d.note, d.release, d.judged_at, f.class_name, e.system_at
    FROM kryss.verdict d
    JOIN frame f ON f.object_id = d.object_id
    JOIN kryss.release e ON e.code = d.code AND e.name = d.release AND e.system_at <= CAST(:known AS timestamptz)
    JOIN kryss.object_version v ON v.version = f.version AND v.system @> e.system_at
    WHERE d.code = :code
    ORDER BY d.object_id, d.judged_by, e.system_at DESC, d.judged_at DESC
)
"""
_LINE = """,
numbered AS (
    SELECT f.*, ('x' || left(md5(:seed || f.object_id::text), 16))::bit(64)::bigint AS number FROM frame f
),
line AS (
    SELECT n.*, row_number() OVER (PARTITION BY n.class_name ORDER BY n.number, n.object_id) AS place FROM numbered n
)
"""
_NEXT = text(
    _FRAME
    + _LINE
    + """,
chosen AS (
    SELECT l.* FROM line l
    WHERE NOT EXISTS (SELECT FROM judged j WHERE j.object_id = l.object_id AND j.judged_by = :judged_by)
      AND (CAST(:class_name AS text) IS NULL OR l.class_name = :class_name)
    ORDER BY l.place, l.number, l.object_id
    LIMIT :most
)
SELECT v.object_id::text AS id, v.class_name, v.status, v.standing_probability, v.error_radius_m, v.facing_deg, v.height_m,
       v.first_seen_at, v.last_seen_at, v.method, v.model_key, cardinality(v.evidence_image_ids) AS sightings,
       ST_X(v.geom) AS lon, ST_Y(v.geom) AS lat, c.place,
       (SELECT count(*) FROM frame f WHERE f.class_name = c.class_name) AS of_class
FROM chosen c
JOIN kryss.object_version v ON v.version = c.version
ORDER BY c.place, c.number, c.object_id
"""
)
_JUDGED = text(
    _FRAME
    + """
SELECT object_id::text AS object_id, judged_by, verdict, note, release, judged_at, class_name FROM judged
ORDER BY judged_at, object_id, judged_by
"""
)
# Of a class, what is believed anew since the earliest of its verdicts, before the last place that has one.
_WAITING = text(
    _FRAME
    + _LINE
    + """,
reached AS (
    SELECT l.class_name, max(l.place) AS place, min(j.system_at) AS since
    FROM line l JOIN judged j ON j.object_id = l.object_id GROUP BY l.class_name
)
SELECT l.class_name, count(*) AS objects
FROM line l
JOIN reached r ON r.class_name = l.class_name AND l.place < r.place
JOIN kryss.object_version v ON v.version = l.version AND lower(v.system) > r.since
WHERE NOT EXISTS (SELECT FROM judged j WHERE j.object_id = l.object_id)
GROUP BY l.class_name ORDER BY l.class_name
"""
)
_POPULATION = text(_FRAME + "SELECT class_name, count(*) AS objects FROM frame GROUP BY class_name ORDER BY class_name")
_CLASS_THEN = text("""
SELECT v.class_name FROM kryss.release r
JOIN kryss.object_version v ON v.code = r.code AND v.object_id = :object_id AND v.system @> r.system_at
WHERE r.code = :code AND r.name = :release AND v.status = ANY (:judged)
  AND EXISTS (SELECT FROM kryss.assignment a WHERE a.code = v.code AND a.object_id = v.object_id AND a.system @> r.system_at)
""")
_WRITE = text("""
INSERT INTO kryss.verdict (code, object_id, release, class_name, verdict, note, judged_by, judged_at)
VALUES (:code, :object_id, :release, :class_name, :verdict, :note, :judged_by, now())
ON CONFLICT (code, object_id, release, judged_by) DO UPDATE
SET class_name = excluded.class_name, verdict = excluded.verdict, note = excluded.note, judged_at = excluded.judged_at
WHERE (verdict.class_name, verdict.verdict, verdict.note)
      IS DISTINCT FROM (excluded.class_name, excluded.verdict, excluded.note)
""")
_REMOVE = text(
    "DELETE FROM kryss.verdict WHERE code = :code AND object_id = :object_id AND release = :release AND judged_by = :judged_by"
)


class NotInRelease(LookupError):  # noqa: N818 - it says what is the case
    """The release is not recorded, or does not hold the object as one that stands."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """One person's verdict on an object that still holds for the release that was asked for."""

    object_id: str
    class_name: str
    judged_by: str
    verdict: Verdict
    note: str | None
    release: str
    """In which it was given."""


def _asked(connection: Connection, code: str, release: str, status: str) -> dict[str, Any]:
    """Parameters of a query of a release; ``known`` is null, and nothing is found, where it is not recorded."""
    known = connection.execute(_INSTANT, {"code": code, "release": release}).scalar()
    return {"code": code, "known": known, "status": status}


def next_objects(
    connection: Connection,
    code: str,
    release: str,
    judged_by: str,
    *,
    status: str = "standing",
    class_name: str | None = None,
    seed: str | None = None,
    most: int = 10,
) -> list[dict[str, Any]]:
    """The objects of a release that this person has not judged, the first of each class first, then the second of each, ...

    So every class gets judged, the rare ones to their last object. ``seed``: draws another sample; None: the one that all
    judges of the municipality share. ``place`` of ``of_class``: the object's place in the line of its class.
    """
    asked = {
        **_asked(connection, code, release, status),
        "judged_by": judged_by,
        "class_name": class_name,
        "seed": code if seed is None else seed,
        "most": most,
    }
    return [dict(row) for row in connection.execute(_NEXT, asked).mappings()]


def judgements(connection: Connection, code: str, release: str, status: str = "standing") -> list[Judgement]:
    """Every verdict that holds for a release, given in it or in an earlier one on a belief that has not changed since."""
    rows = connection.execute(_JUDGED, _asked(connection, code, release, status))
    return [Judgement(row.object_id, row.class_name, row.judged_by, row.verdict, row.note, row.release) for row in rows]


def population(connection: Connection, code: str, release: str, status: str = "standing") -> dict[str, int]:
    """The objects of a release at an intersection, with this status, by class."""
    rows = connection.execute(_POPULATION, _asked(connection, code, release, status))
    return {row.class_name: row.objects for row in rows}


def waiting(connection: Connection, code: str, release: str, status: str = "standing") -> dict[str, int]:
    """By class, the objects of the sample that changed or came since it was judged, and that nobody has judged since."""
    rows = connection.execute(_WAITING, {**_asked(connection, code, release, status), "seed": code})
    return {row.class_name: row.objects for row in rows}


def record(
    connection: Connection, code: str, release: str, object_id: str, verdict: Verdict, judged_by: str, note: str | None = None
) -> str:
    """Keeps a verdict, in place of the one this person gave on the object in this release before; returns the class judged.

    The same verdict again changes nothing. Raises NotInRelease for an object that the release does not hold as one that stands.
    """
    if verdict not in VERDICTS:
        raise ValueError(f"{verdict!r} is no verdict; those are {', '.join(VERDICTS)}")
    asked = {"code": code, "release": release, "object_id": UUID(object_id), "judged": list(JUDGED)}
    class_name = connection.execute(_CLASS_THEN, asked).scalar()
    if class_name is None:
        raise NotInRelease(f"release {release} of {code} holds no standing object {object_id}")
    row = {"class_name": class_name, "verdict": verdict, "note": (note or "").strip()[:MAX_NOTE] or None, "judged_by": judged_by}
    connection.execute(_WRITE, {"code": code, "release": release, "object_id": UUID(object_id), **row})
    return str(class_name)


def take_back(connection: Connection, code: str, release: str, object_id: str, judged_by: str) -> bool:
    """Removes this person's verdict on an object in this release; says whether there was one."""
    asked = {"code": code, "release": release, "object_id": UUID(object_id), "judged_by": judged_by}
    return connection.execute(_REMOVE, asked).rowcount > 0


def recorded_releases(connection: Connection, code: str) -> Sequence[str]:
    """Releases that the database has recorded, in the order in which they were."""
    query = text("SELECT name FROM kryss.release WHERE code = :code ORDER BY system_at, name")
    return [row.name for row in connection.execute(query, {"code": code})]

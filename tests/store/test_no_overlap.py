"""The chain of an object's versions (migration 0004): whatever rows are tried, those that the database takes never overlap."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

OBJECT = "00000000-0000-0000-0000-000000000001"
INSERT = """
INSERT INTO kryss.object_version (code, object_id, class_name, geom, covariance_ee_m2, covariance_en_m2, covariance_nn_m2,
    error_radius_m, first_seen_at, last_seen_at, status, standing_probability, evidence_image_ids, evidence_ordinals, misses,
    model_key, method, reason, system, follows)
VALUES ('town', %(object)s, 'stop', 'SRID=4326;POINT(10 63)', 1, 0, 1, 2, '2025-01-01Z', '2025-01-02Z', 'standing', 0.9,
    '{1}', '{0}', '{}', 'signs@1', 'known-size', 'evidence', tstzrange(%(start)s, %(end)s, %(bounds)s), %(follows)s)
"""
UPDATE = """
UPDATE kryss.object_version SET system = tstzrange(%(start)s, %(end)s, %(bounds)s), follows = %(follows)s
WHERE version = (SELECT version FROM kryss.object_version ORDER BY version OFFSET %(which)s LIMIT 1)
"""
DELETE = "DELETE FROM kryss.object_version WHERE version = (SELECT version FROM kryss.object_version OFFSET %(which)s LIMIT 1)"
OVERLAPS = """
SELECT count(*) FROM kryss.object_version a JOIN kryss.object_version b USING (code, object_id)
WHERE a.version < b.version AND a.system && b.system AND a.valid && b.valid
"""
DAYS = [f"2026-01-0{number}Z" for number in range(1, 6)]
instants = st.sampled_from([*DAYS, "-infinity", "infinity"]) | st.none()
tries = st.fixed_dictionaries(
    {
        "sql": st.sampled_from([INSERT, INSERT, INSERT, UPDATE, DELETE]),
        "start": instants,
        "end": instants,
        "bounds": st.sampled_from(["[)", "[)", "[)", "[]", "()"]),
        "follows": instants,
        "which": st.integers(0, 3),
    }
)


@pytest.fixture
def cursor(town: Any, database_url: str) -> Iterator[Any]:
    connection = psycopg2.connect(database_url)
    try:
        found = connection.cursor()
        found.execute("INSERT INTO kryss.object VALUES ('town', %s, 'stop', '2026-01-01Z')", (OBJECT,))
        connection.commit()
        yield found
    finally:
        connection.close()


def accepted(cursor: Any, sql: str, **values: Any) -> bool:
    cursor.execute("SAVEPOINT one")
    try:
        cursor.execute(sql, {"object": OBJECT, "bounds": "[)", **values})
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        return True
    except (psycopg2.IntegrityError, psycopg2.DataError):
        cursor.execute("ROLLBACK TO one")
        return False


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(tries, max_size=12))
def test_no_rows_that_overlap_are_ever_taken(cursor, statements):
    cursor.connection.rollback()
    for statement in statements:
        accepted(cursor, **statement)
        cursor.execute(OVERLAPS)
        assert cursor.fetchone() == (0,)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 3)), min_size=1, max_size=6), st.booleans())
def test_every_history_without_overlap_is_taken_in_order_of_time(cursor, pieces, ends):
    """``pieces``: hours for which nothing was believed, then hours for which it was."""
    cursor.connection.rollback()
    at, follows = datetime(2026, 1, 1, tzinfo=UTC), None
    for number, (gap, length) in enumerate(pieces):
        start, end = at + timedelta(hours=gap), at + timedelta(hours=gap + length)
        last = number == len(pieces) - 1
        assert accepted(cursor, INSERT, start=start, end=None if last and not ends else end, follows=follows)
        at = follows = end


@pytest.mark.parametrize(
    ("start", "end", "follows"),
    [
        (DAYS[2], None, None),  # a second first one
        (DAYS[2], None, DAYS[1]),  # follows one that does not end then
        (DAYS[1], None, DAYS[2]),  # begins before the one that it follows has ended
        (DAYS[2], DAYS[2], DAYS[2]),  # empty
        (None, DAYS[2], None),  # from ever
        (DAYS[3], None, "infinity"),
    ],
)
def test_a_row_that_would_overlap_is_refused(cursor, start, end, follows):
    assert accepted(cursor, INSERT, start=DAYS[0], end=DAYS[2], follows=None)
    assert not accepted(cursor, INSERT, start=start, end=end, follows=follows)
    assert accepted(cursor, INSERT, start=DAYS[2], end=None, follows=DAYS[2])
    assert not accepted(cursor, INSERT, start=DAYS[3], end=None, follows=DAYS[2])


def test_the_chain_is_followed_by_its_index_while_nothing_is_past_yet(cursor):
    """The foreign key's query is planned once a session, perhaps before anything was closed: it must not scan the past then."""
    cursor.execute(
        "INSERT INTO kryss.object SELECT 'town', md5(n::text)::uuid, 'stop', '2026-01-01Z' FROM generate_series(1, 2000) n"
    )
    opening = INSERT.replace("VALUES (", "SELECT ").replace("%(object)s", "md5(n::text)::uuid").rstrip().removesuffix(")")
    cursor.execute(opening + " FROM generate_series(1, 2000) n", {"start": DAYS[0], "end": None, "bounds": "[)", "follows": None})
    cursor.execute("ANALYZE kryss.object_version")
    cursor.execute(
        "EXPLAIN (FORMAT JSON) SELECT 1 FROM ONLY kryss.object_version x "
        "WHERE code = 'town' AND known_to = '2026-01-02Z' AND object_id = %s FOR KEY SHARE OF x",
        (OBJECT,),
    )
    (((found,),),) = cursor.fetchall()
    used = found["Plan"]["Plans"][0]["Index Name"]
    assert used in ("object_version_known_to_code_object_id_key", "object_version_follows_idx")

"""Loads a million objects by Kryss and by others, and asks a history of ten million versions.

    ./kryss bench load [--rows 50000 --rows 1000000] [--only floor ours noop latency ...] [--json FILE] [--report FILE]

Every contestant gets the same list of `StreetObject` and a database of its own that knows half of the rows, with other values:
half of the load are updates, half are new. The floor is what a careful person writes in SQL: encoding by the csv module, COPY to
a temporary table, one guarded upsert into a table with a primary key and a GiST index on the place. All but ours keep no
history: an update destroys what was known before. `ours` is `Tx.write_objects`, with history in both clocks and all its
constraints. Processor seconds are those of this program and of the server together.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid5

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "include"))

import geopandas  # noqa: E402
import psutil  # noqa: E402
import psycopg2  # noqa: E402
from psycopg2.extras import execute_values  # noqa: E402
from sqlalchemy import Column, MetaData, Table, create_engine, make_url, or_  # noqa: E402
from sqlalchemy.dialects.postgresql import insert  # noqa: E402

from kryss.model import Municipality, StreetObject  # noqa: E402
from kryss.services.postgres import Cluster, create_database, temporary_cluster  # noqa: E402
from kryss.store import open_store  # noqa: E402
from kryss.store.merge import written_columns  # noqa: E402
from kryss.store.tables import ObjectVersion, table  # noqa: E402

CODE = "5001"
BOX = (10.0, 63.3, 10.7, 63.5)
"""Trondheim, west, south, east, north."""
SETTINGS = (
    "server_version", "shared_buffers", "work_mem", "maintenance_work_mem", "max_wal_size", "fsync", "synchronous_commit",
    "full_page_writes", "wal_level",
)  # fmt: skip
COLUMNS = written_columns(table(ObjectVersion))
VALUES = [column for column in COLUMNS if column not in ("code", "object_id")]
NIGHTS = 10
ASKED = 40
"""Boxes that each latency is the median of."""


# -- what is loaded ---------------------------------------------------------------------------------------------------------


def made_objects(rows: int) -> list[StreetObject]:
    """Objects as history makes them, by id: three to eight sightings each, one in ten with looks that missed it."""
    draw = random.Random(4)
    start = datetime(2024, 4, 1, tzinfo=UTC)
    made = []
    for number in range(rows):
        first = start + timedelta(seconds=draw.randrange(40_000_000), milliseconds=draw.randrange(1000))
        last = first + timedelta(seconds=draw.randrange(30_000_000), milliseconds=draw.randrange(1000))
        east, north = draw.uniform(0.05, 4), draw.uniform(0.05, 4)
        made.append(
            StreetObject(
                id=str(uuid5(NAMESPACE_URL, f"object {number}")),
                class_name=f"regulatory--maximum-speed-limit-{draw.choice((30, 40, 50, 60, 80))}--g1",
                lon=draw.uniform(BOX[0], BOX[2]),
                lat=draw.uniform(BOX[1], BOX[3]),
                covariance=(east, draw.uniform(-0.04, 0.04), north),
                error_radius_m=draw.uniform(0.5, 5),
                first_seen_at=first,
                last_seen_at=last,
                status="standing",
                standing_probability=draw.uniform(0.5, 1),
                ended_at=None,
                evidence=tuple(
                    sorted((str(draw.randrange(10**14, 10**16)), draw.randrange(6)) for _ in range(draw.randint(3, 8)))
                ),
                misses=tuple(str(draw.randrange(10**14, 10**16)) for _ in range(draw.choice((0,) * 9 + (2,)))),
                facing_deg=draw.uniform(0, 360),
                model_key="kryss-street-lite0@2.1",
                method="known-size/sfm",
                height_m=draw.uniform(1.5, 4),
                height_sigma_m=draw.uniform(0.05, 0.5),
                began_after=first - timedelta(days=30) if draw.random() < 0.5 else None,
            )
        )
    return sorted(made, key=lambda one: one.id)


def known_before(objects: list[StreetObject]) -> Iterator[StreetObject]:
    """Every second object as it was before its last sighting."""
    for one in objects[::2]:
        yield replace(
            one, lon=one.lon - 3e-6, error_radius_m=one.error_radius_m * 1.1, evidence=one.evidence[:-1], standing_probability=0.9
        )


def record(one: StreetObject) -> tuple[Any, ...]:
    """The values of COLUMNS as Python has them; the place as EWKT. None of these objects was ever absent."""
    return (
        CODE, one.id, one.class_name, f"SRID=4326;POINT({one.lon} {one.lat})", *one.covariance, one.error_radius_m,
        one.first_seen_at, one.last_seen_at, one.ended_at, one.status, one.standing_probability,
        [image_id for image_id, _ in one.evidence], [ordinal for _, ordinal in one.evidence], list(one.misses), one.facing_deg,
        one.height_m, one.height_sigma_m, one.model_key, one.method, one.began_after,
        None, None, None, None,
        one.replaced_by, one.image_id, "evidence",
    )  # fmt: skip


ARRAYS = [COLUMNS.index(name) for name in ("evidence_image_ids", "evidence_ordinals", "misses")]


def flat_record(one: StreetObject) -> list[Any]:
    """The same with arrays as PostgreSQL writes them."""
    values = list(record(one))
    for index in ARRAYS:
        values[index] = "{" + ",".join(map(str, values[index])) + "}"
    return values


# -- where it is loaded -----------------------------------------------------------------------------------------------------


@dataclass
class Target:
    """A database with Kryss's schema, and a table ``bench.object`` with the same columns and no history."""

    url: str

    @contextmanager
    def cursor(self) -> Iterator[Any]:
        """A cursor of a transaction."""
        connection = psycopg2.connect(self.url)
        try:
            with connection, connection.cursor() as cursor:
                yield cursor
        finally:
            connection.close()

    def ask(self, sql: str) -> Any:
        """One value, outside of transactions."""
        connection = psycopg2.connect(self.url)
        connection.autocommit = True
        try:
            with connection.cursor() as cursor:
                cursor.execute(sql)
                return cursor.fetchone()[0] if cursor.description else None
        finally:
            connection.close()

    def types(self) -> dict[str, str]:
        """Types of ``bench.object`` by column."""
        with self.cursor() as cursor:
            cursor.execute(
                "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute "
                "WHERE attrelid = 'bench.object'::regclass AND attnum > 0"
            )
            return dict(cursor.fetchall())

    def engine(self) -> Any:
        return create_engine(self.url.replace("postgresql:", "postgresql+psycopg2:"))


def make_target(cluster: Cluster, name: str) -> Target:
    target = Target(create_database(cluster, name))
    store = open_store(target.url)
    store.migrate()
    west, south, east, north = BOX
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    with store.transaction(CODE) as tx:
        tx.upsert_municipality(Municipality(CODE, "Trondheim", "NO", {"type": "Polygon", "coordinates": [ring]}))
    with target.cursor() as cursor:
        cursor.execute(
            f"CREATE SCHEMA bench; "
            f"CREATE TABLE bench.object AS SELECT {', '.join(COLUMNS)} FROM kryss.object_version WITH NO DATA; "
            f"ALTER TABLE bench.object ADD PRIMARY KEY (code, object_id); CREATE INDEX ON bench.object USING gist (geom)"
        )
    return target


def upsert(source: str, types: dict[str, str] | None = None) -> str:
    """From a staging table; rows that do not differ are not written. ``types``: casts, where the staging table has others."""
    given = ", ".join(f's."{name}"' + (f"::{types[name]}" if types else "") for name in COLUMNS)
    return f"INSERT INTO bench.object AS t ({', '.join(COLUMNS)}) SELECT {given} FROM {source} s {on_conflict()}"


def on_conflict() -> str:
    sets = ", ".join(f"{name} = excluded.{name}" for name in VALUES)
    return f"ON CONFLICT (code, object_id) DO UPDATE SET {sets} WHERE (t.*) IS DISTINCT FROM (excluded.*)"


# -- the contestants --------------------------------------------------------------------------------------------------------


def csv_batches(objects: Iterable[StreetObject], rows: int = 10_000) -> Iterator[io.StringIO]:
    source = iter(objects)
    while batch := list(islice(source, rows)):
        text = io.StringIO()
        csv.writer(text).writerows(map(flat_record, batch))
        text.seek(0)
        yield text


def copy_and_upsert(target: Target, batches: Iterable[io.StringIO]) -> None:
    with target.cursor() as cursor:
        cursor.execute("CREATE TEMP TABLE staging ON COMMIT DROP AS SELECT * FROM bench.object WITH NO DATA")
        for text in batches:
            cursor.copy_expert("COPY staging FROM STDIN WITH (FORMAT csv)", text, 1 << 16)
        cursor.execute("ANALYZE staging (object_id)")
        cursor.execute(upsert("staging"))


def floor(target: Target, objects: Iterable[StreetObject]) -> None:
    copy_and_upsert(target, csv_batches(objects))


def floor_of_text(target: Target, batches: list[io.StringIO]) -> None:
    copy_and_upsert(target, batches)


def ours(target: Target, objects: Iterable[StreetObject]) -> None:
    with open_store(target.url).transaction(CODE) as tx:
        tx.write_objects(CODE, objects)


def psycopg2_execute_values(target: Target, objects: list[StreetObject]) -> None:
    sql = f"INSERT INTO bench.object AS t ({', '.join(COLUMNS)}) VALUES %s {on_conflict()}"
    with target.cursor() as cursor:
        execute_values(cursor, sql, map(record, objects), page_size=1000)


def sqlalchemy_insertmanyvalues(target: Target, objects: list[StreetObject]) -> None:
    described = table(ObjectVersion)
    plain = Table("object", MetaData(schema="bench"), *(Column(name, described.c[name].type) for name in COLUMNS))
    given = insert(plain)
    statement = given.on_conflict_do_update(
        index_elements=["code", "object_id"],
        set_={name: given.excluded[name] for name in VALUES},
        where=or_(*(plain.c[name].is_distinct_from(given.excluded[name]) for name in VALUES)),
    )
    source = iter(objects)
    with target.engine().begin() as connection:
        while batch := list(islice(source, 50_000)):
            connection.execute(statement, [dict(zip(COLUMNS, record(one), strict=True)) for one in batch])


def frame(objects: list[StreetObject]) -> geopandas.GeoDataFrame:
    columns = dict(zip(COLUMNS, zip(*map(flat_record, objects), strict=True), strict=True))
    columns.pop("geom")
    places = geopandas.points_from_xy([one.lon for one in objects], [one.lat for one in objects], crs=4326)
    return geopandas.GeoDataFrame(columns, geometry=places).rename_geometry("geom")


def geopandas_to_postgis(target: Target, objects: list[StreetObject]) -> None:
    engine = target.engine()
    frame(objects).to_postgis("staging", engine, schema="bench")
    engine.dispose()
    with target.cursor() as cursor:
        cursor.execute(upsert("bench.staging", target.types()) + "; DROP TABLE bench.staging")


def flatgeobuf(objects: list[StreetObject]) -> Path:
    path = Path(tempfile.mkdtemp(prefix="kryss-bench-")) / "objects.fgb"
    frame(objects).to_file(path, driver="FlatGeobuf", SPATIAL_INDEX="NO")
    return path


def ogr2ogr(target: Target, path: Path) -> None:
    url = make_url(target.url)
    source = f"PG:host={url.host} port={url.port} user={url.username} dbname={url.database}"
    command = ["ogr2ogr", "--config", "PG_USE_COPY", "YES", "-f", "PostgreSQL", source, str(path), "-nln", "bench.staging"]
    command += ["-lco", "GEOMETRY_NAME=geom", "-lco", "SPATIAL_INDEX=NONE", "-lco", "LAUNDER=NO"]
    subprocess.run(command, check=True, env={**os.environ, "PGPASSWORD": url.password or ""})
    with target.cursor() as cursor:
        cursor.execute(upsert("bench.staging", target.types()) + "; DROP TABLE bench.staging")


@dataclass(frozen=True)
class Contestant:
    """``prepare`` is not timed: what a program would have at hand before."""

    name: str
    load: Callable[[Target, Any], None]
    prepare: Callable[[list[StreetObject]], Any] = list
    history: bool = False


CONTESTANTS = {
    "floor": Contestant("COPY + guarded upsert (the floor)", floor),
    "floor-of-text": Contestant("the same, without encoding", floor_of_text, lambda objects: list(csv_batches(objects))),
    "ours": Contestant("Kryss, with history", ours, history=True),
    "psycopg2": Contestant("psycopg2 execute_values", psycopg2_execute_values),
    "sqlalchemy": Contestant("SQLAlchemy insertmanyvalues", sqlalchemy_insertmanyvalues),
    "geopandas": Contestant("geopandas to_postgis + upsert", geopandas_to_postgis),
    "ogr2ogr": Contestant("ogr2ogr + upsert, from a FlatGeobuf file", ogr2ogr, flatgeobuf),
}


# -- measuring --------------------------------------------------------------------------------------------------------------


def processor_s(cluster: Cluster) -> float:
    """Of this program, of programs that it ran, and of the server with all its processes, the ended ones too."""
    total = time.process_time() + sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])
    server = psutil.Process(int((cluster.data / "postmaster.pid").read_text().split()[0]))
    for process in [server, *server.children(recursive=True)]:
        try:
            spent = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += spent.user + spent.system
        if process is server:
            total += spent.children_user + spent.children_system
    return total


WRITTEN = """
SELECT coalesce(sum(n_tup_ins + n_tup_upd + n_tup_del), 0) FROM pg_stat_user_tables WHERE schemaname IN ('kryss', 'bench')
"""


def measure(cluster: Cluster, target: Target, load: Callable[[], None]) -> dict[str, float]:
    """Wall and processor seconds, bytes of WAL and rows written of one load."""
    target.ask("CHECKPOINT")
    written, position = target.ask(WRITTEN), target.ask("SELECT pg_current_wal_insert_lsn()")
    spent, began = processor_s(cluster), time.perf_counter()
    load()
    seconds, spent = time.perf_counter() - began, processor_s(cluster) - spent
    wal = float(target.ask(f"SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '{position}')"))
    return {"seconds": seconds, "processor_s": spent, "wal_bytes": wal, "rows_written": int(target.ask(WRITTEN) - written)}


def check(target: Target, contestant: Contestant, objects: list[StreetObject]) -> None:
    """Everything arrived, and what was known before was replaced, or kept as history."""
    source = "kryss.object_version WHERE upper_inf(system)" if contestant.history else "bench.object"
    found = target.ask(f"SELECT ARRAY[count(*), sum(cardinality(evidence_image_ids))] FROM {source}")
    expected = [len(objects), sum(len(one.evidence) for one in objects)]
    if [int(value) for value in found] != expected:
        raise SystemExit(f"{contestant.name}: {found} rows and sightings, not {expected}")
    if (
        contestant.history
        and (past := target.ask("SELECT count(*) FROM kryss.object_version WHERE NOT upper_inf(system)"))
        != (len(objects) + 1) // 2
    ):
        raise SystemExit(f"{contestant.name}: {past} versions of before, not {(len(objects) + 1) // 2}")


def race(cluster: Cluster, rows: int, only: set[str], limit_s: float, before: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each contestant's load, and the same load again. ``before``: results of fewer rows; who would take too long by them is left
    out."""
    objects = made_objects(rows)
    found: list[dict[str, Any]] = []
    for key in (key for key in CONTESTANTS if key in only):
        smaller = [one for one in before if one["key"] == key and "seconds" in one]
        if smaller and (expected := smaller[-1]["seconds"] * rows / smaller[-1]["rows"]) > limit_s:
            found.append({"key": key, "rows": rows, "expected_s": expected})
            continue
        for result in run(cluster, key, objects, again="noop" in only and key in ("floor", "ours")):
            found.append(result)
            print(f"{result['key']}, {rows} rows: {result['seconds']:.1f} s", file=sys.stderr, flush=True)
    return found


def run(cluster: Cluster, key: str, objects: list[StreetObject], again: bool) -> Iterator[dict[str, Any]]:
    contestant, rows = CONTESTANTS[key], len(objects)
    target = copy_of(cluster, known_to(cluster, contestant, objects), f"{key.replace('-', '_')}_{rows}")
    given = contestant.prepare(objects)
    yield {"key": key, "rows": rows, **measure(cluster, target, lambda: contestant.load(target, given))}
    check(target, contestant, objects)
    if again:
        target.ask("VACUUM ANALYZE")  # as autovacuum has done by the next night; else its WAL is counted here
        yield {"key": f"{key}, the same again", "rows": rows, **measure(cluster, target, lambda: contestant.load(target, given))}
    drop(cluster, target)


def known_to(cluster: Cluster, contestant: Contestant, objects: list[StreetObject]) -> Target:
    """The database that each contestant gets a copy of: made once for those without history, once for ours."""
    name = f"{'history' if contestant.history else 'plain'}_{len(objects)}"
    server = Target(cluster.url("postgres"))
    if server.ask(f"SELECT count(*) FROM pg_database WHERE datname = '{name}'"):
        return Target(cluster.url(name))
    target = make_target(cluster, name)
    (ours if contestant.history else floor)(target, known_before(objects))
    target.ask("VACUUM ANALYZE")
    return target


def copy_of(cluster: Cluster, known: Target, name: str) -> Target:
    Target(cluster.url("postgres")).ask(f"CREATE DATABASE {name} TEMPLATE {make_url(known.url).database}")
    return Target(cluster.url(name))


def drop(cluster: Cluster, target: Target) -> None:
    Target(cluster.url("postgres")).ask(f"DROP DATABASE {make_url(target.url).database} WITH (FORCE)")


# -- ten versions of a million objects --------------------------------------------------------------------------------------

FILL = f"""
INSERT INTO kryss.object (code, id, class_name, first_system)
SELECT '{CODE}', md5(n::text)::uuid, 'stop', '2026-01-01Z' FROM generate_series(1, %(rows)s) n;
INSERT INTO kryss.object_version (code, object_id, class_name, geom, covariance_ee_m2, covariance_en_m2, covariance_nn_m2,
    error_radius_m, first_seen_at, last_seen_at, status, standing_probability, evidence_image_ids, evidence_ordinals, misses,
    facing_deg, height_m, height_sigma_m, model_key, method, reason, system, follows)
SELECT '{CODE}', o.id, 'regulatory--stop--g1', ST_SetSRID(ST_MakePoint(o.lon + night * 1e-6, o.lat), 4326), 1, 0.1, 2, 3,
    timestamptz '2025-01-01Z' + o.n * interval '1 second', timestamptz '2025-06-01Z' + o.n * interval '1 second', 'standing', 0.9,
    ARRAY[(10000000000000 + o.n)::text, (20000000000000 + night)::text, '30000000000000'], '{{0,1,2}}', '{{}}', 90, 2.5, 0.1,
    'kryss-street-lite0@2.1', 'known-size/sfm', 'evidence',
    tstzrange(timestamptz '2026-01-01Z' + night * interval '1 day',
              CASE WHEN night < {NIGHTS} THEN timestamptz '2026-01-01Z' + (night + 1) * interval '1 day' END, '[)'),
    CASE WHEN night > 1 THEN timestamptz '2026-01-01Z' + night * interval '1 day' END
FROM generate_series(1, {NIGHTS}) night, (
    SELECT n, md5(n::text)::uuid AS id,
        {BOX[0]} + {BOX[2] - BOX[0]} * (hashint8(n) / 4294967296.0::float8 + 0.5) AS lon,
        {BOX[1]} + {BOX[3] - BOX[1]} * (hashint8(n + 100000000) / 4294967296.0::float8 + 0.5) AS lat
    FROM generate_series(1, %(rows)s) n ORDER BY id
) o ORDER BY night, o.id;
"""
"""Night by night, and inside a night by id: the order in which nights write."""
PARTS = """
SELECT 0, format('ALTER TABLE kryss.object_version ADD CONSTRAINT %I %s', conname, pg_get_constraintdef(oid)) AS make,
       format('ALTER TABLE kryss.object_version DROP CONSTRAINT %I', conname) AS unmake
FROM pg_constraint WHERE conrelid = 'kryss.object_version'::regclass AND contype IN ('p', 'u', 'x')
UNION ALL
SELECT 1, indexdef, format('DROP INDEX kryss.%I', indexname) FROM pg_indexes
WHERE schemaname = 'kryss' AND tablename = 'object_version'
AND NOT EXISTS (SELECT FROM pg_constraint WHERE conname = indexname AND conrelid = 'kryss.object_version'::regclass)
UNION ALL
SELECT 2, format('ALTER TABLE kryss.object_version ADD CONSTRAINT %I %s', conname, pg_get_constraintdef(oid)),
       format('ALTER TABLE kryss.object_version DROP CONSTRAINT %I', conname)
FROM pg_constraint WHERE conrelid = 'kryss.object_version'::regclass AND contype = 'f'
ORDER BY 1
"""
KNOWN, VALID = "2026-01-06 12:00Z", "2026-01-01Z"
QUESTIONS = {
    "objects in a box of 200 m, now": "SELECT * FROM kryss.object_now WHERE geom && {small}",
    "objects in a box of 1 km, now": "SELECT * FROM kryss.object_now WHERE geom && {large}",
    "objects_as_of, in a box of 200 m": f"SELECT * FROM kryss.objects_as_of('{VALID}', '{KNOWN}') WHERE geom && {{small}}",
    "objects_as_of, in a box of 1 km": f"SELECT * FROM kryss.objects_as_of('{VALID}', '{KNOWN}') WHERE geom && {{large}}",
    "history of one object": "SELECT * FROM kryss.object_history WHERE code = '5001' AND object_id = {id}",
    "objects_as_of, all (counted in the database)": f"SELECT count(*) FROM kryss.objects_as_of('{VALID}', '{KNOWN}')",
    "objects now, all (counted in the database)": "SELECT count(*) FROM kryss.object_now",
}


def latencies(cluster: Cluster, rows: int) -> list[dict[str, Any]]:
    """Milliseconds until the client has all rows, by question: median and 95 %, after one round that warms the caches."""
    target = make_target(cluster, "latency")
    with target.cursor() as cursor:
        cursor.execute(PARTS)
        parts = cursor.fetchall()
        for _, _, unmake in reversed(parts):
            cursor.execute(unmake)
        cursor.execute(FILL, {"rows": rows})
        cursor.execute("SET LOCAL maintenance_work_mem = '1GB'")
        for _, make, _ in parts:
            cursor.execute(make)
    target.ask("VACUUM ANALYZE")
    versions = target.ask("SELECT count(*) FROM kryss.object_version")
    draw = random.Random(5)
    found = []
    for question, sql in QUESTIONS.items():
        repeats = 3 if "all" in question else ASKED
        asked = [
            (draw.uniform(BOX[0], BOX[2] - 0.02), draw.uniform(BOX[1], BOX[3] - 0.01), draw.randint(1, rows))
            for _ in range(repeats)
        ]
        times, sizes = [], []
        with target.cursor() as cursor:
            for warm in (True, False):
                for west, south, number in asked:
                    boxes = {name: box(west, south, metres) for name, metres in (("small", 200), ("large", 1000))}
                    began = time.perf_counter()
                    cursor.execute(sql.format(**boxes, id=f"md5('{number}')::uuid"))
                    got = cursor.fetchall()
                    if not warm:
                        times.append((time.perf_counter() - began) * 1000)
                        sizes.append(len(got) if "all" not in question else got[0][0])
        found.append(
            {
                "question": question,
                "versions": versions,
                "rows": statistics.median(sizes),
                "median_ms": statistics.median(times),
                "p95_ms": sorted(times)[int(0.95 * (len(times) - 1))],
            }
        )
    drop(cluster, target)
    return found


def box(west: float, south: float, metres: float) -> str:
    north, east = south + metres / 111_200, west + metres / 49_900
    return f"ST_MakeEnvelope({west}, {south}, {east}, {north}, 4326)"


# -- telling ----------------------------------------------------------------------------------------------------------------


def name_of(key: str) -> str:
    plain, _, rest = key.partition(",")
    return CONTESTANTS[plain].name + (f",{rest}" if rest else "")


def report(results: dict[str, Any]) -> str:
    told = [
        f"{date.today().isoformat()}; PostgreSQL "
        + ", ".join(f"{name} {value}" for name, value in results["settings"].items())
        + ".",
        "",
    ]
    for rows in sorted({one["rows"] for one in results["loads"]}):
        loads = [one for one in results["loads"] if one["rows"] == rows]
        base = next((one for one in loads if one["key"] == "floor"), None)
        told += [
            f"{rows:,} rows, half of them updates:",
            "",
            "| load | seconds | rows/s | to the floor | processor s | to the floor | WAL MB | rows written |",
            "|---|---:|---:|---:|---:|---:|---:|---:|",
        ]
        for one in loads:
            if "seconds" not in one:
                told.append(f"| {name_of(one['key'])} | left out: {one['expected_s'] / 60:.0f} min expected | | | | | | |")
                continue
            ratios = [f"{base[of] / one[of]:.2f}" if base and "," not in one["key"] else "" for of in ("seconds", "processor_s")]
            told.append(
                f"| {name_of(one['key'])} | {one['seconds']:.1f} | {one['rows'] / one['seconds']:,.0f} | {ratios[0]} "
                f"| {one['processor_s']:.1f} | {ratios[1]} | {one['wal_bytes'] / 1e6:,.2f} | {one['rows_written']:,} |"
            )
        told.append("")
    if results["latencies"]:
        versions = results["latencies"][0]["versions"]
        told += [
            f"{versions:,} versions ({NIGHTS} of each object):",
            "",
            "| question | rows | median ms | 95 % ms |",
            "|---|---:|---:|---:|",
        ]
        told += [
            f"| {one['question']} | {one['rows']:,.0f} | {one['median_ms']:.1f} | {one['p95_ms']:.1f} |"
            for one in results["latencies"]
        ]
    return "\n".join(told) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(prog="kryss bench load", description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("--rows", type=int, action="append", metavar="N", help="rows of a load; may be repeated (50000 and 1000000)")
    add(
        "--only",
        nargs="+",
        choices=[*CONTESTANTS, "noop", "latency"],
        metavar="NAME",
        help=f"{', '.join(CONTESTANTS)}, noop, latency",
    )
    add("--objects", type=int, default=1_000_000, metavar="N", help=f"objects with {NIGHTS} versions each, for the latencies")
    add("--limit", type=float, default=20, metavar="MINUTES", help="leave out loads that should take longer, by the smaller size")
    add("--json", type=Path, metavar="FILE", help="write the figures")
    add("--report", type=Path, metavar="FILE", help="write the tables as Markdown")
    options = parser.parse_args()
    only = set(options.only or [*CONTESTANTS, "noop", "latency"])
    results: dict[str, Any] = {"settings": {}, "loads": [], "latencies": []}
    with temporary_cluster() as cluster:
        server = Target(cluster.url("postgres"))
        results["settings"] = {name: server.ask(f"SHOW {name}") for name in SETTINGS}
        for rows in sorted(options.rows or [50_000, 1_000_000]) if only & CONTESTANTS.keys() else []:
            results["loads"] += race(cluster, rows, only, options.limit * 60, results["loads"])
        if "latency" in only:
            results["latencies"] = latencies(cluster, options.objects)
    text = report(results)
    print(text)
    if options.report:
        options.report.write_text(text, encoding="utf-8")
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Writes the objects of a municipality as GeoJSON by Kryss and by others, and a whole release.

    ./kryss bench export [--rows 10000 --rows 1000000] [--only floor ours ...] [--repeats 3] [--json FILE] [--report FILE]

The floor is what a careful person writes: ``ST_AsGeoJSON(t.*)`` of the columns that the properties are made from, in order of id,
through a server-side cursor, raw to a file. ``ours`` is the finished ``objects.geojson``: rounded, with instants in UTC, error
ellipses and bbox, from `LayerRows`. Each contestant is a program of its own; the peak of its memory, its children's too, is what
the system tells of it. Contestants take turns; the figures are medians. One intersection in ten objects.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import psycopg2
from sqlalchemy import make_url

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "include"), str(ROOT / "bench")]

from kryss.store import LayerRows, open_store  # noqa: E402

CODE = "5001"
IMAGE_URL = "https://www.mapillary.com/app/?pKey={key}"
PER_INTERSECTION = 10
COLUMNS = f"""
SELECT v.object_id AS id, v.class_name AS class, a.intersection_id, v.status, v.standing_probability, v.first_seen_at,
       v.last_seen_at, v.ended_at, v.began_after, v.valid, v.replaced_by, v.error_radius_m, v.covariance_ee_m2,
       v.covariance_en_m2, v.covariance_nn_m2, v.facing_deg, v.height_m, v.image_id AS image_key,
       '{IMAGE_URL.format(key="")}' || v.image_id AS image_url, cardinality(v.evidence_image_ids) AS image_count,
       cardinality(v.misses) AS miss_count, cardinality(v.gone_by) AS absence_count, v.method, v.model_key AS model, v.geom
FROM kryss.object_version v
JOIN kryss.assignment a ON a.code = v.code AND a.object_id = v.object_id AND upper_inf(a.system)
WHERE v.code = '{CODE}' AND v.known_to IS NULL
ORDER BY v.object_id
"""
BATCH = 10_000
"""Rows that the floor fetches at a time."""


# -- contestants, each in a program of its own -------------------------------------------------------------------------------


def sizes(class_name: str) -> float | None:
    return 0.6


@contextmanager
def rows_of(url: str) -> Iterator[LayerRows]:
    with open_store(url).snapshot() as reader:
        yield reader.layer(CODE, sizes=sizes, image_url=IMAGE_URL)


def floor(url: str, folder: Path) -> int:
    features = 0
    connection = psycopg2.connect(url)
    with connection, connection.cursor("export") as cursor, (folder / "objects.geojson").open("w", encoding="utf-8") as target:
        cursor.itersize = BATCH
        cursor.execute(f"SELECT ST_AsGeoJSON(t.*) FROM ({COLUMNS}) t")
        target.write('{"type":"FeatureCollection","features":[\n')
        for (feature,) in cursor:
            target.write(f",{feature}\n" if features else f"{feature}\n")
            features += 1
        target.write("]}\n")
    return features


def _collection(path: Path, bbox: Any, write: Callable[[Callable[[bytes], object]], int]) -> int:
    with path.open("wb", buffering=1 << 20) as target:
        target.write(b'{"type":"FeatureCollection",\n"bbox":' + json.dumps(bbox).encode() + b',\n"features":[\n')
        before = b""

        def feature(line: bytes) -> None:
            nonlocal before
            target.write(before + line + b"\n")
            before = b","

        count = write(feature)
        target.write(b"]}\n")
    return count


def ours(url: str, folder: Path) -> int:
    with rows_of(url) as rows:
        return _collection(folder / "objects.geojson", rows.summary().bboxes["objects"], rows.objects)


def ours_intersections(url: str, folder: Path) -> int:
    with rows_of(url) as rows:
        _collection(folder / "intersections.geojson", rows.summary().bbox, rows.intersections)
        return rows.summary().objects


def release(url: str, folder: Path) -> int:
    """All files of a first release, plain and gzip."""
    from kryss.layer.release import Inputs, publish
    from kryss.model import Municipality

    store = open_store(url)
    with store.snapshot() as reader:
        town = reader.municipality(CODE)
        assert isinstance(town, Municipality)
        rows = reader.layer(CODE, sizes=sizes, image_url=IMAGE_URL)

        def record(published: Any, inputs: dict[str, Any]) -> None:
            with store.transaction(CODE) as tx:
                tx.record_release(published, inputs, rows.known)

        inputs = Inputs("kryss-street-lite0@2.1", "bench", 0, None, image_url=IMAGE_URL)
        publish(rows, str(folder), town, date(2026, 6, 1), inputs, record=record, since={})
        return rows.summary().objects


def geopandas_to_file(url: str, folder: Path) -> int:
    import geopandas
    from sqlalchemy import create_engine

    engine = create_engine(make_url(url).set(drivername="postgresql+psycopg2"))
    frame = geopandas.read_postgis(COLUMNS.replace("v.valid,", "v.valid::text AS valid,"), engine, geom_col="geom")
    frame = frame.astype(dict.fromkeys(("id", "replaced_by"), str))
    frame.to_file(folder / "objects.geojson", driver="GeoJSON", RFC7946="YES")
    return len(frame)


def ogr2ogr(url: str, folder: Path) -> int:
    given = make_url(url)
    environment = {
        **os.environ, "PGHOST": given.host or "", "PGPORT": str(given.port), "PGUSER": given.username or "",
        "PGPASSWORD": given.password or "", "PGDATABASE": given.database or "",
    }  # fmt: skip
    path = folder / "objects.geojson"
    command = ["ogr2ogr", "-f", "GeoJSON", "-lco", "RFC7946=YES", str(path), "PG:application_name=bench", "-sql", COLUMNS]
    subprocess.run(command, check=True, env=environment, capture_output=True)
    return sum(line.startswith('{ "type": "Feature",') for line in path.open(encoding="utf-8"))


CONTESTANTS: dict[str, tuple[str, Callable[[str, Path], int]]] = {
    "floor": ("floor: ST_AsGeoJSON through a cursor, raw", floor),
    "ours": ("ours: objects.geojson", ours),
    "intersections": ("ours: intersections.geojson, with histories", ours_intersections),
    "release": ("ours: a whole release, all files, plain and gzip", release),
    "geopandas": ("geopandas read_postgis and to_file", geopandas_to_file),
    "ogr2ogr": ("ogr2ogr from PostGIS", ogr2ogr),
}


def contest(key: str, folder: Path) -> None:
    """In a program of its own: does it, and says how it went."""
    url = os.environ.pop("KRYSS_BENCH_URL")
    began = time.perf_counter()
    features = CONTESTANTS[key][1](url, folder)
    seconds = time.perf_counter() - began
    written = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    files = sum(path.is_file() for path in folder.rglob("*"))
    # Not ru_maxrss of itself: that remembers the program that started it.
    own = next(int(line.split()[1]) for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    peak = own + resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    print(json.dumps({"features": features, "seconds": seconds, "bytes": written, "files": files, "peak_mb": peak / 1024}))


# -- what is exported --------------------------------------------------------------------------------------------------------


def fill(cluster: Any, name: str, rows: int, versions: int) -> str:
    """A database with so many objects, each believed otherwise ``versions`` times; returns its URL."""
    import load

    from kryss.model import Intersection

    target = load.make_target(cluster, name)
    draw = random.Random(6)
    if versions > 1:
        with target.cursor() as cursor:
            cursor.execute(load.FILL, {"rows": rows})
            cursor.execute("UPDATE kryss.object_version SET image_id = evidence_image_ids[1]")
            cursor.execute("UPDATE kryss.object_version SET status = 'unconfirmed' WHERE lower(system) < '2026-01-06Z'")
            cursor.execute("SELECT object_id::text FROM kryss.object_version WHERE known_to IS NULL ORDER BY 1")
            ids = [one for (one,) in cursor.fetchall()]
    else:
        objects = load.made_objects(rows)
        ids = [one.id for one in objects]
        with open_store(target.url).transaction(CODE) as tx:
            tx.write_objects(CODE, (replace(one, image_id=one.evidence[0][0]) for one in objects))
        del objects

    def junction(number: int) -> Intersection:
        lon, lat = draw.uniform(load.BOX[0], load.BOX[2]), draw.uniform(load.BOX[1], load.BOX[3])
        corners = ((-1, -1), (1, -1), (1.3, 0), (1, 1), (0, 1.4), (-1, 1), (-1, -1))
        area = tuple((lon + x * 1e-3, lat + y * 5e-4) for x, y in corners)
        roads = tuple(((lon, lat), (lon + x * 5e-4, lat + y * 5e-4), (lon + x * 1e-3, lat)) for x, y in corners[:4])
        return Intersection(
            f"nvdb:{number}", "nvdb", lon, lat, 50.0, area, name=f"Gate {number}", kind="crossing", arms=4, approaches=roads,
            area_method="arms",
        )  # fmt: skip

    places = [junction(number) for number in range(max(1, rows // PER_INTERSECTION))]
    with open_store(target.url).transaction(CODE) as tx:
        tx.write_intersections(CODE, places)
        tx.write_assignments(CODE, {one: draw.choice(places).id for one in ids})
    target.ask("VACUUM ANALYZE")
    return target.url


# -- measuring ---------------------------------------------------------------------------------------------------------------


def measure(cluster: Any, url: str, key: str) -> dict[str, Any]:
    from load import processor_s

    with tempfile.TemporaryDirectory() as folder:
        spent = processor_s(cluster)
        command = [sys.executable, __file__, "--contest", key, folder]
        done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "KRYSS_BENCH_URL": url}, check=False)
        if done.returncode:
            return {"key": key, "failed": (done.stderr.strip().splitlines() or ["?"])[-1][:200]}
        return {"key": key, **json.loads(done.stdout.splitlines()[-1]), "processor_s": processor_s(cluster) - spent}


def race(cluster: Any, url: str, keys: list[str], repeats: int) -> list[dict[str, Any]]:
    turns: dict[str, list[dict[str, Any]]] = {key: [] for key in keys}
    for _ in range(repeats):
        for key in keys:
            turns[key].append(measure(cluster, url, key))
            print(json.dumps(turns[key][-1]), file=sys.stderr, flush=True)
    found = []
    for key in keys:
        told = [one for one in turns[key] if "seconds" in one]
        medians = {name: statistics.median(one[name] for one in told) for name in (told[0] if told else {}) if name != "key"}
        found.append({"key": key, **medians} if told else turns[key][0])
    return found


def report(results: list[dict[str, Any]]) -> str:
    told = [f"{datetime.now(UTC).date().isoformat()}, {os.cpu_count()} cores.", ""]
    for rows, versions in sorted({(one["rows"], one["versions"]) for one in results}):
        these = [one for one in results if (one["rows"], one["versions"]) == (rows, versions)]
        base = next((one for one in these if one["key"] == "floor" and "seconds" in one), None)
        told += [
            f"{rows:,} objects" + (f", {versions} versions each" if versions > 1 else "") + ":",
            "",
            "| | seconds | features/s | to the floor | MB | MB/s | processor s | peak memory MB | files |",
            "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
        ]
        for one in these:
            name = CONTESTANTS[one["key"]][0]
            if "seconds" not in one:
                told.append(f"| {name} | failed: {one['failed']} | | | | | | | |")
                continue
            rate, size = one["features"] / one["seconds"], one["bytes"] / 1e6
            ratio = f"{rate / (base['features'] / base['seconds']):.2f}" if base else ""
            told.append(
                f"| {name} | {one['seconds']:.1f} | {rate:,.0f} | {ratio} | {size:,.1f} | {size / one['seconds']:,.1f} "
                f"| {one['processor_s']:.1f} | {one['peak_mb']:,.0f} | {one['files']:.0f} |"
            )
        told.append("")
    return "\n".join(told)


def main() -> int:
    parser = argparse.ArgumentParser(prog="kryss bench export", description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("--rows", type=int, action="append", metavar="N", help="objects; may be repeated (10000, 100000 and 1000000)")
    add("--history", type=int, default=100_000, metavar="N", help="objects with 10 versions each (0: none)")
    add("--only", nargs="+", choices=list(CONTESTANTS), metavar="NAME", help=", ".join(CONTESTANTS))
    add("--repeats", type=int, default=3, metavar="N", help="turns of each (a million objects: one)")
    add("--json", type=Path, metavar="FILE", help="write the figures")
    add("--report", type=Path, metavar="FILE", help="write the tables as Markdown")
    add("--contest", nargs=2, metavar=("NAME", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.contest:
        contest(options.contest[0], Path(options.contest[1]))
        return 0
    from load import NIGHTS, Target, drop

    from kryss.services.postgres import temporary_cluster

    keys = [key for key in CONTESTANTS if not options.only or key in options.only]
    asked = [(rows, 1) for rows in sorted(options.rows or [10_000, 100_000, 1_000_000])]
    asked += [(options.history, NIGHTS)] if options.history else []
    results: list[dict[str, Any]] = []
    with temporary_cluster() as cluster:
        for rows, versions in asked:
            url = fill(cluster, f"export_{rows}_{versions}", rows, versions)
            found = race(cluster, url, keys, 1 if rows >= 1_000_000 else options.repeats)
            results += [{"rows": rows, "versions": versions, **one} for one in found]
            drop(cluster, Target(url))
    text = report(results)
    print(text)
    if options.report:
        options.report.write_text(text, encoding="utf-8")
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

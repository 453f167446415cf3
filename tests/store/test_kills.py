"""A loader process that is killed (SIGKILL) leaves nothing, whichever of its statements it had reached."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

LOADER = '''
import importlib.util, os, signal, sys

from sqlalchemy import event
from sqlalchemy.engine import Engine

from kryss.model import Lineage, Survey, SurveyedThing
from kryss.store import open_store

url, nouns_path = sys.argv[1:]
spec = importlib.util.spec_from_file_location("nouns", nouns_path)
nouns = importlib.util.module_from_spec(spec)
sys.modules[spec.name] = nouns
spec.loader.exec_module(nouns)


def load(last_statement):
    """Everything that nights write, in one transaction; dies at that statement. Returns how many there were."""
    reached = 0

    @event.listens_for(Engine, "before_cursor_execute")
    def count(*_):
        nonlocal reached
        reached += 1
        if reached == last_statement:
            os.kill(os.getpid(), signal.SIGKILL)

    with open_store(url).transaction("town") as tx:
        tx.load(**nouns.Street().stated())
        tx.write_objects("town", [nouns.came_back(1), nouns.ended(2)], lineage=[Lineage(nouns.object_id(2), "unsupported")])
        tx.write_intersections("town", nouns.intersections())
        tx.write_assignments("town", {nouns.object_id(1): "osm:1"})
        tx.record_release(nouns.release())
        tx.remove_images(["99"], "takedown")
        tx.load_survey(Survey("survey:1", "lights", nouns.NOON, 0.5, True, (SurveyedThing(2, "stop", 10.4, 63.4),)))
        if last_statement == 0:
            raise SystemExit(reached)


for line in sys.stdin:
    child = os.fork()
    if child == 0:
        load(int(line))
        os._exit(0)
    _, status = os.waitpid(child, 0)
    print(status, flush=True)
'''


def test_a_loader_killed_at_any_statement_leaves_nothing(town, sql, database_url):
    names = [name for (name,) in sql("SELECT relname FROM pg_class WHERE relnamespace = 'kryss'::regnamespace AND relkind = 'r'")]

    def rows() -> dict[str, list[str]]:
        return {name: sorted(row for (row,) in sql(f"SELECT t::text FROM kryss.{name} t")) for name in names}

    before = rows()
    nouns = Path(__file__).with_name("conftest.py")
    environment = {"PYTHONPATH": str(Path(__file__).parents[2] / "include")}
    with subprocess.Popen(
        [sys.executable, "-c", LOADER, database_url, str(nouns)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:
        assert process.stdin is not None and process.stdout is not None

        def status(last_statement: int) -> int:
            print(last_statement, file=process.stdin, flush=True)
            return int(process.stdout.readline())

        statements = status(0) >> 8
        assert statements > 40
        for number in range(2, statements + 1, 7):
            assert status(number) == 9, number
            assert rows() == before, number
        assert status(-1) == 0
        process.stdin.close()
    after = rows()
    untouched = {name for name in names if after[name] == before[name]}
    assert untouched == {"migration", "verdict"}

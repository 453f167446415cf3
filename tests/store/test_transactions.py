"""A killed load leaves nothing; one municipality waits for itself only; no error or representation holds a password."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from kryss.model import Lineage
from kryss.store import SchemaMissing, StoreError, StoreUnavailable, open_store

PASSWORD = "s3cret-Pa%s"


def test_a_load_whose_connection_is_killed_leaves_nothing(town, street, make, sql):
    def load():
        with town.transaction("town") as tx:
            tx.load(**street.stated())
            tx.write_objects("town", [make.object(1)])
            killed = sql(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
                "WHERE datname = current_database() AND state = 'idle in transaction'"
            )
            assert [row[0] for row in killed] == [True]
            tx.write_intersections("town", make.intersections())

    before = town.summary("town")
    with pytest.raises(StoreUnavailable, match="Nothing was kept"):
        load()
    assert town.summary("town") == before
    with town.transaction("town") as tx:
        assert tx.load(**street.stated())["image"] == 4


def test_an_error_in_the_middle_leaves_nothing(town, street, make):
    before = town.summary("town")
    with pytest.raises(RuntimeError, match="worker"), town.transaction("town") as tx:
        tx.load(**street.stated())
        tx.write_objects("town", [make.object(1)])
        raise RuntimeError("worker died")
    assert town.summary("town") == before


def test_municipalities_do_not_wait_for_each_other(store, street, make):
    """Both hold their transaction open until the other has written the very same photos and objects."""
    both_written = threading.Barrier(2, timeout=20)

    def load(code: str) -> int:
        with store.transaction(code, statement_timeout_s=15) as tx:
            tx.upsert_municipality(make.municipality(code))
            tx.load(**street.stated())
            tx.write_objects(code, [make.object(2)])
            counts = tx.write_objects(code, [make.object(1)], lineage=[Lineage(make.object_id(1), "unsupported")])
            tx.write_intersections(code, make.intersections())
            tx.write_assignments(code, {make.object_id(1): "osm:1"})
            tx.remove_images(["99"], "takedown")
            tx.record_release(replace(make.release(), code=code))
            both_written.wait()
            return counts.new

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(load, ["east", "west"])) == [1, 1]
    assert store.summary("east") == store.summary("west")


def test_two_loads_of_one_municipality_come_one_after_the_other(town, make, sql):
    """The second starts while the first is open, and then sees what the first has written."""
    holding, entered = threading.Event(), threading.Event()

    def first() -> None:
        with town.transaction("town") as tx:
            tx.write_objects("town", [make.object(1)])
            holding.set()
            while not sql("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")[0][0]:
                time.sleep(0.01)
            assert not entered.is_set()

    def second() -> list[str]:
        holding.wait(20)
        with town.transaction("town") as tx:
            entered.set()
            tx.write_objects("town", [make.object(1, lon=10.5)])
            return [version.known_from for version in tx.object_history("town")[make.object_id(1)]]

    with ThreadPoolExecutor(2) as pool:
        waiting = pool.submit(first)
        known_from = pool.submit(second).result(timeout=30)
        waiting.result(timeout=30)
    assert len(known_from) == 2 and known_from[0] < known_from[1]


def test_a_reader_waits_for_nobody_and_sees_one_instant(town, street, make):
    with town.snapshot() as reader:
        assert reader.images("town") == []
        with town.transaction("town") as tx:
            tx.load(**street.stated())
        assert reader.images("town") == []
    assert town.summary("town")["images"] == 4


def test_a_statement_ends_with_the_timeout_of_its_task(town):
    with (
        town.transaction("town"),
        pytest.raises(StoreError, match="longer than its timeout"),
        town.transaction("town", statement_timeout_s=0.05),
    ):
        pass


def test_a_read_ends_with_the_timeout_of_its_task_too(town, make):
    with town.transaction("town") as tx:
        tx.load(images=[replace(make.images()[1], id=str(number)) for number in range(3000)])
    with pytest.raises(StoreError, match="longer than its timeout"), town.snapshot(statement_timeout_s=0.001) as reader:
        reader.images("town")


def test_a_transaction_writes_its_own_municipality_only(town, make):
    with town.transaction("town") as tx, pytest.raises(ValueError, match="lock of 'town' and cannot write 'other'"):
        tx.write_objects("other", [make.object(1)])


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("mysql://kryss:{}@localhost/kryss", "mysql"),
        ("postgresql://kryss:{}@localhost", "database None"),
        ("//kryss:{}@localhost/x", "not a URL"),
        ("postgresql://kryss:{}@localhost:port/kryss", "not a URL"),
    ],
)
def test_a_url_that_cannot_be_used_is_explained_without_its_password(url, said):
    with pytest.raises(StoreError, match="KRYSS_DATABASE_URL") as error:
        open_store(url.format(PASSWORD))
    assert said in str(error.value)
    assert PASSWORD not in everything_about(error.value)


@pytest.mark.parametrize("url", ["postgresql://kryss:{}@127.0.0.1:1/kryss", "postgres://kryss@127.0.0.1:1/kryss?password={}"])
def test_a_server_that_does_not_answer_is_named_without_the_password(url):
    store = open_store(url.format(PASSWORD.replace("%", "%25")))
    with pytest.raises(StoreUnavailable, match=r"127\.0\.0\.1:1/kryss: .*refused.*doctor") as error:
        store.summary("town")
    assert PASSWORD not in everything_about(error.value) + repr(store)
    assert PASSWORD.replace("%", "%25") not in everything_about(error.value) + repr(store)


def test_a_database_without_schema_says_migrate(empty_database_url):
    with pytest.raises(SchemaMissing, match=r"Store\.migrate\(\)"):
        open_store(empty_database_url).image_states("town", "signs@1")


def everything_about(error: BaseException) -> str:
    """The texts of an error and of those it came from."""
    return repr(error) + "".join(everything_about(cause) for cause in (error.__cause__, error.__context__) if cause)


def test_a_municipality_is_forgotten_whole_and_its_neighbour_is_not(store, street, make):
    for code in ("demo-1", "demo-2"):
        with store.transaction(code) as tx:
            tx.upsert_municipality(make.municipality(code))
            tx.load(**street.stated())
            tx.write_objects(code, [make.object(1)])
    with store.transaction("demo-1") as tx:
        assert tx.forget()["object"] == 1
    with store.snapshot() as seen:
        assert seen.municipality("demo-1") is None
        assert seen.images("demo-1") == seen.objects("demo-1") == []
        assert len(seen.objects("demo-2")) == 1
        assert seen.images("demo-2")

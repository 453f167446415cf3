"""``reprocess`` and ``takedown``: known photos by another model, and photos that must go. Started by hand, for one municipality.

reprocess: known -> plan -> [ per shard: fetch -> detect -> depth ] -> place -> merge -> assign -> check -> [approval] -> export
-> report
takedown: takedown -> place -> merge -> assign -> check -> [approval] -> export -> report
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import Param, dag, get_current_context, task

from kryss.config import TIMEOUTS, load_municipalities
from kryss_airflow import current_run, final_failures
from kryss_tasks import DEFAULTS, believe_and_publish, look_at_photos

REPROCESS = """
### Reprocess

Sends known photos of a municipality through another model and replaces what is believed by what it finds: system time moves,
valid time does not. The release that follows says `model` where it says anything. Photos that this model has not seen yet keep
the word of the model before: a run with `limit` is half a reprocess, and the next run goes on where it ended. Afterwards set
the municipality's `model`, else the next refresh with new photos goes back to the old one. Safe to run again at any time.
"""
TAKEDOWN = """
### Takedown

Removes photos, by id or by whole sequences, with their evidence: from the photo store, the stage files and the database, past
beliefs too. They are never loaded again, even while Mapillary lists them. An object that loses all its photos is said to have
lost its evidence, not to have gone. A new release follows; the report names the older ones that hold the ids. Safe to run again.
"""
DAY = r"^\d{4}-\d\d-\d\d$"


def _day(description: str) -> Param:
    return Param(None, type=["null", "string"], pattern=DAY, description=description)


def _ids(description: str) -> Param:
    return Param([], type="array", items={"type": "string", "minLength": 1}, description=description)


def reprocess_dag(codes: list[str]) -> Any:
    @dag(
        dag_id="reprocess",
        dag_display_name="Reprocess known photos by another model",
        doc_md=REPROCESS,
        schedule=None,
        catchup=False,
        max_active_runs=4,
        tags=["kryss", "reprocess"],
        default_args=DEFAULTS,
        params={
            "code": Param(type="string", enum=codes, description="Municipality"),
            "model": Param(type="string", minLength=1, description="A model of the registry: name or name@version"),
            "since": _day("Only photos captured on this day (UTC) or later"),
            "until": _day("Only photos captured on this day (UTC) or earlier"),
            "limit": Param(None, type=["null", "integer"], minimum=1, description="At most this many photos, the oldest first"),
            "force": Param(False, type="boolean", description="Photos that this model has seen, too"),
            "approve": Param(False, type="boolean", description="Publish although the check would hold the release back"),
            "release_date": _day("Date of the release instead of today's"),
        },
    )
    def reprocess() -> None:
        @task(execution_timeout=TIMEOUTS["known"])
        def known() -> dict[str, Any]:
            from kryss.pipeline import stages

            with final_failures():
                return stages.known(current_run())

        found = known()
        believe_and_publish(found, look_at_photos(found))

    return reprocess()


def takedown_dag(codes: list[str]) -> Any:
    @dag(
        dag_id="takedown",
        dag_display_name="Take photos down",
        doc_md=TAKEDOWN,
        schedule=None,
        catchup=False,
        max_active_runs=4,
        tags=["kryss", "takedown"],
        default_args=DEFAULTS,
        params={
            "code": Param(type="string", enum=codes, description="Municipality"),
            "image_ids": _ids("Mapillary image ids"),
            "sequence_ids": _ids("Mapillary sequence ids: all their known photos"),
            "reason": Param(type="string", minLength=1, description="Who asked, and why; kept in the report"),
            "approve": Param(True, type="boolean", description="Publish however many objects go with the photos"),
            "release_date": _day("Date of the release instead of today's"),
        },
    )
    def takedown() -> None:
        @task(task_id="takedown", execution_timeout=TIMEOUTS["takedown"])
        def choose() -> dict[str, Any]:
            from kryss.pipeline import stages

            params = get_current_context()["params"]
            with final_failures():
                return stages.takedown(current_run(), params["image_ids"], params["sequence_ids"], params["reason"])

        found = choose()
        believe_and_publish(found, found)

    return takedown()


if _codes := list(load_municipalities()):
    reprocess_dag(_codes)
    takedown_dag(_codes)

"""The tasks that the DAGs of photos share: what follows once it is known which photos a run is about.

``code``: the municipality of the DAG; None where a param of the run names it. Called inside a ``@dag`` function only.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import Asset, AssetAlias, get_current_context, task, task_group

from kryss.config import TIMEOUTS
from kryss_airflow import current_run, final_failures
from kryss_links import PageLink, ReportLink

if TYPE_CHECKING:
    from airflow.sdk import Context

DEFAULTS = {"owner": "kryss", "retries": 2, "retry_delay": timedelta(seconds=10), "retry_exponential_backoff": 2.0}
ANY_LAYER = AssetAlias(name="kryss_layer")
"""Stands for the layer of the municipality that a param names."""


def layer(code: str) -> Asset:
    return Asset(name=f"kryss_layer_{code}", uri=f"kryss://layer/{code}")


class Approval(ApprovalOperator):
    """Asks a person whether to publish a release that was held back, among Airflow's "required actions". It holds no worker.

    Approve: the export follows. Reject: it is skipped, nothing is published, and the run ends well: somebody decided. No answer
    in time: the task and with it the run fail. The next run of a schedule waits for this one, so the question ends before it.
    """

    MARGIN = timedelta(minutes=15)
    """Between the end of the question and the next run."""
    LEAST = timedelta(hours=1)
    """Whatever the schedule: who is asked late in the day has at least so long."""

    def __init__(self, code: str | None = None, **options: Any) -> None:
        super().__init__(subject="A release is held back", defaults=self.REJECT, **options)
        self.code = code

    def execute(self, context: Context) -> Any:
        from airflow.sdk.configuration import conf

        from kryss.pipeline import checks, report, stages

        run = current_run(self.code)
        report.forget_answer(run)
        report.collect(run)  # the page that the question leads to
        now = datetime.now(UTC)
        self.response_timeout = self.patience(run.config.approval_hours, run.config.schedule if self.code else None, now)
        self.subject, self.body = checks.question(
            run, stages.checked(run), now + self.response_timeout, conf.get("api", "base_url", fallback="")
        )
        return super().execute(context)

    @classmethod
    def patience(cls, hours: float, schedule: str | None, now: datetime) -> timedelta:
        """How long an answer is waited for."""
        from croniter import CroniterError, croniter

        patience = timedelta(hours=hours)
        if schedule is None:
            return patience
        try:
            following = croniter(schedule, now).get_next(datetime)
        except CroniterError:  # a preset that is no cron line: @once, @continuous
            return patience
        return min(patience, max(following - now - cls.MARGIN, cls.LEAST))

    def execute_complete(self, context: Context, event: dict[str, Any]) -> Any:
        from airflow.sdk.exceptions import AirflowFailException

        from kryss.pipeline import report

        run, who = current_run(self.code), (event.get("responded_by_user") or {}).get("name")
        if "error" not in event:
            if event.get("timedout"):
                report.keep_answer(run, "unanswered", None)
                raise AirflowFailException(
                    "nobody answered whether to publish what is held back: nothing is published. Clear this task to ask again"
                )
            report.keep_answer(run, "approved" if event["chosen_options"] == [self.APPROVE] else "rejected", who)
        return super().execute_complete(context, event)


def look_at_photos(found: Any, code: str | None = None) -> Any:
    """plan -> [ per shard: fetch -> detect -> depth ]; ``found``: the result of the first task, with the run's key."""

    @task(execution_timeout=TIMEOUTS["plan"])
    def plan(found: dict[str, Any]) -> list[dict[str, Any]]:
        from kryss.pipeline import stages

        return stages.plan(current_run(code), found["key"])["shards"]

    @task_group
    def shard(part: dict[str, Any]) -> None:
        @task(execution_timeout=TIMEOUTS["fetch"], map_index_template="{{ shard_name }}")
        def fetch(part: dict[str, Any]) -> dict[str, Any]:
            from kryss.pipeline import stages

            get_current_context()["shard_name"] = part["label"]
            with final_failures():
                stages.fetch(current_run(code), part["shard"])
            return part

        @task(execution_timeout=TIMEOUTS["detect"], pool="gpu", queue="gpu", map_index_template="{{ shard_name }}")
        def detect(part: dict[str, Any]) -> dict[str, Any]:
            from kryss.pipeline import stages

            get_current_context()["shard_name"] = part["label"]
            stages.detect(current_run(code), part["shard"])
            return part

        @task(execution_timeout=TIMEOUTS["depth"], pool="gpu", queue="gpu", map_index_template="{{ shard_name }}")
        def depth(part: dict[str, Any]) -> None:
            from kryss.pipeline import stages

            get_current_context()["shard_name"] = part["label"]
            stages.depth(current_run(code), part["shard"])

        depth(detect(fetch(part)))

    return shard.expand(part=plan(found))


def believe_and_publish(found: Any, after: Any, code: str | None = None) -> None:
    """place -> merge -> assign -> check -> [approval] -> export -> report, once ``after`` is done."""

    @task(execution_timeout=TIMEOUTS["place"], trigger_rule="none_failed")
    def place(found: dict[str, Any]) -> None:
        from kryss.pipeline import stages

        stages.place(current_run(code), found["key"])

    @task(execution_timeout=TIMEOUTS["merge"])
    def merge(found: dict[str, Any]) -> None:
        from kryss.pipeline import stages

        stages.merge(current_run(code), found["key"])

    @task(execution_timeout=TIMEOUTS["assign"])
    def assign() -> None:
        from kryss.pipeline import stages

        with final_failures():
            stages.assign(current_run(code))

    @task.branch(execution_timeout=TIMEOUTS["check"])
    def check() -> str:
        from kryss.pipeline import stages

        run = current_run(code)
        with final_failures():
            stages.check(run)
        return "approval" if stages.held_back(run) else "export"

    @task(execution_timeout=TIMEOUTS["export"], outlets=[layer(code) if code else ANY_LAYER], trigger_rule="none_failed")
    def export() -> dict[str, Any]:
        from airflow.sdk.exceptions import AirflowSkipException

        from kryss.pipeline import stages

        run = current_run(code)
        with final_failures():
            outcome = stages.export(run)
        if outcome["unchanged"]:
            raise AirflowSkipException(f"nothing changed since {outcome['release'] or 'the beginning'}: no release")
        if code is None:
            get_current_context()["outlet_events"][ANY_LAYER].add(layer(run.code))
        return outcome

    @task(trigger_rule="all_done", retries=0)
    def report() -> str:
        from airflow.sdk.exceptions import AirflowFailException

        from kryss.pipeline import report as reports

        summary = reports.collect(current_run(code))
        text = reports.table(summary)
        if summary["missing"]:
            raise AirflowFailException(f"\n{text}\nnot finished: {', '.join(summary['missing'])}")
        return text

    checked, published, told = check(), export(), report()
    published.operator.operator_extra_links = [PageLink(code)]
    told.operator.operator_extra_links = [ReportLink(code)]
    after >> place(found) >> merge(found) >> assign() >> checked >> published >> told
    checked >> Approval(task_id="approval", code=code) >> published

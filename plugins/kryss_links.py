"""Links from tasks of a run to the pages of Kryss. A worker works them out when the task has ended, and keeps them in XCom.

They are set on the operator (``task.operator.operator_extra_links = [PageLink(code)]``): no task of another DAG gets them.
"""

from __future__ import annotations

import logging
from typing import Any
from urllib.parse import quote

import attrs
from airflow.sdk import BaseOperatorLink

log = logging.getLogger(__name__)


def _address(path: str) -> str:
    from airflow.sdk.configuration import conf

    return f"{conf.get('api', 'base_url', fallback='').rstrip('/')}/kryss/{path}"


def _folder(code: str, ti_key: Any) -> str:
    """Where the run's measurements lie in the state folder: `kryss.pipeline.run.Run.folder`, for the run of this task."""
    from kryss.pipeline.run import short_hash

    return f"runs/{code}/{short_hash([f'{ti_key.dag_id}/{ti_key.run_id}'])}"


@attrs.define
class _OfMunicipality(BaseOperatorLink):
    code: str | None = None
    """None: the municipality that the param ``code`` of the run names."""

    def _code(self, ti_key: Any) -> str:
        return self.code or str(ti_key.get_template_context()["params"]["code"])


@attrs.define
class PageLink(_OfMunicipality):
    """From the export to the page at the release that it published, or that still stands where nothing had changed."""

    name = "Page of the release"
    xcom_key = "_link_kryss_page"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        from kryss.pipeline.state import State
        from kryss_airflow import settings

        code = self._code(ti_key)
        try:
            release = State(settings().state_url).read_json(f"{_folder(code, ti_key)}/export.json").get("release")
        except FileNotFoundError:
            release = None
        return _address(f"layer/{quote(code)}/{quote(release)}/index.html") if release else ""


@attrs.define
class ReportLink(_OfMunicipality):
    """From the report to its page."""

    name = "Report of the run"
    xcom_key = "_link_kryss_report"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        code = self._code(ti_key)
        return _address(f"report/{quote(code)}/{_folder(code, ti_key).rsplit('/', 1)[-1]}")

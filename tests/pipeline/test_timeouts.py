"""No statement outlives its task: every transaction and every read of a stage is bounded by the time-out of that stage."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from typing import Any

from sqlalchemy import text

from kryss.config import TIMEOUTS
from kryss.pipeline import stages

OPENERS = ("_snapshot", "_transaction", "_load_roads")


def opened_in(function: ast.FunctionDef) -> Iterator[str]:
    """Names of the stages for which a function opens the database; ``?`` where it hands its caller's on."""
    for node in ast.walk(function):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in OPENERS:
            name = node.args[1]
            yield name.value if isinstance(name, ast.Constant) else "?"


def test_every_stage_opens_the_database_under_its_own_name() -> None:
    functions = [node for node in ast.parse(inspect.getsource(stages)).body if isinstance(node, ast.FunctionDef)]
    opened = {}
    for function in functions:
        names = [d.args[0].value for d in function.decorator_list if isinstance(d, ast.Call) and d.func.id == "stage"]
        for used in opened_in(function):
            assert used == (names[0] if names else "?"), function.name
            opened.setdefault(used, function.name)
    assert {"discover", "place", "merge", "roads", "assign", "check", "export", "takedown"} <= opened.keys()
    assert "open_store" not in inspect.getsource(stages).split("def _client")[1]


def test_the_server_ends_a_statement_with_its_task(install: Any) -> None:
    run = install("timeouts").run
    setting = text("SELECT extract(epoch FROM current_setting('statement_timeout')::interval)")
    for opener in (stages._snapshot, stages._transaction):
        for stage, limit in TIMEOUTS.items():
            with opener(run, stage) as reader:
                assert reader._connection.scalar(setting) == limit.total_seconds(), stage

"""How long a release that is held back waits for an answer: never so long that the next night cannot begin."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from kryss_tasks import Approval

THREE = datetime(2026, 5, 4, 3, 0, tzinfo=UTC)  # a Monday


@pytest.mark.parametrize(
    ("schedule", "hours", "waits"),
    [
        ("0 2 * * *", 168.0, timedelta(hours=22, minutes=45)),
        ("@daily", 168.0, timedelta(hours=20, minutes=45)),
        ("0 2 * * 1", 200.0, timedelta(days=6, hours=22, minutes=45)),
        ("0 2 * * *", 2.0, timedelta(hours=2)),
        ("30 3 * * *", 168.0, timedelta(hours=1)),
        (None, 168.0, timedelta(days=7)),
        ("@once", 168.0, timedelta(days=7)),
        ("@continuous", 0.5, timedelta(minutes=30)),
    ],
)
def test_the_question_ends_before_the_next_run(schedule: str | None, hours: float, waits: timedelta) -> None:
    assert Approval.patience(hours, schedule, THREE) == waits

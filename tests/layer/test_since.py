"""Reasons come from what was believed after the previous release, asked for a few objects at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from kryss.layer.since import Since, Why
from kryss.model import Lineage, ObjectVersion

DAY = datetime(2026, 1, 1, tzinfo=UTC)


def status(item):
    return item.status


@pytest.fixture
def sign(town):
    return town.sign("s", "regulatory--stop--g1", 0, 0)


class Beliefs:
    def __init__(self, history=None, events=()):
        self.history, self.events, self.asked = history or {}, events, []

    def versions(self, ids: Sequence[str]):
        self.asked.append(("versions", *ids))
        return {key: self.history[key] for key in ids if key in self.history}

    def lineage(self, ids: Sequence[str]):
        self.asked.append(("lineage", *ids))
        return [event for event in self.events if event.object_id in ids]


def test_without_a_database_there_is_no_reason_and_no_fate():
    why = Why()
    assert not why.knows
    assert why.since(["s"], ["s"]).reason("s", status) is None
    assert why.since(["s"], ["s"]).heir("s", {"t"}) is None


def test_nothing_is_asked_where_nothing_is_told():
    beliefs = Beliefs()
    Why(beliefs).since([])
    assert beliefs.asked == []


def test_the_strongest_reason_since_the_release_is_told(sign, town):
    states = [sign, replace(sign, status="unconfirmed"), sign, replace(sign, status="ended")]
    versions = town.versions(*states, loaded=DAY, reasons=("street", "evidence", "model", "evidence"))
    told = {hours: Since({"s": versions}, (), DAY + timedelta(hours=hours)).reason("s", status) for hours in (-1, 1, 30, 60, 90)}
    assert told == {-1: "street", 1: "model", 30: "model", 60: "evidence", 90: "roads"}


def test_what_was_not_believed_for_a_while_is_news_when_it_is_believed_again(sign):
    versions = [
        ObjectVersion(sign, DAY, DAY + timedelta(days=1), "street"),
        ObjectVersion(sign, DAY + timedelta(days=3), None, "evidence"),
    ]
    assert Since({"s": versions}, (), DAY + timedelta(days=2)).reason("s", status) == "evidence"


def test_mergers_are_followed_in_the_database_as_far_as_they_go():
    chain = [Lineage(str(i), "merged_into", str(i + 1), "evidence", DAY) for i in range(4)]
    beliefs = Beliefs(events=[*chain, Lineage("9", "lost_evidence", None, "evidence", DAY)])
    since = Why(beliefs).since(["0", "9"], ["0", "9"])
    found = since.heir("0", {"4"})
    assert found is not None
    assert (found[0], found[1].other_id) == ("4", "1")
    assert [call[1:] for call in beliefs.asked if call[0] == "lineage"] == [("0", "9"), ("1",), ("2",), ("3",), ("4",)]


def test_mergers_in_a_circle_are_asked_for_once():
    beliefs = Beliefs(events=[Lineage("a", "merged_into", "b", "model", DAY), Lineage("b", "merged_into", "a", "model", DAY)])
    assert Why(beliefs).since(["a"], ["a"]).heir("a", {"z"}) is None
    assert len(beliefs.asked) == 3

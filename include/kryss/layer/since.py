"""What came to be believed since the previous release, and why: versions and lineage, by system time.

Reasons are those of `kryss.model.Reason`, and ``roads``: nothing was believed anew of the object, but its junction or the area
of it is another.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

from kryss.model import Lineage, ObjectVersion, StreetObject

STRONGEST_FIRST = ("street", "model", "evidence")
"""Where several beliefs since the previous release tell the same fact anew."""
ROADS = "roads"
_NOT_BELIEVED = object()


class Since:
    """The beliefs that came after the instant of system time ``at``; after the beginning where it is None."""

    def __init__(
        self,
        history: Mapping[str, Sequence[ObjectVersion]] | None = None,
        lineage: Iterable[Lineage] = (),
        at: datetime | None = None,
    ) -> None:
        self._history = history or {}
        self._at = at
        self._lineage: dict[str, list[Lineage]] = {}
        for event in sorted(lineage, key=lambda one: (one.object_id, one.known_at is None, one.known_at, one.relation)):
            if self._is_news(event.known_at):
                self._lineage.setdefault(event.object_id, []).append(event)

    def _is_news(self, known_at: datetime | None) -> bool:
        return self._at is None or known_at is None or known_at > self._at

    def reason(self, object_id: str, told: Callable[[StreetObject], Any]) -> str | None:
        """Why what ``told`` takes from an object is another than in the previous release; None where no version is known."""
        versions = sorted(self._history.get(object_id, ()), key=lambda version: version.known_from)
        if not versions:
            return None
        reasons: set[str] = set()
        known: Any = _NOT_BELIEVED
        known_to: datetime | None = None
        for version in versions:
            if known_to is not None and known_to < version.known_from:
                known = _NOT_BELIEVED
            now = told(version.object)
            if now != known and self._is_news(version.known_from):
                reasons.add(version.reason)
            known, known_to = now, version.known_to
        return next((reason for reason in STRONGEST_FIRST if reason in reasons), ROADS)

    def is_believed(self, object_id: str) -> bool:
        """Whether something is believed of it now."""
        return any(version.known_to is None for version in self._history.get(object_id, ()))

    def event(self, object_id: str, *relations: str) -> Lineage | None:
        """The last event of these kinds in the life of an identity."""
        fitting = [event for event in self._lineage.get(object_id, ()) if event.relation in relations]
        return fitting[-1] if fitting else None

    def heir(self, object_id: str, present: Container[str]) -> tuple[str, Lineage] | None:
        """The object among those ``present`` that an identity was merged into, over any number of mergers, and the first one."""
        first = event = self.event(object_id, "merged_into")
        passed = {object_id}
        while first and event and event.other_id is not None and event.other_id not in passed:
            if event.other_id in present:
                return event.other_id, first
            passed.add(event.other_id)
            event = self.event(event.other_id, "merged_into")
        return None


class Beliefs(Protocol):
    """What a database believed (`kryss.store` gives one)."""

    def versions(self, ids: Sequence[str]) -> Mapping[str, Sequence[ObjectVersion]]: ...

    def lineage(self, ids: Sequence[str]) -> Iterable[Lineage]: ...


class Why:
    """Asks a database for the reasons of a few changes at a time; without one nothing is known."""

    def __init__(self, beliefs: Beliefs | None = None, at: datetime | None = None) -> None:
        """``at``: the instant of system time that the previous release holds; None: all that was ever believed is news."""
        self._beliefs, self._at = beliefs, at

    @property
    def knows(self) -> bool:
        return self._beliefs is not None

    def since(self, told: Collection[str], identities: Collection[str] = ()) -> Since:
        """Of the objects ``told``, and the fate of ``identities`` that came or went, over any number of mergers."""
        if self._beliefs is None or not told:
            return Since()
        lineage: list[Lineage] = []
        asked: set[str] = set()
        wanted = set(identities)
        while wanted:
            events = list(self._beliefs.lineage(sorted(wanted)))
            lineage += events
            asked |= wanted
            heirs = {event.other_id for event in events if event.relation == "merged_into" and event.other_id is not None}
            wanted = heirs - asked
        return Since(self._beliefs.versions(sorted(told)), lineage, self._at)

"""What is believed after a night, against the truth of a simulated year.

Every claim about a change of the street is judged: an end, a replacement, a time of absence, and a beginning (an object that a
look before it was first seen had missed). A claim is right if the thing did change so, inside the bracket that is claimed; its
bracket is *wrong* if it did at another time; *false* if it did not: an end of what stands, a beginning of what stood before the
year, an absence of what never was away.

What could be found is told from the truth alone. A drive is a look at a thing if it would have shown it with
:data:`LOOK_CHANCE`, had it stood there: in range, in view, not hidden. A change is observable if :data:`SEEN` such drives
were loaded of the time in which the thing stood, and :data:`MISSED` of the time in which it did not, each until the next change
of the thing. An event is observable if all its changes are. Why three: a van hides a thing in 4 of 100 passes, so in a town
of 200 things that are passed 17 times a year five things are hidden twice in a row, as many as are taken down.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time
from itertools import pairwise
from typing import Literal

from kryss.demo.score import majority
from kryss.demo.year import Year
from kryss.demo.year.lives import Event
from kryss.model import StreetObject
from kryss.positioning.fuse import CONFIRMED_PHOTOS, CONFIRMED_RADIUS_M

SEEN, MISSED = 2, 3
LOOK_CHANCE = 0.90
ALWAYS, NEVER = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)

ClaimKind = Literal["came", "went", "replaced", "returned"]
CLAIM_KINDS: tuple[ClaimKind, ...] = ("came", "went", "replaced", "returned")
Verdict = Literal["right", "wrong bracket", "false", "hidden for months", "of nothing"]
"""``hidden for months``: a scaffold stood before it all that time. ``of nothing``: of an object that was made of false boxes."""
VERDICTS: tuple[Verdict, ...] = ("right", "wrong bracket", "false", "hidden for months", "of nothing")


@dataclass(frozen=True, slots=True)
class Claim:
    """A change of the street that a belief states."""

    kind: ClaimKind
    object_id: str
    thing: int
    confirmed: bool
    """Whether the object was ever more than a doubt: three photos show it, and its place is known."""
    brackets: tuple[tuple[datetime, datetime], ...]
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an event of the truth."""

    event: Event
    observable: bool
    found: bool


@dataclass(frozen=True)
class Judgement:
    """What is believed after a night, judged."""

    claims: list[Claim]
    outcomes: list[Outcome]
    primary: dict[int, str]
    """By thing, the id of the object that most of its sightings are evidence of."""
    twins: int
    """Confirmed objects beside the primary one of a thing."""

    def wrong(self, *verdicts: Verdict, confirmed: bool | None = True) -> list[Claim]:
        """Claims of these verdicts, of confirmed objects, of others, or (None) of all."""
        return [one for one in self.claims if one.verdict in verdicts and confirmed in (None, one.confirmed)]


def judge(year: Year, objects: Sequence[StreetObject], night: int) -> Judgement:
    """The beliefs after a night of the year (0, 1, ...)."""
    thing_of = {one.id: majority(year.thing_of[key] for key in one.evidence) for one in objects if one.evidence}
    primary = _primary(objects, thing_of)
    now = datetime.combine(year.night_date(night), time(), UTC)
    claims = [
        claim
        for one in objects
        if one.id in thing_of
        for claim in _claims(year, one, thing_of[one.id], thing_of.get(one.replaced_by or "", -1), now)
    ]
    by_object: dict[str, list[Claim]] = defaultdict(list)
    for claim in claims:
        by_object[claim.object_id].append(claim)
    believed = {one.id: one for one in objects}
    outcomes = [
        Outcome(event, _observable(year, event, night), _found(event, primary, by_object, believed, year))
        for event in year.truth.events
    ]
    twins = sum(_confirmed(one) and primary.get(thing_of.get(one.id, -1), one.id) != one.id for one in objects)
    return Judgement(claims, outcomes, primary, twins)


def _primary(objects: Iterable[StreetObject], thing_of: Mapping[str, int]) -> dict[int, str]:
    most: dict[int, tuple[int, str]] = {}
    for one in objects:
        thing = thing_of.get(one.id, -1)
        if thing >= 0:
            most[thing] = min(most.get(thing, (1, "")), (-len(one.evidence), one.id))
    return {thing: object_id for thing, (_, object_id) in sorted(most.items())}


def _confirmed(one: StreetObject) -> bool:
    """As its status said before it ended, but for photos that read it as another class."""
    return len({image_id for image_id, _ in one.evidence}) >= CONFIRMED_PHOTOS and one.error_radius_m <= CONFIRMED_RADIUS_M


def _claims(year: Year, one: StreetObject, thing: int, successor: int, now: datetime) -> list[Claim]:
    """Each change of the street that a belief claims, with its verdict."""
    found: list[Claim] = []

    def claim(kind: ClaimKind, right: bool, happened: bool, *brackets: tuple[datetime, datetime]) -> None:
        """``happened``: whether the thing did change so, whenever that was."""
        verdict: Verdict = "right" if right else "wrong bracket"
        if thing < 0:
            verdict = "of nothing"
        elif not right and not happened:
            missed_from, missed_to = brackets[0][1], brackets[-1][0]
            hidden = any(s.thing == thing and s.begins <= missed_from and missed_to < s.ends for s in year.truth.scaffolds)
            verdict = "hidden for months" if hidden else "false"
        found.append(Claim(kind, one.id, thing, _confirmed(one), brackets, verdict))

    lives = list(year.truth.lives_of(thing))
    if one.began_after is not None:
        bracket = one.began_after, one.first_seen_at
        began = lives[0].begins if lives else None
        claim("came", _inside(began, bracket), began is not None, bracket)
    gaps = [(before.ends, after.begins) for before, after in pairwise(lives) if before.ends != after.begins]
    for absence in one.absences:
        gone, back = (absence.gone_after, absence.gone_by), (absence.back_after, absence.back_by)
        claim("returned", any(_inside(went, gone) and _inside(came, back) for went, came in gaps), bool(gaps), gone, back)
    if one.ended_at is not None:
        bracket = one.last_seen_at, one.ended_at
        gone_by_then = not year.truth.stood(thing, one.ended_at)
        right = gone_by_then and any(_inside(life.ends, bracket) for life in lives)
        if one.replaced_by is not None:
            right &= any(e.kind == "replaced" and (e.thing, e.other) == (thing, successor) for e in year.truth.events)
        claim("went" if one.replaced_by is None else "replaced", right, not year.truth.stood(thing, now), bracket)
    return found


def _inside(at: datetime | None, bracket: tuple[datetime, datetime]) -> bool:
    return at is not None and bracket[0] < at <= bracket[1]


def _observable(year: Year, event: Event, night: int) -> bool:
    """Whether looks before and after each change of the event were loaded by a night."""

    def looks(thing: int, after: datetime, before: datetime) -> int:
        passes = (one for one in year.passes[thing] if one.night is not None and one.night <= night)
        return sum(after <= one.at < before and one.chance >= LOOK_CHANCE for one in passes)

    before, after = looks(event.thing, ALWAYS, event.at), looks(event.thing, event.at, event.back_at or NEVER)
    if event.kind == "came":
        return before >= MISSED and after >= SEEN
    if event.kind == "shifted":
        return before >= SEEN and after >= SEEN
    observable = before >= SEEN and after >= MISSED
    if event.back_at is not None:
        observable &= looks(event.thing, event.back_at, NEVER) >= SEEN
    if event.other is not None:
        observable &= looks(event.other, ALWAYS, event.at) >= MISSED and looks(event.other, event.at, NEVER) >= SEEN
    return observable


def _found(
    event: Event,
    primary: Mapping[int, str],
    claims: Mapping[str, Sequence[Claim]],
    believed: Mapping[str, StreetObject],
    year: Year,
) -> bool:
    """Whether the objects of the event's things claim it, inside their brackets."""

    def claimed(thing: int | None, *kinds: ClaimKind) -> bool:
        mine = claims.get(primary.get(-1 if thing is None else thing, ""), ())
        return any(one.kind in kinds and one.verdict == "right" for one in mine)

    if event.kind == "came":
        return claimed(event.thing, "came")
    if event.kind == "returned":
        return claimed(event.thing, "returned")
    if event.kind == "went":
        return claimed(event.thing, "went")
    if event.kind == "replaced":
        return claimed(event.thing, "replaced") and claimed(event.other, "came")
    if event.kind == "moved":
        # A thing that is said to have been replaced by another one nearby did go.
        return claimed(event.thing, "went", "replaced") and claimed(event.other, "came")
    one = believed.get(primary.get(event.thing, ""))
    if one is None or claims.get(one.id):
        return False
    return one.first_seen_at < event.at < one.last_seen_at


@dataclass(frozen=True)
class Row:
    """A kind of event: how many there were, could be found and were; and what was claimed."""

    kind: str
    events: int
    observable: int
    found: int
    found_otherwise: int
    """Found though they did not count as observable."""


def recall_rows(outcomes: Iterable[Outcome]) -> list[Row]:
    """By kind of event, then all together."""
    by_kind: dict[str, list[Outcome]] = defaultdict(list)
    for one in outcomes:
        by_kind[one.event.kind].append(one)
        by_kind["all"].append(one)
    return [
        Row(
            kind,
            len(mine),
            sum(one.observable for one in mine),
            sum(one.observable and one.found for one in mine),
            sum(one.found and not one.observable for one in mine),
        )
        for kind, mine in sorted(by_kind.items(), key=lambda item: (item[0] == "all", item[0]))
    ]


def precision_counts(claims: Iterable[Claim]) -> dict[str, Counter[str]]:
    """By kind of claim, how many of each verdict, of confirmed objects."""
    found: dict[str, Counter[str]] = {kind: Counter() for kind in CLAIM_KINDS}
    for one in claims:
        if one.confirmed:
            found[one.kind][one.verdict] += 1
    return found

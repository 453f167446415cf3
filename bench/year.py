"""Plays simulated years of a town through place, fusion, history and PostGIS, night by night, and judges every claim.

    ./kryss bench year [--seeds 0 1 2] [--nights 50] [--once] [--quick] [--list] [--json FILE]

An *event* is observable if drives that would have shown the thing with 90 % probability, were it there, were loaded: two while it
stood and three while it did not. It is found if the objects of its things claim it, inside their date brackets. A *claim* is a
change that a belief states of an object that three photos show: right, with a wrong bracket, or false (no such change happened).
With ``--once`` all photos of a year come in one load, without a database: as the order of loads does not matter, its last night
is the same; what was believed in between is not seen. See `kryss.demo.year` and `kryss.demo.year.judge`; nothing is detected in
pictures: boxes are simulated.
"""

from __future__ import annotations

import argparse
import json
import logging
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "include"))

from kryss.config import MunicipalityConfig, Settings  # noqa: E402
from kryss.demo.streets.grid import CLASSES, MODEL_KEY  # noqa: E402
from kryss.demo.year import Plan, Year, simulate  # noqa: E402
from kryss.demo.year.judge import CLAIM_KINDS, VERDICTS, Claim, Judgement, Outcome, judge, precision_counts, recall_rows  # noqa: E402
from kryss.demo.year.lives import Event  # noqa: E402
from kryss.history import Evidence, believe  # noqa: E402
from kryss.model import StreetObject  # noqa: E402
from kryss.pipeline import stages  # noqa: E402
from kryss.pipeline.given import GivenRun, hand_in  # noqa: E402
from kryss.positioning.fuse import fuse  # noqa: E402
from kryss.positioning.place import place  # noqa: E402
from kryss.positioning.poses import trusted_poses  # noqa: E402
from kryss.services.postgres import create_database, temporary_cluster  # noqa: E402
from kryss.store import Store, open_store  # noqa: E402

MARGIN_DEG = 0.02
"""Of the municipality around its streets."""


@dataclass
class Diary:
    """What was judged night by night."""

    year: Year
    nights: list[Judgement] = field(default_factory=list)
    objects: list[StreetObject] = field(default_factory=list)
    """After the last night."""
    cpu_s: list[float] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)
    """Versions written, by reason."""
    lineage: Counter[str] = field(default_factory=Counter)

    @property
    def last(self) -> Judgement:
        return self.nights[-1]

    def ever(self, *verdicts: str) -> list[Claim]:
        """Claims of confirmed objects that had this verdict after any night: one an object and kind."""
        found: dict[tuple[str, str], Claim] = {}
        for night in self.nights:
            for claim in night.claims:
                if claim.verdict in verdicts and claim.confirmed:
                    found.setdefault((claim.object_id, claim.kind), claim)
        return list(found.values())

    def waits(self) -> Iterator[tuple[Event, int, int]]:
        """For each event found at last: days until it was observable, and days until it was found for good."""
        if len(self.nights) < self.year.plan.nights:
            return
        for number, outcome in enumerate(self.last.outcomes):
            history = [night.outcomes[number] for night in self.nights]
            if not (outcome.found and outcome.observable):
                continue
            known = len(history) - next(k for k, one in enumerate([*history[::-1], None]) if one is None or not one.found)
            could = next(k for k, one in enumerate(history) if one.observable)
            happened = (outcome.event.back_at or outcome.event.at).date()
            yield outcome.event, *((self.year.night_date(night) - happened).days for night in (could, known))

    def renamed(self) -> int:
        """How often a thing's object had another id than after the night before."""
        pairs = zip(self.nights, self.nights[1:], strict=False)
        return sum(b.primary.get(thing, name) != name for a, b in pairs for thing, name in a.primary.items())


def play(year: Year, url: str, folder: Path) -> Diary:
    """Every night of a year through the real stages and a real database."""
    store = open_store(url)
    store.migrate()
    config, settings = _municipality(year, folder), Settings.from_env({"KRYSS_HOME": str(folder), "KRYSS_DATABASE_URL": url})
    boxes: dict[str, list[Any]] = {}
    for one in year.detections:
        boxes.setdefault(one.image_id, []).append(one)
    diary = Diary(year)
    for night in range(year.plan.nights):
        images = year.arriving(night)
        began = time.process_time()
        if images:
            run = GivenRun(config, settings, f"night-{night}", year.night_date(night), model=MODEL_KEY)
            key = hand_in(run, images, [one for image in images for one in boxes.get(image.id, ())])
            stages.place(run, key)
            stages.merge(run, key)
        diary.cpu_s.append(time.process_time() - began)
        with store.snapshot() as known_now:
            diary.objects = known_now.objects(config.code)
        diary.nights.append(judge(year, diary.objects, night))
    _count_versions(store, config.code, diary)
    return diary


def play_once(year: Year) -> Diary:
    """Everything that the year's nights load, at once and in memory."""
    images = {one.id: one for one in year.images if year.night_of[one.sequence_id] is not None}
    began = time.process_time()
    poses, _ = trusted_poses(images.values())
    placed, _ = place(images, [one for one in year.detections if one.image_id in images], poses)
    objects = believe(Evidence(fuse(placed), {MODEL_KEY: list(images.values())}, poses)).objects
    seconds = time.process_time() - began
    return Diary(year, [judge(year, objects, year.plan.nights - 1)], objects, [seconds])


def _municipality(year: Year, folder: Path) -> MunicipalityConfig:
    lon, lat = zip(*((image.gps.lon, image.gps.lat) for image in year.images if image.gps), strict=True)
    west, east, south, north = min(lon) - MARGIN_DEG, max(lon) + MARGIN_DEG, min(lat) - MARGIN_DEG, max(lat) + MARGIN_DEG
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    boundary = folder / "boundary.geojson"
    boundary.write_text(json.dumps({"type": "Polygon", "coordinates": [ring]}))
    return MunicipalityConfig(code="year", name="A simulated year", boundary=str(boundary))


def _count_versions(store: Store, code: str, diary: Diary) -> None:
    with store.snapshot() as known_now:
        for versions in known_now.object_history(code).values():
            diary.reasons.update(version.reason for version in versions)
        diary.lineage.update(event.relation for event in known_now.lineage(code))


# Telling


def share(part: int, whole: int) -> str:
    return f"{part / whole:.3f}" if whole else "-"


def tell_events(outcomes: Sequence[Outcome], waits: Sequence[tuple[Event, int, int]]) -> Iterator[str]:
    heads = {"happened": 9, "observable": 11, "found": 7, "recall": 8, "others found": 13, "days to know": 14, "could know": 12}
    yield f"{'event':12}" + "".join(f"{name:>{width}}" for name, width in heads.items())
    for row in recall_rows(outcomes):
        mine = [one for one in waits if row.kind in ("all", one[0].kind)]
        known = f"{statistics.median(one[2] for one in mine):.0f}" if mine else "-"
        could = f"{statistics.median(one[1] for one in mine):.0f}" if mine else "-"
        yield (
            f"{row.kind:12}{row.events:>9}{row.observable:>11}{row.found:>7}{share(row.found, row.observable):>8}"
            f"{f'{row.found_otherwise} of {row.events - row.observable}':>13}{known:>14}{could:>12}"
        )


def tell_claims(claims: Iterable[Claim]) -> Iterator[str]:
    yield f"{'claim':12}" + "".join(f"{name:>19}" for name in VERDICTS) + f"{'precision':>11}"
    counts = precision_counts(claims)
    counts["all"] = sum((counts[kind] for kind in CLAIM_KINDS), Counter())
    for kind, count in counts.items():
        yield f"{kind:12}" + "".join(f"{count[name]:>19}" for name in VERDICTS) + f"{share(count['right'], count.total()):>11}"


def tell(diaries: Sequence[Diary]) -> Iterator[str]:
    """The tables of all years together."""
    ends = [[one for one in diary.ever("false") if one.kind in ("went", "replaced")] for diary in diaries]
    plan = diaries[0].year.plan
    photos, boxes = (sum(len(getattr(diary.year, name)) for diary in diaries) for name in ("images", "detections"))
    things = sum(len(diary.year.passes) for diary in diaries)
    yield f"{len(diaries)} years of {plan.nights} nights: {things} things, {photos} photos, {boxes} boxes"
    yield ""
    yield from tell_events(
        [one for diary in diaries for one in diary.last.outcomes], [one for diary in diaries for one in diary.waits()]
    )
    yield ""
    yield from tell_claims([claim for diary in diaries for claim in diary.last.claims])
    yield ""
    last = [[one for one in diary.last.wrong("false") if one.kind in ("went", "replaced")] for diary in diaries]
    every_night = len(diaries[0].nights) == plan.nights
    yield f"false ends: {sum(map(len, last))} after the last night" + every_night * f", {sum(map(len, ends))} after any night"
    doubtful = Counter(c.verdict for diary in diaries for c in diary.last.claims if not c.confirmed)
    yield f"claims about objects that fewer than three photos show: {dict(sorted(doubtful.items()))}"
    hidden = [scaffold for diary in diaries for scaffold in diary.year.truth.scaffolds]
    ever = sum(len({claim.thing for claim in diary.ever("hidden for months")}) for diary in diaries)
    now = sum(len({claim.thing for claim in diary.last.wrong("hidden for months")}) for diary in diaries)
    yield f"hidden for months by a scaffold: {len(hidden)}; said to be gone meanwhile: {ever}; in the history at last: {now}"
    yield f"objects beside the one of their thing: {sum(diary.last.twins for diary in diaries)}"
    if every_night:
        yield f"things whose id became another: {sum(diary.renamed() for diary in diaries)}"
        reasons, lineage = (
            dict(sorted(sum((getattr(one, n) for one in diaries), Counter()).items())) for n in ("reasons", "lineage")
        )
        yield f"versions by reason: {reasons}; lineage: {lineage}"
    seconds = [second for diary in diaries for second in diary.cpu_s]
    yield f"processor seconds a load: {statistics.median(seconds):.1f} in the middle, {max(seconds):.1f} at most"


def explain(diary: Diary) -> Iterator[str]:
    """Every claim that is not right, and every event that was not found."""
    truth, believed = diary.year.truth, {one.id: one for one in diary.objects}
    happened = {thing: event for event in truth.events for thing in (event.thing, event.other) if thing is not None}
    seed = diary.year.plan.seed
    wrong = [(claim, "last") for claim in diary.last.claims if claim.verdict != "right" and claim.confirmed]
    known = {(claim.object_id, claim.kind) for claim, _ in wrong}
    wrong += [(claim, "some") for claim in diary.ever("false") if (claim.object_id, claim.kind) not in known]
    for claim, when in wrong:
        name = CLASSES[truth.objects.kind[claim.thing]] if claim.thing >= 0 else "nothing"
        event, one = happened.get(claim.thing), believed.get(claim.object_id)
        evidence = Counter(diary.year.thing_of[key] for key in one.evidence).most_common(4) if one else []
        brackets = " and ".join(f"{a:%m-%d}..{b:%m-%d}" for a, b in claim.brackets)
        yield (
            f"seed {seed}, {when} night: {claim.kind} is {claim.verdict}: thing {claim.thing} ({name}), {claim.object_id}, "
            f"{brackets}, truth {f'{event.kind} {event.at:%m-%d}' if event else 'nothing happened'}, "
            f"sightings by thing {evidence}, {'primary' if diary.last.primary.get(claim.thing) == claim.object_id else 'twin'}"
        )
    for outcome in diary.last.outcomes:
        if outcome.observable and not outcome.found:
            event = outcome.event
            for thing in (event.thing, event.other):
                one = believed.get(diary.last.primary.get(-1 if thing is None else thing, ""))
                yield (f"seed {seed}: {event.kind} of {event.at:%m-%d} not found: thing {thing}: {one and _life(one)}")


def _life(one: StreetObject) -> str:
    def on(at: Any) -> str:
        return f"{at:%m-%d}" if at else "-"

    away = " ".join(f"[{on(a.gone_after)}..{on(a.gone_by)} to {on(a.back_after)}..{on(a.back_by)}]" for a in one.absences)
    return (
        f"{one.class_name} {one.status} {one.standing_probability:.3f}: {on(one.began_after)}..{on(one.first_seen_at)} "
        f"to {on(one.last_seen_at)}..{on(one.ended_at)} {away} {len(one.evidence)} sightings, {len(one.misses)} misses"
    )


def as_json(diary: Diary) -> dict[str, Any]:
    ends = [claim for claim in diary.ever("false") if claim.kind in ("went", "replaced")]
    return {
        "plan": asdict(diary.year.plan),
        "events": [asdict(row) for row in recall_rows(diary.last.outcomes)],
        "claims": {kind: dict(count) for kind, count in precision_counts(diary.last.claims).items()},
        "false_ends_last_night": len([one for one in diary.last.wrong("false") if one.kind in ("went", "replaced")]),
        "false_ends_any_night": len(ends),
        "renamed": diary.renamed(),
        "twins": diary.last.twins,
        "reasons": dict(diary.reasons),
        "lineage": dict(diary.lineage),
        "cpu_s": [round(seconds, 2) for seconds in diary.cpu_s],
    }


def main() -> int:
    parser = argparse.ArgumentParser(prog="kryss bench year", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], metavar="N")
    parser.add_argument("--nights", type=int, default=Plan.nights)
    parser.add_argument("--once", action="store_true", help="one load of everything, without a database")
    parser.add_argument("--quick", action="store_true", help="a town of one block and 40 drives")
    parser.add_argument("--gps-only", type=float, default=Plan.gps_only, metavar="SHARE", help="drives without SfM poses")
    parser.add_argument("--parked", type=float, default=Plan.parked, metavar="SHARE", help="passes behind a van")
    parser.add_argument("--list", action="store_true", help="every claim that is not right, every event not found")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    size = {"blocks": 1, "drives": 40, "events": 3, "scaffolds": 1} if options.quick else {}
    diaries = []
    with nullcontext() if options.once else temporary_cluster() as cluster:
        for seed in options.seeds:
            year = simulate(Plan(seed, options.nights, gps_only=options.gps_only, parked=options.parked, **size))
            if cluster is None:
                diaries.append(play_once(year))
            else:
                with tempfile.TemporaryDirectory() as folder:
                    diaries.append(play(year, create_database(cluster, f"year_{seed}"), Path(folder)))
            if options.list:
                print("\n".join(explain(diaries[-1])), flush=True)
    print("\n".join(tell(diaries)))
    if options.json:
        options.json.write_text(
            json.dumps({"date": date.today().isoformat(), "years": [as_json(one) for one in diaries]}, indent=1)
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The order in which photos arrive does not matter: random histories of nights against one load of everything, on real PostGIS.

A history loads photos of a small street in nights of any size and order, runs nights again, lets another model look at some of
the photos, and takes photos down. After each step the database must hold what `believe` makes of everything at once, but for the
ids. 8 histories by default, 200 with `-m slow`; `KRYSS_HISTORIES=2000` sets another number, drawn anew each time.
"""

from __future__ import annotations

import json
import os
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from itertools import count
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test
from sqlalchemy import text

from kryss.config import MunicipalityConfig, Settings
from kryss.history import Before, Evidence, believe
from kryss.model import Detection, Image, StreetObject
from kryss.pipeline import stages
from kryss.pipeline.given import GivenRun, hand_in
from kryss.pipeline.state import CellMemo, State
from kryss.positioning.fuse import fusion
from kryss.positioning.place import place
from kryss.positioning.poses import trusted_poses
from kryss.store import Store, open_store
from kryss.store.connect import make_engine, parse_url

STEPS = 6
OLD, NEW = "test@1", "test@2"
MISSED = {OLD: 0.15, NEW: 0.05}
"""The new model sees the same and a bit more."""
FALSE = 0.06
"""Share of the photos with a box of nothing."""
EDGE_PX, POSE_M = 1.0, 0.3
FIFTY, THIRTY, STOP = (
    "regulatory--maximum-speed-limit-50--g1",
    "regulatory--maximum-speed-limit-30--g1",
    "regulatory--stop--g1",
)
SPOTS = ((FIFTY, 4.0, 0.0), (THIRTY, 4.0, 0.0), (STOP, -4.5, 12.0), (FIFTY, 5.0, 26.0))
"""Class, metres east and north of what may stand. The first two have one place: while the first stands, the second does not."""
NOTHING = -1
"""The spot of a false box."""
BOUNDARY = {"type": "Polygon", "coordinates": [[[10.3, 63.3], [10.5, 63.3], [10.5, 63.5], [10.3, 63.5], [10.3, 63.3]]]}


class Drive(NamedTuple):
    """A drive northwards past the spots."""

    photos: int
    first_m: float
    x: float
    calibrated: bool
    standing: tuple[bool, ...]
    """By spot, whether something stands there that day."""


drives = st.builds(
    Drive,
    st.integers(3, 6),
    st.sampled_from([-40.0, -30.0, -20.0]),
    st.sampled_from([0.0, 0.8, -0.8]),
    st.sampled_from([True, True, True, False]),
    st.tuples(*[st.sampled_from([True, True, False])] * len(SPOTS)),
)


@dataclass
class World:
    """What could be loaded: photos, and each model's boxes in them."""

    images: dict[str, Image] = field(default_factory=dict)
    boxes: dict[tuple[str, str], list[Detection]] = field(default_factory=dict)
    """By model and image id."""
    shows: dict[tuple[str, str, int], int] = field(default_factory=dict)
    """The spot that a box shows, by model, image id and ordinal."""

    @staticmethod
    def of(street: ModuleType, plan: Sequence[Drive], seed: int) -> World:
        world = World()
        for number, one in enumerate(plan):
            standing = one.standing[0], one.standing[1] and not one.standing[0], *one.standing[2:]
            things = [street.Thing(*spot) if stands else None for spot, stands in zip(SPOTS, standing, strict=True)]
            at = street.START + timedelta(days=73 * number)
            for k in range(one.photos):
                # Ids are digits, as Mapillary's are.
                rng, name, then = np.random.default_rng([seed, number, k]), f"{number + 1}{k:02}", at + timedelta(seconds=k)
                where = np.array([one.x, one.first_m + 6.0 * k])
                true = street.photo(name, *where, sequence=f"d{number + 1}", at=then)
                told = street.photo(name, *(where + rng.normal(0, POSE_M, 2)), sequence=f"d{number + 1}", at=then)
                parameters = told.camera_parameters if one.calibrated else None
                world.images[told.id] = replace(told, camera_parameters=parameters, make="Maker", model=f"M{one.calibrated}")
                for model in (OLD, NEW):
                    world._look(street, true, things, model, seed)
        return world

    def _look(self, street: ModuleType, true: Image, things: Sequence[Any], model: str, seed: int) -> None:
        rng = np.random.default_rng([seed, zlib.crc32(f"{true.id} {model}".encode())])
        found: list[tuple[int, str, tuple[float, ...]]] = []
        for spot, thing in enumerate(things):
            box, missed = thing and street.box_of(true, thing), rng.random() < MISSED[model]
            noise = rng.normal(0, EDGE_PX, 4)
            if box is not None and not missed:
                found.append((spot, thing.class_name, tuple(float(v) for v in np.add(box, noise))))
        if rng.random() < FALSE:
            left, top, size = rng.uniform(100, 1000), rng.uniform(200, 600), rng.uniform(20, 80)
            found.append((NOTHING, STOP, (left, top, left + size, top + size)))
        found = [found[k] for k in rng.permutation(len(found))]
        self.boxes[model, true.id] = [
            Detection(true.id, model, ordinal, class_name, 0.9, box)  # type: ignore[arg-type]
            for ordinal, (_, class_name, box) in enumerate(found)
        ]
        self.shows |= {(model, true.id, ordinal): spot for ordinal, (spot, *_) in enumerate(found)}


@dataclass
class Place:
    """Where histories are played: one database and one state folder for all of them, a municipality each."""

    url: str
    folder: Path
    street: ModuleType
    numbers: Any = field(default_factory=count)
    played: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.store: Store = open_store(self.url)
        self.connection = make_engine(parse_url(self.url)).connect().execution_options(isolation_level="AUTOCOMMIT")
        (self.folder / "boundary.geojson").write_text(json.dumps(BOUNDARY))
        self.settings = Settings.from_env({"KRYSS_HOME": str(self.folder), "KRYSS_DATABASE_URL": self.url})


class History(RuleBasedStateMachine):
    """One municipality, one small world, and any order of nights."""

    def __init__(self, where: Place) -> None:
        super().__init__()
        self.where = where
        self.code = f"h{next(where.numbers)}"
        self.config = MunicipalityConfig(code=self.code, name="Street", boundary=str(where.folder / "boundary.geojson"))
        self.world = World()
        self.looked: dict[str, list[str]] = {}
        """By photo, the models that looked at it."""
        self.model = OLD
        self.nights: list[tuple[str, tuple[str, ...]]] = []
        """Model and photos of each night of the present model."""
        self.removed: set[str] = set()
        self.believed: list[tuple[datetime, list[StreetObject]]] = []
        """After each step: the instant of system time and what was read."""
        self.spots: dict[str, set[int]] = {}
        """By id, what its evidence has shown."""
        self.versions = 0

    @initialize(plan=st.lists(drives, min_size=3, max_size=6), seed=st.integers(0, 2**16))
    def build(self, plan: list[Drive], seed: int) -> None:
        self.world = World.of(self.where.street, plan, seed)
        self.where.played["histories"] += 1

    # What happens

    def waiting(self) -> list[str]:
        return sorted(self.world.images.keys() - self.looked.keys() - self.removed)

    @precondition(lambda self: self.waiting())
    @rule(data=st.data())
    def night(self, data: st.DataObject) -> None:
        """Any photos that have not been loaded, of whatever drive and day."""
        self.run("night", data.draw(subsets(self.waiting())), self.model)

    @precondition(lambda self: self.waiting())
    @rule(data=st.data())
    def whole_drive(self, data: st.DataObject) -> None:
        """What is left of a drive; an old one comes late."""
        drive = data.draw(st.sampled_from(sorted({name[0] for name in self.waiting()})))
        self.run("drive", [name for name in self.waiting() if name.startswith(drive)], self.model)

    @precondition(lambda self: self.nights)
    @rule(data=st.data())
    def rerun(self, data: st.DataObject) -> None:
        model, photos = data.draw(st.sampled_from(self.nights))
        self.run("rerun", photos, model)
        assert self.count_versions() == self.versions, "a rerun wrote a belief"

    @precondition(lambda self: self.looked)
    @rule(data=st.data())
    def reprocess(self, data: st.DataObject) -> None:
        """Another model looks at photos that were looked at; nights go on with it."""
        self.model, self.nights = NEW if self.model == OLD else OLD, []
        self.run("reprocess", data.draw(subsets(sorted(self.looked))), self.model)

    @precondition(lambda self: self.looked)
    @rule(data=st.data())
    def takedown(self, data: st.DataObject) -> None:
        """Photos go, loaded or not."""
        there = sorted(self.world.images.keys() - self.removed)
        going = sorted({data.draw(st.sampled_from(there)), data.draw(st.sampled_from(sorted(self.looked)))})
        run = self.a_run("takedown", self.model)
        key = stages.takedown(run, going, (), "asked")["key"]
        stages.place(run, key)
        stages.merge(run, key)
        self.removed |= set(going)
        self.looked = {name: models for name, models in self.looked.items() if name not in self.removed}
        self.step("takedown")

    def a_run(self, what: str, model: str) -> GivenRun:
        return GivenRun(self.config, self.where.settings, f"{what}-{len(self.believed)}", date(2026, 1, 1), model=model)

    def run(self, what: str, photos: Sequence[str], model: str) -> None:
        run = self.a_run(what, model)
        images = [self.world.images[name] for name in photos if name not in self.removed]
        key = hand_in(run, images, [box for image in images for box in self.world.boxes[model, image.id]])
        stages.place(run, key)
        stages.merge(run, key)
        for image in images:
            models = self.looked.setdefault(image.id, [])
            if model not in models:
                models.append(model)
        if what != "rerun":
            self.nights.append((model, tuple(photos)))
        self.step(what)

    def step(self, what: str) -> None:
        """Reads what is believed now, and checks what each step must keep."""
        self.where.played[what] += 1
        with self.where.store.snapshot() as now:
            objects = now.objects(self.code)
            history = now.object_history(self.code)
        at = self.scalar("SELECT system_at FROM kryss.municipality WHERE code = :code")
        if what in ("reprocess", "takedown", "rerun") and self.believed:
            since = self.believed[-1][0]
            written = [v.reason for versions in history.values() for v in versions if v.known_from > since]
            assert "street" not in written, f"a {what} says that the street changed"
        self.believed.append((at, objects))
        self.where.played.update(one.status for one in objects)
        self.where.played.update("absence" for one in objects for _ in one.absences)
        self.where.played.update("beginning" for one in objects if one.began_after is not None)
        self.where.played.update("replacement" for one in objects if one.replaced_by is not None)

    # What must hold

    @invariant()
    def holds_what_one_load_of_everything_gives(self) -> None:
        if not self.believed:
            return
        assert canonical(self.believed[-1][1]) == canonical(self.at_once())

    def effective(self) -> dict[str, str]:
        """By photo, the model whose word is taken: the one that looked last, at whatever photo, if it looked at this one."""
        return {name: self.model if self.model in models else models[0] for name, models in sorted(self.looked.items())}

    def at_once(self) -> list[StreetObject]:
        images = {name: self.world.images[name] for name in sorted(self.looked)}
        effective = self.effective()
        poses, _ = trusted_poses(images.values())
        boxes = [box for name, model in effective.items() for box in self.world.boxes[model, name]]
        sightings, _ = place(images, boxes, poses, self.config.region)
        looks = {
            model: [images[name] for name in sorted(images) if effective[name] == model]
            for model in sorted(set(effective.values()))
        }
        # Cells are remembered by their content: what the merge has just worked out of the same sightings is not worked out again.
        cells = CellMemo(State(self.where.settings.state_url), f"cells/{self.code}")
        return believe(Evidence(fusion(sightings, cells).objects, looks, poses), Before()).objects

    @invariant()
    def an_id_never_names_another_thing(self) -> None:
        if not self.believed:
            return
        effective = self.effective()
        for one in self.believed[-1][1]:
            shown = {self.world.shows[effective[name], name, ordinal] for name, ordinal in one.evidence} - {NOTHING}
            known = self.spots.setdefault(one.id, set())
            assert not known or not shown or known & shown, f"{one.id} named {known} and names {shown}"
            known |= shown

    @invariant()
    def every_id_that_vanished_has_its_lineage(self) -> None:
        if not self.believed:
            return
        with self.where.store.snapshot() as now:
            ever, lineage = now.object_ids(self.code), now.lineage(self.code)
        self.where.played.update(event.relation for event in lineage if event.known_at == self.believed[-1][0])
        present = {one.id for one in self.believed[-1][1]}
        told = {event.object_id for event in lineage if event.relation != "split_from"}
        assert ever - present <= told, f"vanished without a word: {sorted(ever - present - told)}"
        assert {event.other_id for event in lineage} - {None} <= ever

    @invariant()
    def one_belief_an_object_at_any_instant(self) -> None:
        overlapping = self.scalar(
            "SELECT count(*) FROM kryss.object_version a JOIN kryss.object_version b USING (code, object_id) "
            "WHERE code = :code AND a.version < b.version AND a.system && b.system"
        )
        assert overlapping == 0
        self.versions = self.count_versions()

    def teardown(self) -> None:
        """Every past belief is still there to be read, but for photos that were removed."""
        with self.where.store.snapshot() as now:
            for at, objects in self.believed:
                known = [without(one, self.removed) for one in objects]
                assert now.objects(self.code, known=at) == known
                for valid in sorted({one.last_seen_at for one in known})[-1:]:
                    stood = [one for one in known if stands(one, valid)]
                    assert now.objects_as_of(self.code, valid, at) == stood

    def scalar(self, sql: str) -> Any:
        return self.where.connection.scalar(text(sql), {"code": self.code})

    def count_versions(self) -> int:
        return int(self.scalar("SELECT count(*) FROM kryss.object_version WHERE code = :code"))


def subsets(names: Sequence[str]) -> st.SearchStrategy[list[str]]:
    """Any of the names, at least one; nothing is drawn in vain."""
    taken = st.lists(st.booleans(), min_size=len(names), max_size=len(names))
    return taken.map(lambda chosen: [name for name, one in zip(names, chosen, strict=True) if one] or list(names[:1]))


def canonical(objects: Iterable[StreetObject]) -> list[StreetObject]:
    """Objects whose ids say nothing but what they were made from."""
    objects = list(objects)
    names = {one.id: f"{one.class_name} {one.model_key} {one.evidence}" for one in objects}
    renamed = [replace(one, id=names[one.id], replaced_by=one.replaced_by and names.get(one.replaced_by, "?")) for one in objects]
    return sorted(renamed, key=lambda one: one.id)


def without(one: StreetObject, removed: set[str]) -> StreetObject:
    return replace(
        one,
        evidence=tuple(key for key in one.evidence if key[0] not in removed),
        misses=tuple(name for name in one.misses if name not in removed),
        image_id=None if one.image_id in removed else one.image_id,
    )


def stands(one: StreetObject, at: datetime) -> bool:
    alive = one.first_seen_at <= at and (one.ended_at is None or at < one.ended_at)
    return alive and not any(away.gone_by <= at < away.back_by for away in one.absences)


@pytest.fixture(scope="module")
def where(
    postgis_server: Any, migrated_template: str, tmp_path_factory: pytest.TempPathFactory, street: ModuleType
) -> Iterable[Place]:
    url = postgis_server.create_database(migrated_template)
    place = Place(url, tmp_path_factory.mktemp("histories"), street)
    yield place
    place.connection.close()
    postgis_server.drop_database(url)


def play(where: Place, histories: int, drawn_anew: bool) -> None:
    where.played.clear()
    run_state_machine_as_test(
        lambda: History(where),
        settings=settings(
            max_examples=histories,
            stateful_step_count=STEPS,
            deadline=None,
            derandomize=not drawn_anew,
            database=None,
            report_multiple_bugs=False,
            phases=(Phase.generate, Phase.shrink),
            suppress_health_check=list(HealthCheck),
        ),
    )
    print(f"{dict(where.played)}")  # noqa: T201
    assert where.played["histories"] >= histories


def test_the_order_of_loads_does_not_matter(where: Place) -> None:
    play(where, 8, drawn_anew=False)


@pytest.mark.slow
@pytest.mark.timeout(0)
def test_the_order_of_loads_does_not_matter_in_many_histories(where: Place) -> None:
    wanted = os.environ.get("KRYSS_HISTORIES")
    play(where, int(wanted or 200), drawn_anew=wanted is not None)

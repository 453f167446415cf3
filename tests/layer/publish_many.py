"""Run as a program by ``test_kill``: publishes a layer large enough to be killed in the middle, from a given night on."""

import random
import sys
from datetime import UTC, date, datetime
from pathlib import Path

from kryss.layer.provenance import Provenance, known_source
from kryss.layer.release import publish
from kryss.model import Intersection, Municipality, StreetObject

NIGHTS = (datetime(2025, 6, 10, tzinfo=UTC), datetime(2026, 5, 20, tzinfo=UTC))
CLASSES = ("regulatory--stop--g1", "regulatory--yield--g1", "object--traffic-light--general-upright")


def nouns(night: int, junctions: int = 300, each: int = 10) -> tuple[list[Intersection], list[StreetObject], dict[str, str]]:
    places, objects, homes = [], [], {}
    chance = random.Random(7)
    for number in range(junctions):
        lon, lat = 10 + number % 20 * 0.01, 60 + number // 20 * 0.01
        area = tuple(
            (lon + x, lat + y) for x, y in ((-0.002, -0.001), (0.002, -0.001), (0.002, 0.001), (-0.002, 0.001), (-0.002, -0.001))
        )
        places.append(Intersection(f"osm:{number:05}", "osm", lon, lat, 50.0, area))
        for index in range(each - night):
            key = f"o{number:05}{index}"
            homes[key] = f"osm:{number:05}"
            spot = (lon + chance.uniform(-0.001, 0.001), lat + chance.uniform(-0.001, 0.001))
            objects.append(
                StreetObject(
                    key,
                    CLASSES[index % 3],
                    *spot,
                    (1.0, 0.0, 1.0),
                    2.0,
                    NIGHTS[0],
                    NIGHTS[night],
                    "standing",
                    0.9,
                    None,
                    ((str(index), 0),),
                )
            )
    return places, objects, homes


def main(root: str, first_night: int) -> None:
    days = (date(2025, 6, 11), date(2026, 5, 21))
    for night, day in list(enumerate(days))[first_night:]:
        places, objects, homes = nouns(night)
        provenance = Provenance("model@1", "0.1.0", NIGHTS[night], {}, (known_source("osm"),))
        Path(root).mkdir(parents=True, exist_ok=True)
        sys.stdout.write(f"night {night}\n")
        sys.stdout.flush()
        publish(root, Municipality("7777", "Many", "NO", {}), day, places, objects, homes, {}, provenance)
    sys.stdout.write("done\n")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))

"""Photos that have to go: which ones Mapillary has deleted, and their traces outside the database.

Removing a photo cannot be taken back, so nothing but the service's own word counts: no listing is trusted to be complete, and an
outage is no deletion. As the service says the same of what a token may not see, a photo that it has just listed is asked for
as a control.
"""

from __future__ import annotations

import gzip
import logging
import re
from collections.abc import Collection, Iterable
from datetime import UTC, datetime
from typing import Any, Literal, get_args

from kryss.imagery import MapillaryClient, PhotoStore
from kryss.imagery.client import Listing
from kryss.pipeline.run import Run
from kryss.pipeline.state import State

log = logging.getLogger(__name__)

Removal = Literal["deleted", "takedown"]
REASONS: tuple[Removal, ...] = get_args(Removal)
REMOVALS = "removals.json"
"""Of a run: image id -> reason. The one file that keeps the ids of removed photos, as the database does."""
_WORDS = re.compile(rb'"([\w-]+)"')


def deleted_photos(
    run: Run, client: MapillaryClient, missing: Collection[str], listing: Listing
) -> tuple[list[str], dict[str, int]]:
    """Which of the ``missing`` photos, known but not listed, the service says are gone; and counts of what was asked.

    At most ``deletion_checks`` are asked for, those not asked for the longest first: ``missing/<code>.json`` remembers when.
    """
    name = f"missing/{run.code}.json"
    asked_at: dict[str, str] = run.state.read_json(name) if run.state.has(name) else {}
    turn = sorted(missing, key=lambda image_id: (asked_at.get(image_id, ""), image_id))[: run.config.deletion_checks]
    answers = client.existing(turn)
    gone = [image_id for image_id, there in answers.items() if there is False]
    if gone and not _trusted(client, listing):
        log.warning("%s: the service calls %d photos gone, and a listed one too: not believed", run.code, len(gone))
        answers |= dict.fromkeys(gone)
        gone = []
    now = datetime.now(UTC).isoformat(timespec="seconds")
    asked = asked_at | {image_id: now for image_id, there in answers.items() if there}
    remembered = {image_id: at for image_id, at in asked.items() if image_id in missing}
    if remembered != asked_at:
        run.state.write_json(name, remembered)
    unanswered = sum(there is None for there in answers.values())
    return gone, {"missing": len(missing), "asked": len(turn), "gone": len(gone), "unanswered": unanswered}


def _trusted(client: MapillaryClient, listing: Listing) -> bool:
    control = min((image.id for image in listing.images), default=None)
    return control is not None and client.existing([control])[control] is True


def erase(run: Run, image_ids: Iterable[str]) -> None:
    """Removes the photos themselves, and every line about them in what stages left for each other. Safe to repeat."""
    ids = set(image_ids)
    photos = PhotoStore(run.settings.photos_url)
    for image_id in sorted(filter(str.isdigit, ids)):  # nothing else names a stored photo
        photos.delete(image_id)
    encoded = {image_id.encode() for image_id in ids}
    for name in run.state.below(f"work/{run.code}"):
        if name.endswith(".jsonl.gz"):
            _erase_lines(run.state, name, encoded)
        elif name.endswith(".json") and not name.endswith(REMOVALS):
            whole = run.state.read_json(name)
            if (kept := _without(whole, ids)) != whole:
                run.state.write_json(name, kept)
    name = f"missing/{run.code}.json"
    if run.state.has(name):
        run.state.write_json(name, _without(run.state.read_json(name), ids))


def _erase_lines(state: State, name: str, ids: set[bytes]) -> None:
    lines = gzip.decompress(state.read_bytes(name)).split(b"\n")
    kept = [line for line in lines if ids.isdisjoint(_WORDS.findall(line))]
    if len(kept) < len(lines):
        state.write_bytes(name, gzip.compress(b"\n".join(kept), compresslevel=5, mtime=0))


def _without(value: Any, ids: Collection[str]) -> Any:
    """A JSON value without these ids as keys or as items of lists."""
    if isinstance(value, dict):
        return {key: _without(item, ids) for key, item in value.items() if key not in ids}
    if isinstance(value, list):
        return [_without(item, ids) for item in value if not (isinstance(item, str) and item in ids)]
    return value

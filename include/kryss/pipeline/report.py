"""The report of a run: one table from what every stage measured."""

from __future__ import annotations

from collections import Counter
from typing import Any

from kryss.pipeline.run import Run

STAGES = ("discover", "plan", "fetch", "detect", "depth", "place", "merge", "assign", "check", "export")


def collect(run: Run) -> dict[str, Any]:
    """Gathers the measurements of a run into one document and keeps it as ``report.json`` beside them."""
    measured: dict[str, list[dict[str, Any]]] = {name: [] for name in STAGES}
    for name in run.state.names(run.folder):
        outcome = run.state.read_json(name)
        if outcome.get("stage") in measured:
            measured[outcome["stage"]].append(outcome)
    first = {name: (found[0] if found else {}) for name, found in measured.items()}
    shards = len(first["plan"].get("shards", []))
    expected = {name: shards if name in ("fetch", "detect", "depth") else 1 for name in STAGES}
    summary = {
        "code": run.code,
        "name": run.config.name,
        "run": run.run_id,
        "photos": {
            "seen": first["discover"].get("seen", 0),
            "new": first["discover"].get("new", 0),
            "malformed": first["discover"].get("malformed", {}),
            "failed": first["merge"].get("failed", {}),
        },
        "poses_rejected": first["place"].get("poses_rejected", {}),
        "photos_placed_again": first["place"].get("placed_again", 0),
        "boxes_not_placed": first["place"].get("not_placed", {}),
        "detections": sum(outcome.get("detections", 0) for outcome in measured["detect"]),
        "sightings": first["place"].get("sightings", 0),
        "sightings_dropped": first["merge"].get("dropped", {}),
        "depth": sorted({outcome.get("depth", "") for outcome in measured["depth"]} - {""}),
        "objects": {key: first["merge"].get("objects", {}).get(key, 0) for key in ("new", "changed", "ended", "unchanged")},
        "objects_total": first["merge"].get("total", 0),
        "intersections": first["assign"].get("intersections", 0),
        "objects_assigned": first["assign"].get("assigned", 0),
        "release": first["export"].get("release"),
        "release_url": first["export"].get("url"),
        "release_unchanged": first["export"].get("unchanged"),
        "changes": first["export"].get("changes", []),
        "seconds": {name: round(sum(o["seconds"] for o in found), 1) for name, found in measured.items() if found},
        "missing": [name for name in STAGES if len(measured[name]) < expected[name]],
    }
    run.state.write_json(f"{run.folder}/report.json", {"stage": "report", **summary})
    return summary


def _reasons(counts: dict[str, int]) -> str:
    return "; ".join(f"{number} {reason}" for reason, number in sorted(counts.items(), key=lambda kv: (-kv[1], kv[0])))


def table(summary: dict[str, Any]) -> str:
    """The report as text, one line a fact."""
    photos, objects = summary["photos"], summary["objects"]
    failed: Counter[str] = Counter(photos["failed"]) + Counter(photos["malformed"])
    if summary["release_unchanged"]:
        release = f"unchanged ({summary['release'] or 'none yet'})"
    else:
        release = summary["release"] or "none"
    seconds = "  ".join(f"{name} {summary['seconds'][name]}" for name in STAGES if name in summary["seconds"])
    rows: list[tuple[str, Any, str]] = [
        ("photos seen", photos["seen"], ""),
        ("photos new", photos["new"], ""),
        ("photos failed", sum(failed.values()), _reasons(failed)),
        ("poses rejected", sum(summary["poses_rejected"].values()), _reasons(summary["poses_rejected"])),
        ("placed again", summary["photos_placed_again"], "earlier photos of sequences that got new ones"),
        ("detections", summary["detections"], f"depth: {', '.join(summary['depth'])}" if summary["depth"] else ""),
        ("sightings", summary["sightings"], ""),
        ("boxes not placed", sum(summary["boxes_not_placed"].values()), _reasons(summary["boxes_not_placed"])),
        ("sightings dropped", sum(summary["sightings_dropped"].values()), _reasons(summary["sightings_dropped"])),
        ("objects new", objects["new"], ""),
        ("objects changed", objects["changed"], ""),
        ("objects ended", objects["ended"], ""),
        ("objects unchanged", objects["unchanged"], ""),
        ("intersections", summary["intersections"], f"{summary['objects_assigned']} objects stand at one"),
        ("release", release, ""),
        ("seconds", round(sum(summary["seconds"].values()), 1), seconds),
    ]
    width = max(len(str(value)) for _, value, _ in rows)
    head = f"{summary['name']} ({summary['code']}), run {summary['run']}"
    lines = [head, "-" * len(head)]
    lines += [f"{label:<18} {value!s:>{width}}  {note}".rstrip() for label, value, note in rows]
    return "\n".join(lines)

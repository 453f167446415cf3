"""The report of a run: one table from what every stage measured."""

from __future__ import annotations

from collections import Counter
from typing import Any

from kryss.pipeline.run import Run

FIRST = {"refresh": "discover", "reprocess": "known", "takedown": "takedown"}
OBJECTS = ("new", "changed", "ended", "withdrawn", "unchanged")
LOOKING = ("plan", "fetch", "detect", "depth")
STAGES = (*FIRST.values(), *LOOKING, "place", "merge", "assign", "check", "export")


def collect(run: Run) -> dict[str, Any]:
    """Gathers the measurements of a run into one document and keeps it as ``report.json`` beside them."""
    measured: dict[str, list[dict[str, Any]]] = {name: [] for name in STAGES}
    for name in run.state.names(run.folder):
        outcome = run.state.read_json(name)
        if outcome.get("stage") in measured:
            measured[outcome["stage"]].append(outcome)
    first = {name: (found[0] if found else {}) for name, found in measured.items()}
    began = first[FIRST[run.kind]]
    shards = len(first["plan"].get("shards", []))
    expected = {name: shards if name in ("fetch", "detect", "depth") else 1 for name in STAGES}
    expected |= {name: 0 for kind, name in FIRST.items() if kind != run.kind}
    if run.kind == "takedown":
        expected |= dict.fromkeys(LOOKING, 0)
    summary = {
        "code": run.code,
        "name": run.config.name,
        "run": run.run_id,
        "kind": run.kind,
        "model": began.get("model_key"),
        "photos": {
            "seen": began.get("seen", 0),
            "new": began.get("new", 0),
            "malformed": began.get("malformed", {}),
            "failed": first["merge"].get("failed", {}),
            "not_listed": began.get("not_listed", {}),
            "removed": first["merge"].get("removed", {}),
            "barred": began.get("barred", 0),
        },
        "takedown": {name: began[name] for name in ("note", "asked", "unknown_sequences", "named_in") if name in began},
        "poses_rejected": first["place"].get("poses_rejected", {}),
        "photos_placed_again": first["place"].get("placed_again", 0),
        "boxes_not_placed": first["place"].get("not_placed", {}),
        "detections": sum(outcome.get("detections", 0) for outcome in measured["detect"]),
        "sightings": first["place"].get("sightings", 0),
        "sightings_dropped": first["merge"].get("dropped", {}),
        "depth": sorted({outcome.get("depth", "") for outcome in measured["depth"]} - {""}),
        "objects": {name: first["merge"].get("objects", {}).get(name, 0) for name in OBJECTS},
        "reasons": first["merge"].get("reasons", {}),
        "lineage": first["merge"].get("lineage", {}),
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


_LINEAGE = {
    "merged_into": "turned out to be another",
    "split_from": "turned out to be a part of another",
    "lost_evidence": "lost their photos",
    "unsupported": "weighed anew, nothing that stands",
}


def _not_listed(counts: dict[str, int]) -> str:
    if not counts.get("missing"):
        return ""
    return f"{counts['asked']} asked for: {counts['gone']} gone, {counts['unanswered']} not answered"


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
        ("photos new", photos["new"], f"to model {summary['model']}" if summary["kind"] == "reprocess" else ""),
        ("photos failed", sum(failed.values()), _reasons(failed)),
        ("photos not listed", photos["not_listed"].get("missing", 0), _not_listed(photos["not_listed"])),
        ("photos removed", sum(photos["removed"].values()), _reasons(photos["removed"])),
        ("poses rejected", sum(summary["poses_rejected"].values()), _reasons(summary["poses_rejected"])),
        ("placed again", summary["photos_placed_again"], "earlier photos of sequences that got new ones or lost some"),
        ("detections", summary["detections"], f"depth: {', '.join(summary['depth'])}" if summary["depth"] else ""),
        ("sightings", summary["sightings"], ""),
        ("boxes not placed", sum(summary["boxes_not_placed"].values()), _reasons(summary["boxes_not_placed"])),
        ("sightings dropped", sum(summary["sightings_dropped"].values()), _reasons(summary["sightings_dropped"])),
        ("objects new", objects["new"], ""),
        (
            "objects changed",
            objects["changed"],
            f"why, of all that is new: {why}" if (why := _reasons(summary["reasons"])) else "",
        ),
        ("objects ended", objects["ended"], ""),
        ("objects withdrawn", objects["withdrawn"], ""),
        ("objects unchanged", objects["unchanged"], ""),
        ("ids", sum(summary["lineage"].values()), _reasons({_LINEAGE[name]: n for name, n in summary["lineage"].items()})),
        ("intersections", summary["intersections"], f"{summary['objects_assigned']} objects stand at one"),
        ("release", release, ""),
        ("seconds", round(sum(summary["seconds"].values()), 1), seconds),
    ]
    width = max(len(str(value)) for _, value, _ in rows)
    head = f"{summary['name']} ({summary['code']}), run {summary['run']}"
    lines = [head, "-" * len(head)]
    lines += [f"{label:<18} {value!s:>{width}}  {note}".rstrip() for label, value, note in rows]
    return "\n".join([*lines, *_takedown_lines(summary["takedown"])])


def _takedown_lines(asked: dict[str, Any]) -> list[str]:
    """What an operator has still to see to: published releases never change by themselves."""
    if not asked:
        return []
    unknown = [f"no known photo is of sequence {one}" for one in asked["unknown_sequences"]]
    named = [f"release {name} names them in {', '.join(files)}" for name, files in asked["named_in"].items()]
    return ["", f"asked to take down {asked['asked']} photos: {asked['note']}", *unknown, *(named or ["no release names them"])]

"""The report of a run: one table from what every stage measured."""

from __future__ import annotations

import logging
from collections import Counter
from datetime import datetime
from typing import Any, Literal

from kryss.pipeline.run import Run, utc_now

log = logging.getLogger(__name__)

FIRST = {"refresh": "discover", "reprocess": "known", "takedown": "takedown"}
OBJECTS = ("new", "changed", "ended", "withdrawn", "unchanged")
LOOKING = ("plan", "fetch", "detect", "depth")
STAGES = (*FIRST.values(), *LOOKING, "place", "merge", "assign", "check", "export")
APPROVAL = "approval"
"""Of a person, where a release was held back: no stage of every run."""
Answer = Literal["approved", "rejected", "unanswered"]


def keep_answer(run: Run, answer: Answer, by: str | None) -> dict[str, Any]:
    """Keeps what became of the question whether to publish what was held back. ``by``: the name of who answered."""
    told = {"stage": APPROVAL, "answer": answer, "by": by, "at": utc_now()}
    run.state.write_json(f"{run.folder}/{APPROVAL}.json", told)
    log.info("%s: release held back: %s%s", run.code, answer, f" by {by}" if by else "")
    return told


def forget_answer(run: Run) -> None:
    """Before the question is asked again: what was answered an earlier time is no answer to it."""
    run.state.remove(f"{run.folder}/{APPROVAL}.json")


def collect(run: Run) -> dict[str, Any]:
    """Gathers the measurements of a run into one document and keeps it as ``report.json`` beside them."""
    measured: dict[str, list[dict[str, Any]]] = {name: [] for name in (*STAGES, APPROVAL)}
    for name in run.state.names(run.folder):
        outcome = run.state.read_json(name)
        if outcome.get("stage") in measured:
            measured[outcome["stage"]].append(outcome)
    first = {name: (found[0] if found else {}) for name, found in measured.items()}
    began = first[FIRST[run.kind]]
    planned = {part["shard"] for part in first["plan"].get("shards", [])}
    for name in LOOKING[1:]:  # those of an earlier plan of this run are no work of this one
        measured[name] = [outcome for outcome in measured[name] if outcome["shard"] in planned]
    expected = {name: len(planned) if name in ("fetch", "detect", "depth") else 1 for name in STAGES}
    expected |= {name: 0 for kind, name in FIRST.items() if kind != run.kind}
    if run.kind == "takedown":
        expected |= dict.fromkeys(LOOKING, 0)
    approval = next(iter(measured.pop(APPROVAL)), None)
    if approval and approval["at"] < first["check"].get("ended_at", ""):
        approval = None  # it answered what an earlier attempt had found
    if approval and approval["answer"] == "rejected":
        expected["export"] = 0
    summary = {
        "code": run.code,
        "name": run.config.name,
        "run": run.run_id,
        "kind": run.kind,
        "release_date": run.release_date.isoformat(),
        "began_at": _second(min((outcome["began_at"] for found in measured.values() for outcome in found), default=None)),
        "ended_at": _second(utc_now()),
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
        "looked_with": first["detect"].get("model"),
        "detections": sum(outcome.get("detections", 0) for outcome in measured["detect"]),
        "sightings": first["place"].get("sightings", 0),
        "sightings_dropped": first["merge"].get("dropped", {}),
        "depth": sorted({outcome.get("depth", "") for outcome in measured["depth"]} - {""}),
        "boxes_without_depth": dict(sum((Counter(o.get("without_depth", {})) for o in measured["depth"]), Counter())),
        "objects": {name: first["merge"].get("objects", {}).get(name, 0) for name in OBJECTS},
        "reasons": first["merge"].get("reasons", {}),
        "lineage": first["merge"].get("lineage", {}),
        "objects_total": first["merge"].get("total", 0),
        "intersections": first["assign"].get("intersections", 0),
        "objects_assigned": first["assign"].get("assigned", 0),
        "check": {name: first["check"].get(name) for name in ("reasons", "against", "shift")} if first["check"] else None,
        "held_back": bool(first["check"].get("reasons")) and not run.approve,
        "approval": {name: approval[name] for name in ("answer", "by", "at")} if approval else None,
        "release": first["export"].get("release"),
        "release_url": first["export"].get("url"),
        "release_unchanged": first["export"].get("unchanged"),
        "changes": first["export"].get("changes", []),
        "releases_removed": first["export"].get("pruned", []),
        "releases_not_removed": first["export"].get("not_pruned"),
        "left_out": first["export"].get("left_out", []),
        "seconds": {name: round(sum(o["seconds"] for o in found), 1) for name, found in measured.items() if found},
        "wall_seconds": {name: _wall_s(found) for name, found in measured.items() if found},
        "missing": [name for name in STAGES if len(measured[name]) < expected[name]],
    }
    run.state.write_json(f"{run.folder}/report.json", {"stage": "report", **summary})
    return summary


def _second(instant: str | None) -> str | None:
    """Whole seconds of an instant with milliseconds."""
    return None if instant is None else f"{instant[:19]}Z"


def _wall_s(found: list[dict[str, Any]]) -> float:
    """From the begin of the first shard to the end of the last."""
    began, ended = (datetime.fromisoformat(by(one[name] for one in found)) for name, by in (("began_at", min), ("ended_at", max)))
    return round((ended - began).total_seconds(), 1)


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
        release = summary["release"] or ("held back" if summary["held_back"] else "none")
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
        ("boxes without depth", sum(summary["boxes_without_depth"].values()), _reasons(summary["boxes_without_depth"])),
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
    return "\n".join([*lines, *_release_lines(summary), *_held_back_lines(summary), *_takedown_lines(summary["takedown"])])


def _release_lines(summary: dict[str, Any]) -> list[str]:
    gone, why = summary["releases_removed"], summary["releases_not_removed"]
    lines = [f"left out of the release: {line}" for line in summary["left_out"]]
    lines += [f"old releases removed: {', '.join(gone)}"] if gone else []
    lines += [f"old releases could not be removed: {why}"] if why else []
    return ["", *lines] if lines else []


_ANSWERS = {
    "approved": "approved by {by} at {at}: published",
    "rejected": "rejected by {by} at {at}: not published",
    "unanswered": "nobody answered by {at}: not published",
}


def _held_back_lines(summary: dict[str, Any]) -> list[str]:
    reasons = (summary["check"] or {}).get("reasons")
    if not reasons:
        return []
    answer = summary["approval"]
    if answer:
        end = _ANSWERS[answer["answer"]].format(by=answer["by"], at=answer["at"])
    else:
        end = (
            "not published yet: it waits for approval" if summary["held_back"] else "published all the same: the run said approve"
        )
    return ["", f"implausible against {_past(summary['check']['against'])}", *(f"  {reason}" for reason in reasons), end]


def _past(names: list[str]) -> str:
    return f"release {names[0]}" if len(names) == 1 else f"{len(names)} releases, {names[0]} to {names[-1]}"


def _takedown_lines(asked: dict[str, Any]) -> list[str]:
    """What an operator has still to see to: published releases never change by themselves."""
    if not asked:
        return []
    unknown = [f"no known photo is of sequence {one}" for one in asked["unknown_sequences"]]
    named = [f"release {name} names them in {', '.join(files)}" for name, files in asked["named_in"].items()]
    return ["", f"asked to take down {asked['asked']} photos: {asked['note']}", *unknown, *(named or ["no release names them"])]

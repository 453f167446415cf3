"""The page that tells how good a detector is: one HTML file, no script, pictures as SVG; from ``evaluate.score``'s numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

STYLE = """
:root { color-scheme: light dark; --ink: #1c2733; --dim: #5c6b7a; --line: #d5dce3; --ground: #fff; --one: #1f6f8b; --two: #e08e2b;
  --bad: #b3382c; --soft: #eef2f5; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6ebf0; --dim: #9aa8b5; --line: #36424e; --ground: #151b21; --one: #58b5d3;
  --two: #f0a84e; --bad: #f0786b; --soft: #1f2831; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--ground); margin: 2rem auto; max-width: 80rem;
  padding: 0 1rem; }
h1 { font-size: 1.5rem; margin: 0; } h2 { font-size: 1.1rem; margin: 2.2rem 0 .6rem; } p { margin: .3rem 0; max-width: 52rem; }
.dim, td small { color: var(--dim); } .figures { display: flex; flex-wrap: wrap; gap: .6rem; margin: 1rem 0; }
.figures div { background: var(--soft); border-radius: 6px; padding: .5rem .9rem; min-width: 7rem; }
.figures b { display: block; font-size: 1.35rem; font-variant-numeric: tabular-nums; }
.beside { display: flex; flex-wrap: wrap; gap: 2rem; align-items: flex-start; } .scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; } th { text-align: right; font-weight: 600; }
th, td { padding: .12rem .6rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; padding-left: 0; } svg { max-width: 100%; height: auto; }
td svg { max-width: none; }
svg text { font: 11px system-ui, sans-serif; fill: var(--dim); } svg text.count { fill: var(--ink); text-anchor: middle; }
.axis { stroke: var(--line); fill: none; }
"""
CHOSEN_HERE = "calibration and thresholds were chosen on these very photos: precision, recall and calibration flatter"
SIDE, MARGIN = 340, 36
"""Pixels of a square plot and of the room for its axes."""
MOST_CONFUSED = 24
"""Classes in the confusion matrix: those with the most mistakes."""


def page(*results: Mapping[str, Any]) -> str:
    """``results``: what ``./kryss evaluate --json`` writes of each set of labels."""
    body = "\n<hr>\n".join(_of_set(result) for result in results)
    title = escape(str(results[0].get("model", "Detector")))
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{title}: evaluation</title><style>{STYLE}</style></head><body>\n{body}\n</body></html>\n"
    )


def _of_set(result: Mapping[str, Any]) -> str:
    point, fit = result["operating"], result["tightness"]
    figures = [
        ("mAP@0.5", _number(result["map50"])),
        ("mAP@0.5:0.95", _number(result["map50_95"])),
        ("precision", _number(point["precision"])),
        ("recall", _number(point["recall"])),
        ("mean IoU", _number(fit.get("mean_iou"))),
        ("ECE of scores", _number(result["calibration"]["ece"])),
        ("s a photo", f"{result['seconds_a_photo']:.2f}"),
    ]
    stage = "" if result.get("second_stage", True) else ", first stage alone"
    parts = [
        f"<h1>{escape(str(result.get('model', 'Detector')))}</h1>",
        f"<p class=dim>{result['photos']} photos, {result['boxes']} labels of {result['classes_that_occur']} classes that occur "
        f"({escape(str(result.get('labels', '')))}){stage}</p>",
        f"<p><b>{CHOSEN_HERE[0].upper()}{CHOSEN_HERE[1:]}.</b></p>" if result.get("chosen_on_these_photos") else "",
        "<div class=figures>" + "".join(f"<div>{escape(name)}<b>{value}</b></div>" for name, value in figures) + "</div>",
        "<h2>Precision and recall</h2>",
        "<p>Each thin line is one class, the thick one their mean (IoU 0.5). The dot is where the model is used: over all "
        f"classes together {point['right']} right, {point['wrong']} wrong, {point['missed']} missed.</p>",
        "<div class=beside>" + _curves(result) + _reliability(result["calibration"]) + "</div>",
        "<h2>By size</h2>",
        "<p>Small, medium and large are COCO's (areas of 32² and 96² pixels). Recall is that at the operating threshold.</p>",
        _sizes(result),
        "<h2>By class</h2>",
        _classes(result["classes"]),
        "<h2>What was taken for what</h2>",
        _confusion(result["confusion"]),
    ]
    if fit["boxes"]:
        parts += ["<h2>How tight the boxes are</h2>", _fit(fit)]
    parts += ["<h2>What was left out</h2>", _left_out(result)]
    return "\n".join(parts)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _plot(inner: str, across: str, up: str, label: str) -> str:
    """A square from 0 to 1 both ways."""
    ticks = ""
    for step in np.linspace(0, 1, 6):
        x, y = MARGIN + step * SIDE, MARGIN / 3 + (1 - step) * SIDE
        ticks += f'<path class=axis d="M{x:.1f} {MARGIN / 3}v{SIDE}M{MARGIN} {y:.1f}h{SIDE}"/>'
        ticks += f'<text x="{x:.1f}" y="{MARGIN / 3 + SIDE + 14}" text-anchor="middle">{step:.1f}</text>'
        ticks += f'<text x="{MARGIN - 5}" y="{y + 4:.1f}" text-anchor="end">{step:.1f}</text>'
    width, height = SIDE + MARGIN + 12, SIDE + MARGIN / 3 + 34
    names = f'<text x="{MARGIN + SIDE / 2}" y="{height - 4}" text-anchor="middle">{across}</text>'
    names += f'<text transform="translate(10 {MARGIN / 3 + SIDE / 2}) rotate(-90)" text-anchor="middle">{up}</text>'
    return (
        f'<svg role="img" aria-label="{escape(label)}" width="{width}" height="{height}" viewBox="0 0 {width} {height}">'
        f"{ticks}{inner}{names}</svg>"
    )


def _at(across: float, up: float) -> str:
    return f"{MARGIN + across * SIDE:.1f} {MARGIN / 3 + (1 - up) * SIDE:.1f}"


def _path(points: Sequence[tuple[float, float]], style: str, title: str = "") -> str:
    steps = "L".join(_at(*point) for point in points)
    told = f"<title>{escape(title)}</title>" if title else ""
    return f'<path d="M{steps}" fill="none" {style}>{told}</path>'


def _curves(result: Mapping[str, Any]) -> str:
    curves: Mapping[str, Sequence[float]] = result["curves"]
    recalls = np.linspace(0, 1, 101)
    inner = ""
    for name, precision in curves.items():
        points = list(zip(recalls, precision, strict=True))
        inner += _path(points, 'stroke="var(--dim)" stroke-width="1" opacity=".35"', name)
    if curves:
        mean = np.mean(list(curves.values()), axis=0)
        inner += _path(list(zip(recalls, mean, strict=True)), 'stroke="var(--one)" stroke-width="3"', "mean of the classes")
    point = result["operating"]
    if point["precision"] is not None and point["recall"] is not None:
        x, y = _at(point["recall"], point["precision"]).split()
        told = f"<title>precision {point['precision']:.3f}, recall {point['recall']:.3f}</title>"
        inner += f'<circle cx="{x}" cy="{y}" r="5" fill="var(--two)">{told}</circle>'
    return _plot(inner, "recall", "precision", "Precision over recall, by class")


def _reliability(calibration: Mapping[str, Any]) -> str:
    inner = _path([(0, 0), (1, 1)], 'stroke="var(--dim)" stroke-dasharray="4 4"')
    most = max((row["detections"] for row in calibration["bins"]), default=0) or 1
    points = []
    for row in calibration["bins"]:
        if not row["detections"]:
            continue
        share = row["detections"] / most
        corner = _at(row["from"] + 0.01, share * 0.25).split()
        width, height = (row["to"] - row["from"] - 0.02) * SIDE, share * 0.25 * SIDE
        inner += (
            f'<rect x="{corner[0]}" y="{corner[1]}" width="{width:.1f}" height="{height:.1f}" fill="var(--line)">'
            f"<title>{row['detections']} detections of scores {row['from']} to {row['to']}</title></rect>"
        )
        points.append((row["mean_score"], row["right"]))
    if points:
        inner += _path(points, 'stroke="var(--one)" stroke-width="2.5"')
    for score, right in points:
        x, y = _at(score, right).split()
        inner += f'<circle cx="{x}" cy="{y}" r="4" fill="var(--one)"><title>score {score:.2f}: {right:.2f} right</title></circle>'
    return _plot(inner, "score", "share that is right", "Whether scores mean what they say; grey: how many detections")


def _bar(value: float | None) -> str:
    width = 0 if value is None else 110 * value
    return (
        '<svg width="110" height="10" aria-hidden="true"><rect width="110" height="10" fill="var(--soft)"/>'
        f'<rect width="{width:.1f}" height="10" fill="var(--one)"/></svg>'
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    titles = "".join(f"<th>{escape(title)}</th>" for title in head)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<div class=scroll><table><thead><tr>{titles}</tr></thead><tbody>{body}</tbody></table></div>"


def _sizes(result: Mapping[str, Any]) -> str:
    rows = [
        [escape(name), str(row["boxes"]), _number(row["ap50"]), _bar(row["ap50"]), _number(row["ap"]), "–"]
        for name, row in result["sizes"].items()
    ]
    rows += [
        [
            f"{escape(name)} px high",
            str(row["boxes"]),
            _number(row["ap50"]),
            _bar(row["ap50"]),
            _number(row["ap"]),
            _number(row["recall"]),
        ]
        for name, row in result["heights_px"].items()
    ]
    return _table(["", "labels", "AP@0.5", "", "AP@0.5:0.95", "recall"], rows)


def _classes(classes: Mapping[str, Any]) -> str:
    rows = [
        [
            escape(name),
            str(row["boxes"]),
            _number(row["ap50"]),
            _bar(row["ap50"]),
            _number(row["ap"]),
            _number(row["precision"]),
            _number(row["recall"]),
            str(row["wrong"]),
            f"{row['threshold']:.2f}",
        ]
        for name, row in classes.items()
    ]
    head = ["", "labels", "AP@0.5", "", "AP@0.5:0.95", "precision", "recall", "wrong", "threshold"]
    return _table(head, rows)


def _confusion(cells: Sequence[Mapping[str, Any]]) -> str:
    counts = {(cell["true"], cell["found"]): cell["count"] for cell in cells}
    mistakes: dict[str, int] = {}
    for (true, found), count in counts.items():
        if true != found:
            for name in {true, found} - {None}:
                mistakes[name] = mistakes.get(name, 0) + count
    if not mistakes:
        return "<p>Nothing was taken for anything else, nothing missed, nothing invented.</p>"
    names: list[str | None] = [*sorted(mistakes, key=lambda name: (-mistakes[name], name))[:MOST_CONFUSED]]
    names.append(None)
    most = max(counts.get((a, b), 0) for a in names for b in names) or 1
    cell, left, top = 26, 300, 230
    size_x, size_y = left + cell * len(names) + 140, top + cell * len(names) + 8
    inner = ""
    for index, name in enumerate(names):
        true, found = name or "(nothing there)", name or "(not found)"
        at = index * cell + cell / 2
        inner += f'<text x="{left - 6}" y="{top + at + 4}" text-anchor="end">{escape(_short(true))}</text>'
        inner += f'<text transform="translate({left + at + 4} {top - 6}) rotate(-60)">{escape(_short(found))}</text>'
        for column, other in enumerate(names):
            count = counts.get((name, other), 0)
            colour = "var(--one)" if name == other else "var(--bad)"
            opacity = 0.12 + 0.88 * (count / most) ** 0.4 if count else 0
            x, y = left + column * cell, top + index * cell
            inner += f'<rect x="{x}" y="{y}" width="{cell - 1}" height="{cell - 1}" fill="var(--soft)"/>'
            if count:
                said = f"{true} taken for {other or 'nothing'}: {count}" if name != other else f"{true}: {count} right"
                inner += (
                    f'<rect x="{x}" y="{y}" width="{cell - 1}" height="{cell - 1}" fill="{colour}" opacity="{opacity:.2f}">'
                    f"<title>{escape(said)}</title></rect>"
                    f'<text class="count" x="{x + cell / 2 - 0.5}" y="{y + cell / 2 + 4}">{count}</text>'
                )
    note = "Rows: what stands there; columns: what it was called where the model is used."
    if len(mistakes) > MOST_CONFUSED:
        note += f" The {MOST_CONFUSED} classes with the most mistakes of {len(mistakes)} that have any."
    return (
        f'<p>{note}</p><div class=scroll><svg role="img" aria-label="Confusion matrix" width="{size_x}" height="{size_y}" '
        f'viewBox="0 0 {size_x} {size_y}" style="max-width:none">{inner}</svg></div>'
    )


def _short(name: str) -> str:
    """Without the category and the usual appearance group."""
    plain = name.split("--", 1)[-1].removesuffix("--g1") if "--" in name else name
    return plain if len(plain) <= 44 else plain[:42] + "…"


def _fit(fit: Mapping[str, Any]) -> str:
    rows = [
        [label, *(f"{fit[key][part]:.3f}" for part in ("p10", "median", "p90"))]
        for key, label in (("iou", "IoU"), ("width_ratio", "width / true width"), ("height_ratio", "height / true height"))
    ]
    return f"<p>Of {fit['boxes']} right detections: the middle one, and what a tenth are below and above.</p>" + _table(
        ["", "10 %", "median", "90 %"], rows
    )


def _left_out(result: Mapping[str, Any]) -> str:
    lost = result["left_out"]
    parts = []
    if lost["photos"]:
        rows = [[escape(row["file"]), escape(row["reason"]), str(row["boxes"])] for row in lost["photos"][:50]]
        parts.append(f"<p>{len(lost['photos'])} photos that could not be read, with {lost['boxes']} labels.</p>")
        parts.append(_table(["photo", "why", "labels"], rows))
    if unknown := result.get("unknown_categories"):
        told = ", ".join(f"{escape(name)} ({count})" for name, count in sorted(unknown.items()))
        parts.append(f"<p>Categories that mean none of our classes: {told}.</p>")
    if faults := result.get("faults"):
        parts.append("<p>" + "; ".join(f"{count} × {escape(reason)}" for reason, count in faults.items()) + ".</p>")
    if others := result["not_labelled"]:
        parts.append(f"<p>{sum(others.values())} detections of {len(others)} classes that these labels do not hold.</p>")
    return "".join(parts) or "<p>Nothing.</p>"

"""Real QGIS opens a release: every layer valid, the styles taken up by their names, a map drawn, no message in its log.

QGIS brings its own Python (Debian: python3-qgis and qgis-providers, for /usr/bin/python3), so it runs as a program of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy
import pytest
from PIL import Image

from kryss.model import Municipality

PYTHON = "/usr/bin/python3"
BLUE, ORANGE, GREY = (0, 114, 178), (230, 159, 0), (85, 85, 85)
"""Standing, unconfirmed, ended: of the colours that Okabe and Ito chose to be told apart by everybody."""
PROGRAM = r"""
import json, os, sys
from qgis.core import (QgsApplication, QgsCoordinateReferenceSystem, QgsCoordinateTransform, QgsExpression, QgsExpressionContext,
    QgsExpressionContextUtils, QgsMapRendererParallelJob, QgsMapSettings, QgsProject, QgsRectangle, QgsVectorLayer)
from qgis.PyQt.QtCore import QSize
from qgis.PyQt.QtGui import QColor

folder, picture, scale = sys.argv[1], sys.argv[2], float(sys.argv[3])
QgsApplication.setPrefixPath("/usr", True)
application = QgsApplication([], True)
application.initQgis()
log = []
application.messageLog().messageReceived.connect(lambda text, tag, level: log.append(f"{tag}: {text}"))
told = {}
layers = []

def tips(layer):
    context = QgsExpressionContext(QgsExpressionContextUtils.globalProjectLayerScopes(layer))
    for feature in layer.getFeatures():
        context.setFeature(feature)
        yield QgsExpression.replaceExpressionText(layer.mapTipTemplate(), context)

for name in ("objects", "roads", "areas", "changes", "intersections"):
    layer = QgsVectorLayer(f"{folder}/{name}.geojson", name, "ogr")
    words, styled = layer.loadDefaultStyle()
    told[name] = {
        "valid": layer.isValid(), "crs": layer.crs().authid(), "features": layer.featureCount(), "styled": styled, "words": words,
        "renderer": layer.renderer().type() if layer.renderer() else None,
        "fields": {field.name(): field.typeName() for field in layer.fields()},
        "symbols": [item.label() for item in layer.renderer().legendSymbolItems()] if layer.renderer() else [],
        "temporal": layer.temporalProperties().isActive(), "labels": layer.labelsEnabled(), "tips": list(tips(layer)),
    }
    if name in ("objects", "roads", "areas"):
        layers.append(layer)
settings = QgsMapSettings()
settings.setLayers(layers)
settings.setBackgroundColor(QColor("white"))
settings.setDestinationCrs(QgsCoordinateReferenceSystem("EPSG:25832"))
settings.setOutputSize(QSize(1400, 1000))
settings.setOutputDpi(96)
to_map = QgsCoordinateTransform(layers[-1].crs(), settings.destinationCrs(), QgsProject.instance())
middle = to_map.transformBoundingBox(layers[-1].extent()).center()
wide, high = (pixels / 96 * 0.0254 * scale / 2 for pixels in (1400, 1000))
settings.setExtent(QgsRectangle(middle.x() - wide, middle.y() - high, middle.x() + wide, middle.y() + high))
job = QgsMapRendererParallelJob(settings)
job.start()
job.waitForFinished()
job.renderedImage().save(picture)
print(json.dumps({"layers": told, "log": log, "errors": [one.message for one in job.errors()], "scale": settings.scale()}))
sys.stdout.flush()
os._exit(0)  # QGIS 3.22 may crash while its Python winds down
"""


def has_qgis() -> bool:
    return (
        Path(PYTHON).exists()
        and subprocess.run([PYTHON, "-c", "import qgis.core"], capture_output=True, check=False, env=environment()).returncode
        == 0
    )


def environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG")}
    return {**kept, "QT_QPA_PLATFORM": "offscreen", "XDG_RUNTIME_DIR": tempfile.mkdtemp(prefix="kryss-qgis-")}


pytestmark = pytest.mark.skipif(not has_qgis(), reason="QGIS is not installed (Debian: python3-qgis qgis-providers)")


def opened(folder: Path, picture: Path, scale: float) -> dict[str, Any]:
    run = subprocess.run(
        [PYTHON, "-c", PROGRAM, str(folder), str(picture), str(scale)],
        capture_output=True, text=True, check=False, timeout=120, env=environment(),
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert run.stderr == ""
    return dict(json.loads(run.stdout.splitlines()[-1]))


def pixels(picture: Path, colour: tuple[int, int, int]) -> int:
    image = numpy.asarray(Image.open(picture).convert("RGB")).astype(int)
    return int((abs(image - numpy.array(colour)).max(axis=2) <= 6).sum())


def colours(picture: Path) -> Counter[tuple[int, ...]]:
    return Counter(map(tuple, numpy.asarray(Image.open(picture).convert("RGB")).reshape(-1, 3).tolist()))


def test_every_layer_opens_with_its_style_and_nothing_in_the_log(published, tmp_path):
    told = opened(published.second, tmp_path / "map.png", 500)
    assert told["log"] == [] and told["errors"] == []
    layers = told["layers"]
    assert all(layer["valid"] for layer in layers.values())
    # QGIS draws no GeometryCollection: intersections.geojson is a table to it, which is why areas and objects are files too.
    assert {layer["crs"] for name, layer in layers.items() if name != "intersections"} == {"EPSG:4326"}
    assert {name: layer["features"] for name, layer in layers.items() if name in ("objects", "areas", "roads")} == {
        "objects": 11,
        "areas": 1,
        "roads": 1,
    }
    for name in ("objects", "areas", "roads"):
        assert layers[name]["styled"] and layers[name]["words"] == "", name
    objects = layers["objects"]
    assert objects["renderer"] == "categorizedSymbol"
    assert [label.split(":")[0] for label in objects["symbols"]] == ["standing", "unconfirmed", "ended"]
    assert objects["temporal"] and objects["labels"]  # the time slider of QGIS moves first_seen_at to ended_at
    assert objects["fields"]["valid_time"] == "String" and objects["fields"]["first_seen_at"] == "DateTime"


def test_the_map_shows_each_status_and_large_scales_show_the_error(published, tmp_path):
    opened(published.second, tmp_path / "near.png", 500)
    opened(published.second, tmp_path / "far.png", 5000)
    for colour in (BLUE, ORANGE, GREY):
        assert pixels(tmp_path / "near.png", colour) > 20, colour
        assert pixels(tmp_path / "far.png", colour) > 5, colour
    near, far = (colours(tmp_path / name) for name in ("near.png", "far.png"))
    tint = [colour for colour, count in near.items() if count > 2000 and count > 100 * far[colour] and min(colour) > 200]
    assert tint, "the ellipses of error tint the map at 1:500 and not at 1:5000"


def test_names_of_others_are_no_markup_in_what_shows_under_the_mouse(town, store, tmp_path):
    """Anybody may name a road in OpenStreetMap, and QGIS shows such tips as HTML."""
    hostile = "<script>alert(1)</script> & <img src=x>"
    objects = [replace(town.in_2025()[0], class_name=f"regulatory--{hostile}"), *town.in_2025()[1:]]
    town.believe(store, objects, intersections=[replace(town.junction(), name=hostile)])
    layers = opened(Path(town.publish(store, tmp_path, town.next_spring).url), tmp_path / "map.png", 500)["layers"]
    shown = "&lt;script>alert(1)&lt;/script> &amp; &lt;img src=x>"
    assert layers["areas"]["tips"] == [f"<b>{shown}</b><br>{layers['objects']['features']} objects stand"]
    tips = layers["objects"]["tips"]
    assert sum(shown in tip for tip in tips) == 1 and not any("<script" in tip or "<img" in tip for tip in tips)
    assert sum("<b>regulatory--" in tip and "standing with " in tip for tip in tips) > 1


def test_a_release_of_an_empty_municipality_opens_too(town, published, tmp_path):
    nowhere = Municipality("7001", "Nowhere", "NO", town.municipality.boundary)
    town.believe(published.store, [], intersections=[], assignments={}, municipality=nowhere)
    folder = Path(town.publish(published.store, tmp_path, town.next_spring, municipality=nowhere).url)
    told = opened(folder, tmp_path / "map.png", 500)
    assert told["log"] == [] and told["errors"] == []
    assert all(layer["valid"] and layer["features"] == 0 for layer in told["layers"].values())

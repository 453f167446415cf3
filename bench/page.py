"""How fast the page of a release is at 100 thousand objects, beside the same release as plain GeoJSON sources of MapLibre GL.

    ./kryss bench page [--objects 100000] [--steps 40] [--json FILE]

Headless Chromium, WebGL in software (SwiftShader), a file server on loopback, one run; the release is made up
(tests/page/releases.py).

Ours      the page itself: a worker reads objects.geojson.gz, the map counts cells or draws signs, the slider uploads nothing
circles   MapLibre, `type: geojson`, one circle an object; the slider is `setFilter` on the dates
clusters  MapLibre, `type: geojson`, `cluster: true`, circles; the slider is `setData` with the objects of that day (a filter of a
          layer does not reach the clusters)

All three draw the same areas and roads with the same MapLibre from the same bytes (those of the peers with Content-Encoding:
gzip). First paint: first contentful paint. Shown: all objects on the map, nothing left to draw. Frames: `panBy` and `jumpTo`,
each waiting for the next frame. Slider: days shown a second; a day counts as shown when the map rests (peers: `idle`).
The peers draw no signs, lists or labels; a ratio above 1 says that ours is faster. Needs Chromium, and `npm ci` in
include/kryss/layer/web for the peers.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
import tempfile
import time
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "include"))
MAPLIBRE = ROOT / "include" / "kryss" / "layer" / "web" / "node_modules" / "maplibre-gl" / "dist"
NAME = "2026-05-22.1"

PEER = """<!doctype html><html lang="en"><meta charset="utf-8"><title>peer</title>
<style>html,body,#map{margin:0;height:100%}</style><div id="map"></div>
<script type="module">
import { Map, setWorkerUrl } from './maplibre-gl.mjs';
setWorkerUrl(new URL('./maplibre-gl-worker.mjs', location.href).href);
const clustered = location.hash.includes('clusters');
const map = new Map({ container: 'map', center: CENTRE, zoom: 10.5, fadeDuration: 0, attributionControl: false, style: {
  version: 8, sources: {
  areas: { type: 'geojson', data: './areas.geojson' }, roads: { type: 'geojson', data: './roads.geojson' },
  objects: { type: 'geojson', data: './objects.geojson', cluster: clustered, clusterRadius: 50 } }, layers: [
  { id: 'ground', type: 'background', paint: { 'background-color': '#e9edea' } },
  { id: 'area-fill', type: 'fill', source: 'areas', minzoom: 13, paint: { 'fill-color': '#0a666c', 'fill-opacity': 0.06 } },
  { id: 'road', type: 'line', source: 'roads', minzoom: 13, paint: { 'line-color': '#fff', 'line-width': 4 } },
  { id: 'area-line', type: 'line', source: 'areas', minzoom: 13, paint: { 'line-color': '#0a666c' } },
  { id: 'objects', type: 'circle', source: 'objects', paint: {
    'circle-radius': clustered ? ['case', ['has', 'point_count'], 16, 5] : 5,
    'circle-color': ['match', ['get', 'object_type'], 'traffic light', '#b84300', '#0068a3'] } } ] } });
const rest = () => new Promise((done) => map.once('idle', done));
await rest();
let all = null;
globalThis.peer = { map, async day(text) {
  if (!clustered) map.setFilter('objects', ['all', ['<=', ['get', 'first_seen_at'], text],
    ['any', ['==', ['get', 'ended_at'], null], ['>', ['get', 'ended_at'], text]]]);
  else {
    all ??= (await (await fetch('./objects.geojson')).json()).features;
    const features = all.filter(({ properties: p }) => p.first_seen_at <= text && (p.ended_at === null || p.ended_at > text));
    map.getSource('objects').setData({ type: 'FeatureCollection', features });
  }
  await rest();
} };
document.documentElement.dataset.ready = 'true';
</script>"""

MOVES = """async ({ steps, near, centre, zoomed }) => { const map = (globalThis.kryss ?? globalThis.peer).map;
  map.jumpTo({ center: centre, zoom: near }); for (let i = 0; i < 20; i += 1) await new Promise(requestAnimationFrame);
  await new Promise(done => setTimeout(done, 1500));
  const frames = []; let last = performance.now();
  for (let i = 0; i < steps; i += 1) {
    if (zoomed) map.jumpTo({ zoom: near + 2 * Math.sin(i / steps * Math.PI) }); else map.panBy([9, 5], { animate: false });
    await new Promise(requestAnimationFrame); const now = performance.now(); frames.push(now - last); last = now;
  }
  frames.sort((a, b) => a - b); const whole = frames.reduce((a, b) => a + b);
  return { fps: 1000 * frames.length / whole, p95_ms: frames[Math.floor(frames.length * 0.95)] }; }"""

SLIDE = """async ({ steps, centre }) => { const ours = globalThis.kryss, map = (ours ?? globalThis.peer).map;
  map.jumpTo({ center: centre, zoom: 11.5 }); await new Promise(done => setTimeout(done, 1500));
  const range = document.querySelector('#clock input');
  if (!ours) await globalThis.peer.day('2019-01-01T00:00:00Z');
  const start = performance.now();
  for (let i = 0; i < steps; i += 1) {
    const day = 17000 + Math.round(i * 3000 / steps);
    if (ours) { range.value = String(day - 16801); range.dispatchEvent(new Event('input'));
      await new Promise(requestAnimationFrame);
      await new Promise(requestAnimationFrame); }
    else await globalThis.peer.day(new Date(day * 86400000).toISOString().slice(0, 19) + 'Z');
  }
  return 1000 * steps / (performance.now() - start); }"""


def _load(name: str) -> ModuleType:
    path = ROOT / "tests" / "page" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"kryss_page_{name}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def measure(browsing: Any, browser: Any, address: str, steps: int, centre: tuple[float, float]) -> dict[str, float]:
    """The numbers of one page, from a fresh context."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    page = context.new_page()
    page.set_default_timeout(600_000)
    start = time.perf_counter()
    page.goto(address)
    page.wait_for_selector("html[data-ready]", timeout=600_000)
    browsing.until(page, "!(globalThis.kryss ?? globalThis.peer).map.isMoving()", 600)
    shown = time.perf_counter() - start
    told = {
        "shown_s": shown,
        "first_paint_ms": page.evaluate("performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? NaN"),
    }
    for name, near, zoomed in (("far", 11.0, False), ("middle", 13.5, False), ("near", 16.5, False), ("zoom", 11.0, True)):
        found = page.evaluate(MOVES, {"steps": steps, "near": near, "centre": centre, "zoomed": zoomed})
        told |= {f"{name}_fps": found["fps"], f"{name}_p95_ms": found["p95_ms"]}
    told["slider_steps_s"] = page.evaluate(SLIDE, {"steps": max(5, steps // 4), "centre": centre})
    context.close()
    return told


ROWS = (
    ("first paint, ms", "first_paint_ms", False),
    ("all objects shown, s", "shown_s", False),
    ("pan, whole town: frames/s", "far_fps", True),
    ("pan, district: frames/s", "middle_fps", True),
    ("pan, street: frames/s", "near_fps", True),
    ("zoom: frames/s", "zoom_fps", True),
    ("slider: days shown/s", "slider_steps_s", True),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objects", type=int, default=100_000)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if not MAPLIBRE.is_dir():
        raise SystemExit("the peers need MapLibre: (cd include/kryss/layer/web && npm ci)")
    browsing, made = _load("browsing"), _load("releases")
    centre = (10.4, 63.43)
    with tempfile.TemporaryDirectory() as kept, browsing.chromium() as browser, browsing.serving(Path(kept)) as site:
        folder = made.write(
            Path(kept) / "many", NAME, *made.many(options.objects), town="Storby", plain=False, changes=made.changes_of([])
        )
        for name in ("objects", "areas", "roads"):
            headers = {"Content-Type": "application/geo+json", "Content-Encoding": "gzip"}
            site.answers[f"/peer/{name}.geojson"] = (200, headers, (folder / f"{name}.geojson.gz").read_bytes())
        for name in ("maplibre-gl.mjs", "maplibre-gl-worker.mjs"):
            site.answers[f"/peer/{name}"] = (200, {"Content-Type": "text/javascript"}, (MAPLIBRE / name).read_bytes())
        site.answers["/peer/index.html"] = (
            200,
            {"Content-Type": "text/html"},
            PEER.replace("CENTRE", json.dumps(centre)).encode(),
        )
        pages = {
            "ours": f"{site.url}/many/{NAME}/index.html",
            "circles": f"{site.url}/peer/index.html",
            "clusters": f"{site.url}/peer/index.html#clusters",
        }
        told = {name: measure(browsing, browser, address, options.steps, centre) for name, address in pages.items()}
        version = browser.version
    load = Path("/proc/loadavg").read_text(encoding="ascii").split()[0] if Path("/proc/loadavg").exists() else "?"
    print(f"{options.objects:,} objects, Chromium {version}, WebGL in software (SwiftShader), load {load}\n")
    print(f"{'':28}{'ours':>10}{'circles':>10}{'clusters':>10}{'x circles':>11}{'x clusters':>12}")
    for words, key, more in ROWS:
        ours, *peers = (told[name][key] for name in ("ours", "circles", "clusters"))
        ratios = [ours / peer if more else peer / ours for peer in peers]
        print(f"{words:28}{ours:10.1f}{peers[0]:10.1f}{peers[1]:10.1f}{ratios[0]:11.2f}{ratios[1]:12.2f}")
    if options.json:
        options.json.write_text(
            json.dumps({"objects": options.objects, "chromium": version, "load": load, **told}, indent=1), encoding="utf-8"
        )


if __name__ == "__main__":
    main()

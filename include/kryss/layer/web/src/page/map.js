// The map: MapLibre GL moves it and draws areas, roads and the base map; the objects are drawn on a canvas over it, from columns. Near,
// each object is its sign on a pole that stands at its position; far, cells are counted into bubbles. So every frame draws at most some
// hundreds of things, however many objects there are, and text needs no glyph files of a server.
import "maplibre-gl/dist/maplibre-gl.css";
import { Map as MapLibre, ScaleControl, setWorkerUrl } from "maplibre-gl";
import workerText from "maplibre-gl/dist/maplibre-gl-worker.mjs?raw";
import { wordsOf } from "../shared/signs.js";
import { short } from "../shared/dom.js";
import { bitmap, onPicture } from "./icons.js";
import { mercatorX, mercatorY } from "./store.js";

setWorkerUrl(URL.createObjectURL(new Blob([workerText], { type: "text/javascript" })));

const NEAR_ZOOM = 15.5;
// Further out than this an area is some pixels wide: a dot says the same and costs nothing.
const AREA_ZOOM = 13;
const LABEL_ZOOM = 17.6;
const MOST_LABELS = 70;
const MOST_STACKED = 5;
const EARTH_M = 40_075_016.686;
const FONT = 'Inter, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "Liberation Sans", Arial, sans-serif';
export const MARKS = { added: "+", removed: "−", changed: "≠", moved: "→" };
const GONE = 2;
const EMPTY = { type: "FeatureCollection", features: [] };
const turn = Math.PI / 180;

export class MapView {
  /** `on`: {object(index), entry(index), area(id), nothing(), moved()} are called as people click and move. */
  constructor(container, { basemap, on }) {
    this.on = on;
    this.container = container;
    this.hits = [];
    this.areas = [];
    this.marks = null;
    this.selected = null;
    this.hovered = null;
    this.colours = {};
    this.readColours();
    const c = this.colours;
    this.map = new MapLibre({
      container,
      style: {
        version: 8,
        sources: {
          areas: { type: "geojson", data: EMPTY },
          roads: { type: "geojson", data: EMPTY },
          ...(basemap && { base: { type: "raster", tiles: [basemap], tileSize: 256 } }),
        },
        layers: [
          { id: "background", type: "background", paint: { "background-color": c.map } },
          ...(basemap ? [{ id: "base", type: "raster", source: "base", paint: { "raster-saturation": -0.6, "raster-opacity": 0.8 } }] : []),
          { id: "area-fill", type: "fill", source: "areas", minzoom: AREA_ZOOM, paint: { "fill-color": c.area, "fill-opacity": 0.06 } },
          ...[["road-edge", 3], ["road", 0]].map(([id, more]) => ({
            id, type: "line", source: "roads", minzoom: AREA_ZOOM, layout: { "line-cap": "round", "line-join": "round" },
            paint: { "line-color": id === "road" ? c.road : c["road-edge"], "line-width": ["interpolate", ["exponential", 2], ["zoom"], 12, 0.8 + more / 4, 15, 2.5 + more / 2, 19, 34 + more, 22, 272 + more] },
          })),
          { id: "area-line", type: "line", source: "areas", minzoom: AREA_ZOOM, paint: { "line-color": c.area, "line-width": 1.2, "line-opacity": ["interpolate", ["linear"], ["zoom"], 13, 0.25, 16, 0.7], "line-dasharray": [4, 3] } },
          { id: "area-chosen", type: "line", source: "areas", filter: ["==", ["get", "index"], -1], paint: { "line-color": c.area, "line-width": 3 } },
        ],
      },
      center: [0, 20], zoom: 1, maxZoom: 22, maxPitch: 0, dragRotate: false, pitchWithRotate: false, touchPitch: false, fadeDuration: 0,
      attributionControl: false,
    });
    this.map.touchZoomRotate.disableRotation();
    this.map.keyboard.disableRotation();
    this.map.addControl(new ScaleControl({ unit: "metric", maxWidth: 110 }), "bottom-left");
    const own = this.map.getCanvas();
    own.setAttribute("aria-label", "Map of the release. Arrow keys move it, plus and minus zoom. The objects are listed beside it.");
    this.canvas = document.createElement("canvas");
    this.canvas.className = "overlay";
    this.canvas.setAttribute("aria-hidden", "true");
    this.map.getCanvasContainer().append(this.canvas);
    this.context = this.canvas.getContext("2d");
    this.ready = new Promise((resolve) => this.map.once("load", resolve));
    this.map.on("render", () => this.draw());
    this.map.on("moveend", () => on.moved());
    this.map.on("click", (event) => this.click(event));
    this.map.on("mousemove", (event) => this.hover(event));
    this.map.on("mouseout", () => this.hover(null));
    onPicture(() => this.redraw());
  }

  readColours() {
    const style = getComputedStyle(document.documentElement);
    for (const name of ["map", "road", "road-edge", "area", "ink", "soft", "card", "line-strong", "halo", "accent", "on-accent", "added", "removed", "changed", "moved"]) {
      this.colours[name] = style.getPropertyValue(`--${name}`).trim();
    }
  }

  recolour() {
    this.readColours();
    const c = this.colours;
    const paint = [["background", "background-color", c.map], ["area-fill", "fill-color", c.area], ["road-edge", "line-color", c["road-edge"]], ["road", "line-color", c.road], ["area-line", "line-color", c.area], ["area-chosen", "line-color", c.area]];
    this.ready.then(() => paint.forEach(([layer, name, value]) => this.map.setPaintProperty(layer, name, value)));
    this.redraw();
  }

  async setAreas(features) {
    const kept = [];
    this.areas = [];
    for (const feature of features) {
      const ring = feature?.geometry?.coordinates?.[0];
      if (feature?.geometry?.type !== "Polygon" || !Array.isArray(ring) || ring.length < 4 || !ring.every((point) => Number.isFinite(point?.[0]) && Number.isFinite(point?.[1]))) continue;
      const lons = ring.map((point) => point[0]);
      const lats = ring.map((point) => point[1]);
      const box = [Math.min(...lons), Math.min(...lats), Math.max(...lons), Math.max(...lats)];
      this.areas.push({ id: String(feature.id), name: short(feature.properties?.name ?? feature.id, 60), box, x: mercatorX((box[0] + box[2]) / 2), y: mercatorY((box[1] + box[3]) / 2) });
      kept.push({ type: "Feature", geometry: feature.geometry, properties: { index: this.areas.length - 1 } });
    }
    await this.ready;
    this.map.getSource("areas").setData({ ...EMPTY, features: kept });
  }

  async setRoads(features) {
    await this.ready;
    const lines = features.filter((feature) => ["LineString", "MultiLineString"].includes(feature?.geometry?.type));
    this.map.getSource("roads").setData({ ...EMPTY, features: lines.map(({ geometry }) => ({ type: "Feature", geometry, properties: {} })) });
  }

  /** The objects: `data` as of store.js, `points` as of points.js. */
  setObjects(data, points) {
    this.data = data;
    this.points = points;
    this.redraw();
  }

  /** Changes to show instead, each {mark, class, status, lon, lat, from: [lon, lat] or null}, with their points; or null. */
  setMarks(entries, points) {
    this.marks = entries && { entries, points, ids: new Set(entries.map((entry) => entry.id)) };
    this.redraw();
  }

  /** `chosen`: {lon, lat, class, major, minor, azimuth, cameras: [[lon, lat]]} or null; `area`: index or -1. */
  select(chosen, area = -1) {
    this.selected = chosen;
    this.ready.then(() => this.map.setFilter("area-chosen", ["==", ["get", "index"], area]));
    this.redraw();
  }

  /** Pixels of the map that something covers: {top, right, bottom, left}. */
  padding() {
    const phone = this.container.clientWidth < 700;
    return phone ? { top: 120, right: 60, left: 40, bottom: Math.min(this.container.clientHeight * 0.5, 290) } : { top: 130, right: 120, bottom: 150, left: 100 };
  }

  fit([west, south, east, north], options = {}) {
    const box = [[west, Math.max(-85, south)], [Math.max(east, west + 1e-9), Math.min(85, Math.max(north, south + 1e-9))]];
    this.map.fitBounds(box, { padding: this.padding(), maxZoom: 19, duration: 500, ...options });
  }

  flyTo(lon, lat, options = {}) {
    this.map.easeTo({ center: [lon, lat], zoom: Math.max(this.map.getZoom(), 18.5), duration: 600, ...options, offset: this.container.clientWidth < 700 ? [0, -this.container.clientHeight / 5] : [0, 0] });
  }

  /** Whether the place is well inside of what people see. */
  sees(lon, lat) {
    const point = this.map.project([lon, lat]);
    const pad = this.padding();
    return this.map.getZoom() >= NEAR_ZOOM && point.x > 30 && point.y > 60 && point.x < this.container.clientWidth - 30 && point.y < this.container.clientHeight - pad.bottom + 20;
  }

  view() {
    const { lng, lat } = this.map.getCenter();
    return { zoom: this.map.getZoom(), lat, lon: lng };
  }

  /** [west, south, east, north] in degrees; west may be below -180, east above 180. */
  bounds() {
    return this.map.getBounds().toArray().flat();
  }

  hit({ x, y }) {
    for (let i = this.hits.length - 1; i >= 0; i -= 1) {
      const hit = this.hits[i];
      if (Math.abs(hit.x - x) <= hit.r && Math.abs(hit.y - y) <= hit.r) return hit;
    }
    return null;
  }

  click(event) {
    const hit = this.hit(event.point);
    if (hit?.bubble) return this.map.easeTo({ center: [hit.bubble.x * 360 - 180, latitudeOf(hit.bubble.y)], zoom: Math.min(19, this.map.getZoom() + 2), duration: 400 });
    if (hit?.entry !== undefined) return this.on.entry(hit.entry);
    if (hit?.object !== undefined) return this.on.object(hit.object);
    const [found] = this.map.getLayer("area-fill") ? this.map.queryRenderedFeatures(event.point, { layers: ["area-fill"] }) : [];
    return found && this.map.getZoom() > 13 ? this.on.area(this.areas[found.properties.index]?.id) : this.on.nothing();
  }

  hover(event) {
    const hit = event && this.hit(event.point);
    this.map.getCanvas().style.cursor = hit ? "pointer" : "";
    const now = hit && !hit.bubble ? hit.key : null;
    if (now !== this.hovered) {
      this.hovered = now;
      this.redraw();
    }
  }

  redraw() {
    if (this.asked) return;
    this.asked = requestAnimationFrame(() => {
      this.asked = 0;
      this.draw();
    });
  }

  draw() {
    const g = this.context;
    const [wide, high] = [this.container.clientWidth, this.container.clientHeight];
    const ratio = Math.min(3, devicePixelRatio || 1);
    if (this.canvas.width !== Math.round(wide * ratio) || this.canvas.height !== Math.round(high * ratio)) {
      this.canvas.width = Math.round(wide * ratio);
      this.canvas.height = Math.round(high * ratio);
      this.canvas.style.width = `${wide}px`;
      this.canvas.style.height = `${high}px`;
    }
    g.setTransform(ratio, 0, 0, ratio, 0, 0);
    g.clearRect(0, 0, wide, high);
    this.hits = [];
    if (!this.points) return;
    const zoom = this.map.getZoom();
    const { lng, lat } = this.map.getCenter();
    const scale = 512 * 2 ** zoom;
    const [cx, cy] = [mercatorX(lng), mercatorY(lat)];
    const view = {
      zoom, scale, wide, high, ratio, near: zoom >= NEAR_ZOOM,
      metre: scale / (EARTH_M * Math.cos(lat * turn)),
      x: (x) => (x - cx) * scale + wide / 2,
      y: (y) => (y - cy) * scale + high / 2,
      // The world repeats: the copy of x that is nearest to the middle.
      west: cx - (wide / 2 + 60) / scale, east: cx + (wide / 2 + 60) / scale, north: cy - (high / 2 + 160) / scale, south: cy + (high / 2 + 60) / scale,
      centre: cx,
    };
    this.drawn = view;
    const labels = [];
    if (this.selected) this.drawPlace(view, this.selected);
    if (view.near) {
      if (this.marks) this.drawSigns(view, this.points, (i) => this.objectLook(i), labels, 0.3, this.marks.ids);
      if (this.marks) this.drawSigns(view, this.marks.points, (i) => this.entryLook(i), labels, 1);
      else this.drawSigns(view, this.points, (i) => this.objectLook(i), labels, 1);
      this.drawAreaNames(view, this.drawLabels(view, labels));
    } else this.drawBubbles(view);
  }

  objectLook(i) {
    const d = this.data;
    const shown = this.points.shown[i];
    return {
      key: `o${i}`, object: i, name: d.classes[d.cls[i]], gone: shown === 3 || (shown === 1 && d.status[i] === GONE), unsure: d.status[i] === 1,
      facing: d.facing[i], mark: shown === 2 ? "added" : shown === 3 ? "removed" : null, id: d.ids[i],
    };
  }

  entryLook(i) {
    const entry = this.marks.entries[i];
    return { key: `e${i}`, entry: i, name: entry.class, gone: entry.gone || entry.mark === "removed", unsure: entry.status === "unconfirmed", facing: NaN, mark: entry.mark, id: entry.id, from: entry.from };
  }

  /** Names along the upper edges of areas, where `put` (boxes of signs and labels) leaves room. */
  drawAreaNames(view, put) {
    const g = this.context;
    g.font = `600 12.5px ${FONT}`;
    g.textAlign = "center";
    g.textBaseline = "bottom";
    for (const area of this.areas) {
      const west = view.x(mercatorX(area.box[0]));
      const east = view.x(mercatorX(area.box[2]));
      const top = view.y(mercatorY(area.box[3]));
      const bottom = view.y(mercatorY(area.box[1]));
      if (east < 0 || west > view.wide || bottom < 0 || top > view.high || east - west < 110) continue;
      const half = g.measureText(area.name).width / 2 + 6;
      const x = Math.max(half + 8, Math.min(view.wide - half - 64, (Math.max(0, west) + Math.min(view.wide, east)) / 2));
      if (x - half < west || x + half > east) continue;
      const free = [0, 20, 40, 60].map((down) => Math.max(32, top + 22) + down).find((y) => y < bottom && !put.some((box) => x - half < box[2] && x + half > box[0] && y - 16 < box[3] && y + 2 > box[1]));
      if (free === undefined) continue;
      put.push([x - half, free - 16, x + half, free + 2]);
      this.text(area.name, x, free, this.colours.area);
    }
  }

  text(words, x, y, colour) {
    const g = this.context;
    g.lineWidth = 4;
    g.lineJoin = "round";
    g.strokeStyle = this.colours.halo;
    g.strokeText(words, x, y);
    g.fillStyle = colour;
    g.fillText(words, x, y);
  }

  /** The error ellipse of what is chosen, and the cameras that saw it. */
  drawPlace(view, { lon, lat, major, minor, azimuth, radius, cameras }) {
    const g = this.context;
    const c = this.colours;
    const x = view.x(near(mercatorX(lon), view.centre));
    const y = view.y(mercatorY(lat));
    const metre = view.scale / (EARTH_M * Math.cos(lat * turn));
    g.lineWidth = 1.6;
    for (const camera of view.near ? (cameras ?? []) : []) {
      const u = view.x(near(mercatorX(camera[0]), view.centre));
      const v = view.y(mercatorY(camera[1]));
      g.strokeStyle = c.soft;
      g.globalAlpha = 0.35;
      g.beginPath();
      g.moveTo(u, v);
      g.lineTo(x, y);
      g.stroke();
      g.globalAlpha = 1;
      g.beginPath();
      g.arc(u, v, 4.5, 0, 7);
      g.fillStyle = c.soft;
      g.fill();
      g.strokeStyle = c.halo;
      g.stroke();
    }
    const [a, b] = major > 0 && minor > 0 ? [major, minor] : [radius, radius];
    if (!(a > 0)) return;
    g.beginPath();
    g.ellipse(x, y, Math.max(3, a * metre), Math.max(3, b * metre), ((azimuth || 0) - 90) * turn, 0, 7);
    g.globalAlpha = 0.2;
    g.fillStyle = c.accent;
    g.fill();
    g.globalAlpha = 1;
    g.strokeStyle = c.accent;
    g.lineWidth = 1.8;
    g.stroke();
  }

  /** Signs on poles; those that would cover each other share one. */
  drawSigns(view, points, look, labels, alpha, without = null) {
    const g = this.context;
    const c = this.colours;
    const size = view.zoom >= 18 ? 32 : view.zoom >= 17 ? 28 : 22;
    const lift = view.zoom >= 17 ? size * 0.5 + 11 : size * 0.5 + 4;
    const found = [];
    points.within(view.west, view.north, view.east, view.south, (i, world) => {
      if (!without?.has(this.data.ids[i])) found.push({ i, x: view.x(points.x[i] + world), y: view.y(points.y[i]) });
    });
    found.sort((one, two) => one.y - two.y || one.x - two.x || one.i - two.i);
    const reach = size * 0.62;
    const poles = new Map();
    const order = [];
    for (const item of found) {
      const [u, v] = [Math.floor(item.x / reach), Math.floor(item.y / reach)];
      let pole = null;
      for (let du = -1; du <= 1 && !pole; du += 1) {
        for (let dv = -1; dv <= 1 && !pole; dv += 1) {
          const other = poles.get(`${u + du}/${v + dv}`);
          if (other && Math.abs(other.x - item.x) < reach && Math.abs(other.y - item.y) < reach) pole = other;
        }
      }
      if (pole) pole.items.push(item);
      else {
        const made = { x: item.x, y: item.y, items: [item] };
        if (!poles.has(`${u}/${v}`)) poles.set(`${u}/${v}`, made);
        order.push(made);
      }
    }
    const chosen = this.selected?.id;
    const tall = Math.round(size * view.ratio);
    for (const pole of order) {
      const looks = pole.items.map((item) => ({ ...look(item.i), ...item }));
      // What is chosen, then what changed, is nearest to the ground, and never among those that do not fit.
      looks.sort((one, two) => (two.id === chosen) - (one.id === chosen) || (two.mark !== null) - (one.mark !== null) || one.gone - two.gone);
      const shown = looks.slice(0, MOST_STACKED);
      const foot = Math.max(...pole.items.map((item) => item.y));
      const top = pole.y - lift - (shown.length - 1) * size;
      g.globalAlpha = alpha * 0.75;
      g.strokeStyle = c.soft;
      g.lineWidth = 1.5;
      g.beginPath();
      g.moveTo(pole.x, top);
      g.lineTo(pole.x, foot);
      g.stroke();
      g.globalAlpha = alpha;
      for (const item of looks) {
        if (item.from) this.drawMove(view, item);
        if (view.zoom >= 17.3 && Number.isFinite(item.facing) && !item.gone) this.drawFacing(item.x, item.y, item.facing, item.id === chosen ? c.accent : c.soft);
        g.beginPath();
        g.arc(item.x, item.y, item.id === chosen ? 4 : 2.6, 0, 7);
        g.fillStyle = item.id === chosen ? c.accent : c.ink;
        g.fill();
      }
      shown.forEach((item, level) => {
        const y = pole.y - lift - level * size;
        this.drawSign(item, pole.x, y, size, tall, alpha, item.id === chosen);
        if (alpha === 1) this.hits.push({ x: pole.x, y, r: size / 2, ...pick(item) });
        if (alpha === 1) labels.push({ item, x: pole.x + size / 2 + (item.mark ? 9 : item.id === chosen ? 8 : 3), left: pole.x - size / 2 - (item.id === chosen ? 8 : 3), y, first: item.id === chosen ? 0 : item.key === this.hovered ? 1 : item.mark ? 2 : 3 });
      });
      if (looks.length > shown.length) {
        g.font = `600 12px ${FONT}`;
        g.textAlign = "center";
        g.textBaseline = "bottom";
        this.text(`+${looks.length - shown.length}`, pole.x, top - size / 2 - 2, c.ink);
      }
      g.globalAlpha = 1;
    }
  }

  drawSign(item, x, y, size, tall, alpha, chosen) {
    const g = this.context;
    const c = this.colours;
    if (chosen) {
      g.beginPath();
      g.arc(x, y, size / 2 + 4, 0, 7);
      g.fillStyle = c.halo;
      g.fill();
      g.strokeStyle = c.accent;
      g.lineWidth = 3;
      g.stroke();
    } else if (item.mark) {
      g.beginPath();
      g.arc(x, y, size / 2 + 3, 0, 7);
      g.fillStyle = c.halo;
      g.fill();
      g.strokeStyle = c[item.mark];
      g.lineWidth = 2.4;
      g.stroke();
    } else if (item.unsure) {
      g.beginPath();
      g.arc(x, y, size / 2 + 2, 0, 7);
      g.setLineDash([3, 3]);
      g.strokeStyle = c.soft;
      g.lineWidth = 1.4;
      g.stroke();
      g.setLineDash([]);
    }
    const drawn = bitmap(item.name, tall, item.gone);
    g.globalAlpha = alpha * (item.gone ? 0.55 : item.unsure ? 0.8 : 1);
    if (drawn) g.drawImage(drawn, x - size / 2, y - size / 2, size, size);
    g.globalAlpha = alpha;
    if (item.gone) {
      g.lineCap = "round";
      for (const [width, colour] of [[4.5, c.halo], [2.4, c.removed]]) {
        g.beginPath();
        g.moveTo(x - size * 0.36, y + size * 0.36);
        g.lineTo(x + size * 0.36, y - size * 0.36);
        g.strokeStyle = colour;
        g.lineWidth = width;
        g.stroke();
      }
      g.lineCap = "butt";
    }
    if (item.mark) this.drawBadge(x + size / 2 + 1, y - size / 2 - 1, item.mark);
  }

  drawBadge(x, y, mark) {
    const g = this.context;
    g.beginPath();
    g.arc(x, y, 7.5, 0, 7);
    g.fillStyle = this.colours[mark];
    g.fill();
    g.strokeStyle = this.colours.halo;
    g.lineWidth = 1.5;
    g.stroke();
    g.font = `700 12px ${FONT}`;
    g.textAlign = "center";
    g.textBaseline = "middle";
    g.fillStyle = this.colours.halo;
    g.fillText(MARKS[mark], x, y + 0.5);
  }

  drawFacing(x, y, facing, colour) {
    const g = this.context;
    const [dx, dy] = [Math.sin(facing * turn), -Math.cos(facing * turn)];
    g.strokeStyle = g.fillStyle = colour;
    g.lineWidth = 1.5;
    g.beginPath();
    g.moveTo(x, y);
    g.lineTo(x + dx * 11, y + dy * 11);
    g.stroke();
    g.beginPath();
    g.moveTo(x + dx * 16, y + dy * 16);
    g.lineTo(x + dx * 10 - dy * 3.4, y + dy * 10 + dx * 3.4);
    g.lineTo(x + dx * 10 + dy * 3.4, y + dy * 10 - dx * 3.4);
    g.fill();
  }

  drawMove(view, item) {
    const g = this.context;
    const x = view.x(near(mercatorX(item.from[0]), view.centre));
    const y = view.y(mercatorY(item.from[1]));
    g.strokeStyle = this.colours.moved;
    g.lineWidth = 2;
    g.setLineDash([4, 3]);
    g.beginPath();
    g.moveTo(x, y);
    g.lineTo(item.x, item.y);
    g.stroke();
    g.setLineDash([]);
    g.beginPath();
    g.arc(x, y, 3.4, 0, 7);
    g.fillStyle = this.colours.halo;
    g.fill();
    g.stroke();
  }

  drawLabels(view, labels) {
    const g = this.context;
    const all = view.zoom >= LABEL_ZOOM && labels.length <= MOST_LABELS;
    labels.sort((one, two) => one.first - two.first);
    g.font = `12.5px ${FONT}`;
    g.textBaseline = "middle";
    const put = this.hits.map((hit) => [hit.x - hit.r, hit.y - hit.r, hit.x + hit.r, hit.y + hit.r]);
    for (const { item, x, left, y, first } of labels) {
      if (!all && first > 1) break;
      const words = short(wordsOf(item.name), 40);
      const wide = g.measureText(words).width;
      const clear = (box) => !put.some((other) => box[0] < other[2] && box[2] > other[0] && box[1] < other[3] && box[3] > other[1]);
      const right = [x, y - 8, x + wide + 4, y + 8];
      const before = [left - wide - 4, y - 8, left, y + 8];
      const box = clear(right) && right[2] < view.wide - 56 ? right : clear(before) && before[0] > 4 ? before : first < 2 ? right : null;
      if (!box) continue;
      put.push(box);
      g.textAlign = "left";
      this.text(words, box[0] + 2, y, item.mark ? this.colours[item.mark] : item.gone ? this.colours.soft : this.colours.ink);
    }
    return put;
  }

  drawDots(view) {
    const g = this.context;
    const size = view.zoom > 11 ? 3 : 2;
    const put = new Uint8Array(Math.ceil(view.wide / size + 2) * Math.ceil(view.high / size + 2));
    const across = Math.ceil(view.wide / size + 2);
    g.fillStyle = this.colours.area;
    g.globalAlpha = 0.45;
    g.beginPath();
    for (const area of this.areas) {
      const x = view.x(near(area.x, view.centre));
      const y = view.y(area.y);
      if (x < 0 || y < 0 || x > view.wide || y > view.high) continue;
      const spot = Math.floor(y / size) * across + Math.floor(x / size);
      if (put[spot]) continue;
      put[spot] = 1;
      g.rect(x - size / 2, y - size / 2, size, size);
    }
    g.fill();
    g.globalAlpha = 1;
  }

  drawBubbles(view) {
    const g = this.context;
    const c = this.colours;
    if (view.zoom < AREA_ZOOM) this.drawDots(view);
    const whole = Math.max(0, Math.floor(view.zoom));
    const source = this.marks ? this.marks.points : this.points;
    const size = 24;
    const tall = Math.round(size * view.ratio);
    g.textAlign = "center";
    g.textBaseline = "middle";
    for (const bubble of source.clusters(whole)) {
      const worldOf = Math.round(view.centre - bubble.x);
      for (const world of view.east - view.west > 1 ? [worldOf - 1, worldOf, worldOf + 1] : [worldOf]) {
        const x = view.x(bubble.x + world);
        const y = view.y(bubble.y);
        if (x < -40 || y < -40 || x > view.wide + 40 || y > view.high + 40) continue;
        if (bubble.count === 1) {
          const look = this.marks ? this.entryLook(bubble.only) : this.objectLook(bubble.only);
          this.drawSign(look, x, y, size, tall, 1, look.id === this.selected?.id);
          this.hits.push({ x, y, r: size / 2, ...pick(look) });
          continue;
        }
        const digits = compact(bubble.count);
        const r = 11 + Math.min(14, 2.4 * Math.log2(bubble.count));
        g.beginPath();
        g.arc(x, y, r, 0, 7);
        g.fillStyle = c.card;
        g.globalAlpha = 0.94;
        g.fill();
        g.globalAlpha = 1;
        g.strokeStyle = this.marks ? c.changed : c.accent;
        g.lineWidth = 2;
        g.stroke();
        g.font = `600 ${digits.length > 3 ? 11.5 : 12.5}px ${FONT}`;
        g.fillStyle = c.ink;
        g.fillText(digits, x, y + 0.5);
        this.hits.push({ x, y, r, bubble: { x: bubble.x + world, y: bubble.y } });
      }
    }
    if (this.selected) {
      g.beginPath();
      g.arc(view.x(near(mercatorX(this.selected.lon), view.centre)), view.y(mercatorY(this.selected.lat)), 7, 0, 7);
      g.strokeStyle = c.accent;
      g.lineWidth = 3;
      g.stroke();
    }
  }
}

const pick = ({ key, object, entry }) => ({ key, object, entry });
const near = (x, centre) => x + Math.round(centre - x);
const latitudeOf = (y) => (360 / Math.PI) * Math.atan(Math.exp((0.5 - y) * 2 * Math.PI)) - 90;
const compact = (number) => (number < 1000 ? String(number) : number < 10_000 ? `${(number / 1000).toFixed(1)}k` : `${Math.round(number / 1000)}k`);

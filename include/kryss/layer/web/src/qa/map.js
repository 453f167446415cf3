// A small drawing of where the object is believed to stand: its 95 % circle, and the cameras that saw it, in metres about it.
import { make, svg } from "../shared/dom.js";

const EARTH_M = 6371008.8;
const STEPS = [1, 2, 5, 10, 20, 50, 100, 200, 500];

/** `{lon, lat, error_radius_m}`, sightings with `camera: [lon, lat]` -> an element, north up. */
export function drawing(object, sightings) {
  const [width, height] = [340, 210];
  const scale = (Math.PI / 180) * EARTH_M;
  const metres = ([lon, lat]) => [(lon - object.lon) * scale * Math.cos((object.lat * Math.PI) / 180), (lat - object.lat) * scale];
  const cameras = sightings.filter((one) => Array.isArray(one.camera)).map((one) => metres(one.camera)).filter(([x, y]) => Math.hypot(x, y) < 500);
  const radius = Math.max(object.error_radius_m, 0.1);
  const xs = [-radius, radius, ...cameras.map(([x]) => x)];
  const ys = [-radius, radius, ...cameras.map(([, y]) => y)];
  const [left, right, low, high] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
  const perPixel = Math.max((right - left) / (width - 44), (high - low) / (height - 44), 0.04);
  const x = (east) => width / 2 + (east - (left + right) / 2) / perPixel;
  const y = (north) => height / 2 - (north - (low + high) / 2) / perPixel;
  const length = STEPS.findLast((step) => step / perPixel <= 90) ?? 1;
  const picture = svg("svg", { viewBox: `0 0 ${width} ${height}`, class: "map", role: "img", "aria-label": `The object, its circle of ${radius} m, and ${cameras.length} cameras that saw it` });
  for (const [east, north] of cameras) picture.append(svg("line", { class: "ray", x1: x(east), y1: y(north), x2: x(0), y2: y(0) }));
  picture.append(svg("circle", { class: "error", cx: x(0), cy: y(0), r: radius / perPixel }));
  for (const [east, north] of cameras) picture.append(svg("circle", { class: "camera", cx: x(east), cy: y(north), r: 3 }));
  picture.append(
    svg("circle", { class: "object", cx: x(0), cy: y(0), r: 5 }),
    svg("line", { class: "scale", x1: 12, y1: height - 10, x2: 12 + length / perPixel, y2: height - 10 }),
    svg("text", { x: 18 + length / perPixel, y: height - 7 }, document.createTextNode(`${length} m`)),
    svg("text", { x: width - 22, y: 16 }, document.createTextNode("N ↑")));
  return make("div", {}, picture);
}

// The view as the address tells it: `#map=17.5/63.43/10.4&object=…&time=2025-06-10&…`. Only what differs from the default is told.
import { STATUSES, TYPES } from "./store.js";

export const TABS = ["objects", "intersections", "changes", "about"];

export function fresh() {
  return {
    tab: "objects", query: "", classes: [], statuses: [...STATUSES], types: [...TYPES], error: null, follow: false,
    time: null, object: null, area: null, against: null, kinds: ["added", "removed", "changed", "moved"],
  };
}

const DAY = /^\d{4}-\d\d-\d\d$/;
const listed = (value, allowed) => value.split(",").filter((item) => allowed.includes(item));

/** {state, view: {zoom, lat, lon} or null} of an address' hash; what makes no sense is left out. */
export function parse(hash) {
  const state = fresh();
  const given = new URLSearchParams(hash.replace(/^#/, ""));
  const has = (name) => given.get(name) ?? "";
  if (TABS.includes(has("tab"))) state.tab = has("tab");
  state.query = has("q").slice(0, 200);
  state.classes = given.getAll("class").slice(0, 200);
  if (given.has("status")) state.statuses = listed(has("status"), STATUSES);
  if (given.has("type")) state.types = listed(has("type").replaceAll("+", " "), TYPES);
  if (Number(has("error")) > 0) state.error = Number(has("error"));
  state.follow = has("follow") === "1";
  if (DAY.test(has("time")) && !Number.isNaN(Date.parse(has("time")))) state.time = Date.parse(has("time"));
  state.object = has("object") || null;
  state.area = state.object ? null : has("intersection") || null;
  state.against = has("against") || null;
  if (given.has("kinds")) state.kinds = listed(has("kinds"), state.kinds);
  const [zoom, lat, lon] = has("map").split("/").map(Number);
  const view = zoom >= 0 && zoom <= 24 && Math.abs(lat) <= 90 && Math.abs(lon) <= 540 ? { zoom, lat, lon } : null;
  return { state, view };
}

export function hashOf(state, view) {
  const usual = fresh();
  const told = [];
  const add = (name, value) => told.push(`${name}=${encodeURIComponent(value).replaceAll("%2F", "/").replaceAll("%2C", ",").replaceAll("%3A", ":")}`);
  if (view) add("map", `${view.zoom.toFixed(2)}/${view.lat.toFixed(6)}/${view.lon.toFixed(6)}`);
  if (state.tab !== usual.tab) add("tab", state.tab);
  if (state.query) add("q", state.query);
  for (const name of state.classes) add("class", name);
  if (state.statuses.length !== STATUSES.length) add("status", state.statuses.join(","));
  if (state.types.length !== TYPES.length) add("type", state.types.join(","));
  if (state.error !== null) add("error", state.error);
  if (state.follow) add("follow", 1);
  if (state.time !== null) add("time", new Date(state.time).toISOString().slice(0, 10));
  if (state.object) add("object", state.object);
  if (state.area) add("intersection", state.area);
  if (state.against) add("against", state.against);
  if (state.kinds.length !== usual.kinds.length) add("kinds", state.kinds.join(","));
  return told.length ? `#${told.join("&")}` : "";
}

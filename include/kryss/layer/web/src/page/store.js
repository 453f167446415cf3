// The objects of a release as columns: what the map and the lists need of 100 thousand objects, without 100 thousand objects.

export const STATUSES = ["standing", "unconfirmed", "ended"];
export const TYPES = ["traffic sign", "traffic light"];
const LONGEST = 300;

const text = (value, most = LONGEST) => (value === null || value === undefined ? "" : String(value).slice(0, most));
const number = (value) => (typeof value === "number" && Number.isFinite(value) ? value : NaN);

/** Milliseconds since 1970 of an instant, or NaN. */
export function millis(value) {
  return typeof value === "string" && /^\d{4}-\d\d-\d\dT/.test(value) ? Date.parse(value) : NaN;
}

/** Position in the Web Mercator square: x and y from 0 to 1, y from the north. */
export const mercatorX = (lon) => (lon + 180) / 360;
export function mercatorY(lat) {
  const bounded = Math.max(-85.05112878, Math.min(85.05112878, lat));
  return 0.5 - Math.log(Math.tan(Math.PI / 4 + (bounded * Math.PI) / 360)) / (2 * Math.PI);
}

/** `{[start,end),[start,)}` -> [start, end, start, end] in milliseconds, an open end as Infinity; what is no interval is left out. */
export function spansOf(value) {
  const found = [];
  for (const [, start, end] of typeof value === "string" ? value.slice(0, 100_000).matchAll(/\[([^,]*),([^)]*)\)/g) : []) {
    const from = millis(start);
    const to = end === "" ? Infinity : millis(end);
    if (from <= to) found.push(from, to);
  }
  return found;
}

class Column {
  constructor(type) {
    this.type = type;
    this.values = new type(1024);
    this.length = 0;
  }
  push(value) {
    if (this.length === this.values.length) {
      const wider = new this.type(this.length * 2);
      wider.set(this.values);
      this.values = wider;
    }
    this.values[this.length++] = value;
  }
  done() {
    return this.values.slice(0, this.length);
  }
}

class Words {
  constructor() {
    this.list = [];
    this.index = new Map();
  }
  of(word) {
    let found = this.index.get(word);
    if (found === undefined) {
      found = this.list.push(word) - 1;
      this.index.set(word, found);
    }
    return found;
  }
}

const NUMBERS = {
  err: "error_radius_m", major: "error_major_m", minor: "error_minor_m", azimuth: "error_azimuth_deg", facing: "facing_deg",
  height: "height_m", size: "assumed_size_m", prob: "standing_probability", images: "image_count", misses: "miss_count",
};
const INSTANTS = { first: "first_seen_at", last: "last_seen_at", ended: "ended_at", after: "began_after" };

/** Takes Features one by one; `done()` gives plain data that a worker can hand over. */
export class Builder {
  constructor() {
    this.ids = [];
    this.classes = new Words();
    this.areas = new Words();
    this.models = new Words();
    this.replaced = [];
    this.refused = 0;
    this.columns = { lon: new Column(Float64Array), lat: new Column(Float64Array), cls: new Column(Uint32Array), area: new Column(Uint32Array) };
    Object.assign(this.columns, { model: new Column(Uint32Array), status: new Column(Uint8Array), type: new Column(Uint8Array) });
    for (const name of Object.keys(NUMBERS)) this.columns[name] = new Column(Float32Array);
    for (const name of Object.keys(INSTANTS)) this.columns[name] = new Column(Float64Array);
    this.spanAt = new Column(Uint32Array);
    this.spans = new Column(Float64Array);
  }

  add(feature) {
    const about = feature?.properties;
    const place = feature?.geometry?.coordinates;
    const fits = Array.isArray(place) && Math.abs(place[0]) <= 180 && Math.abs(place[1]) <= 90;
    const id = text(feature?.id ?? about?.id);
    if (!about || !fits || !id) {
      this.refused += 1;
      return;
    }
    const c = this.columns;
    const index = this.ids.push(id) - 1;
    c.lon.push(place[0]);
    c.lat.push(place[1]);
    c.cls.push(this.classes.of(text(about.class)));
    c.area.push(this.areas.of(text(about.intersection_id)));
    c.model.push(this.models.of(text(about.model)));
    c.status.push(STATUSES.indexOf(about.status) < 0 ? 1 : STATUSES.indexOf(about.status));
    c.type.push(TYPES.indexOf(about.object_type) < 0 ? 0 : TYPES.indexOf(about.object_type));
    for (const [name, key] of Object.entries(NUMBERS)) c[name].push(number(about[key]));
    for (const [name, key] of Object.entries(INSTANTS)) c[name].push(millis(about[key]));
    this.spanAt.push(this.spans.length);
    const told = spansOf(about.valid_time);
    if (!told.length && !Number.isNaN(millis(about.first_seen_at))) told.push(millis(about.first_seen_at), about.ended_at ? millis(about.ended_at) : Infinity);
    for (const value of told) this.spans.push(value);
    if (about.replaced_by) this.replaced.push([index, text(about.replaced_by)]);
  }

  done() {
    this.spanAt.push(this.spans.length);
    const columns = Object.fromEntries(Object.entries(this.columns).map(([name, column]) => [name, column.done()]));
    return {
      ...columns, n: this.ids.length, ids: this.ids, classes: this.classes.list, areas: this.areas.list, models: this.models.list,
      replaced: this.replaced, refused: this.refused, spanAt: this.spanAt.done(), spans: this.spans.done(),
    };
  }
}

/** Whether object `i` stood at `at` (milliseconds). */
export function stoodAt(data, i, at) {
  for (let k = data.spanAt[i]; k < data.spanAt[i + 1]; k += 2) if (data.spans[k] <= at && at < data.spans[k + 1]) return true;
  return false;
}

/** The short form of object `i`, with the names of changes.geojson. */
export function briefOf(data, i) {
  const or = (value) => (Number.isNaN(value) ? null : value);
  const at = (value) => (Number.isNaN(value) ? null : new Date(value).toISOString().replace(".000", ""));
  return {
    id: data.ids[i], class: data.classes[data.cls[i]], object_type: TYPES[data.type[i]], intersection_id: data.areas[data.area[i]],
    lon: data.lon[i], lat: data.lat[i], status: STATUSES[data.status[i]], standing_probability: or(data.prob[i]),
    error_radius_m: or(data.err[i]), facing_deg: or(data.facing[i]), first_seen_at: at(data.first[i]), last_seen_at: at(data.last[i]),
    ended_at: at(data.ended[i]), model: data.models[data.model[i]] || null,
  };
}

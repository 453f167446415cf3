// What is told of one object, of one intersection, and of an object that another release had.
import { count, day, link, make, plural, short } from "../shared/dom.js";
import { picture, wordsOf } from "../shared/signs.js";
import { distanceM } from "./diff.js";
import { STATUSES, TYPES, millis } from "./store.js";

const DAY = 86_400_000;
const COMPASS = ["north", "north-east", "east", "south-east", "south", "south-west", "west", "north-west"];
const REASONS = {
  street: "the street changed", evidence: "photos came, were placed anew or were removed", model: "another model looked at the same photos",
  roads: "its junction or the area of it is another",
};
export const compass = (degrees) => COMPASS[Math.round((((degrees % 360) + 360) % 360) / 45) % 8];
const metres = (value, digits = 2) => `${Number(value).toFixed(digits)} m`;
const known = (value) => typeof value === "number" && Number.isFinite(value);
const isoDay = (time) => (Number.isFinite(time) ? new Date(time).toISOString().slice(0, 10) : "–");

function head(name, under, onClose, tag) {
  const title = make("h2", { tabindex: "-1" }, short(wordsOf(name)));
  return make("div.head", {}, picture(name, 52), make("div", {}, title, make("p.quiet.code", {}, short(name, 200)), under && make("p.quiet", {}, under), tag), closeButton(onClose));
}

const closeButton = (onClose) => make("button.icon.close", { type: "button", "aria-label": "Close details", title: "Close (Escape)", onclick: onClose }, "×");

function facts(rows) {
  return make("dl.facts", {}, ...rows.filter(([, value]) => value !== null && value !== undefined && value !== "").flatMap(([name, value]) => [make("dt", {}, name), make("dd.number", {}, value)]));
}

const section = (title, ...children) => make("section.part", {}, make("h3", {}, title), ...children);

/** Bars of valid time over the days of the layer: seen, believed, not certain, absent. */
function timeline(about, [from, to], now) {
  const wide = Math.max(DAY, to + DAY - from);
  const track = make("div.timeline", { role: "img" });
  const at = (time) => Math.max(0, Math.min(100, ((time - from) / wide) * 100));
  const bar = (kind, start, end, title) => {
    if (!(start <= end)) return;
    const part = make(`i.${kind}`, { title });
    part.style.left = `${at(start)}%`;
    part.style.width = `${Math.max(kind === "seen" ? 1.4 : 0, at(end) - at(start))}%`;
    track.append(part);
  };
  const [first, last, ended, after] = [about.first_seen_at, about.last_seen_at, about.ended_at, about.began_after].map(millis);
  const end = to + DAY;
  if (Number.isFinite(after)) bar("unsure", after, first, `came between ${isoDay(after)} and ${isoDay(first)}`);
  if (Number.isFinite(ended)) bar("unsure", last, ended, `went between ${isoDay(last)} and ${isoDay(ended)}`);
  else bar("believed", last, end, `not seen to go since ${isoDay(last)}`);
  bar("seen", first, last, `seen from ${isoDay(first)} to ${isoDay(last)}`);
  for (const absence of Array.isArray(about.absences) ? about.absences : []) {
    const [goneAfter, goneBy, backAfter, backBy] = ["gone_after", "gone_by", "back_after", "back_by"].map((name) => millis(absence?.[name]));
    bar("away", goneAfter, backBy, `away between ${isoDay(goneAfter)} and ${isoDay(backBy)}`);
    bar("unsure", goneAfter, goneBy, "");
    bar("unsure", backAfter, backBy, "");
  }
  if (now !== null) {
    const line = make("b");
    line.style.left = `${at(now + DAY)}%`;
    track.append(line);
  }
  const words = [Number.isFinite(after) ? `not there on ${isoDay(after)}` : null, `first seen ${isoDay(first)}`, `last seen ${isoDay(last)}`, Number.isFinite(ended) ? `gone by ${isoDay(ended)}` : "standing"];
  track.setAttribute("aria-label", words.filter(Boolean).join(", "));
  return make("div", {}, track, make("div.ends.number", { "aria-hidden": "true" }, make("span", {}, isoDay(from)), make("span", {}, isoDay(to))));
}

function surety(status, probability, radius) {
  const sure = known(probability) ? `${(probability * 100).toFixed(probability > 0.99 && probability < 1 ? 1 : 0)} % sure that it stands` : "";
  const why = status === "unconfirmed" ? (known(radius) && radius > 10 ? "its position is not known to 10 m" : "fewer than three photos show it as this class") : "";
  return [status, why, sure].filter(Boolean).join(", ");
}

/**
 * The panel of object `i`. `about`: its entry of the layer, or null while it is read; `problem`: why it could not be; `seen`: the
 * answer of the api, or null without one.
 */
export function objectPanel({ data, i, about, problem, seen, areaName, domain, now, predecessor, api, code, photoAddress, on }) {
  const or = (value) => (Number.isNaN(value) ? null : value);
  const iso = (time) => (Number.isNaN(time) ? null : new Date(time).toISOString());
  const name = data.classes[data.cls[i]];
  const status = STATUSES[data.status[i]];
  const radius = or(data.err[i]);
  const quick = { first_seen_at: iso(data.first[i]), last_seen_at: iso(data.last[i]), ended_at: iso(data.ended[i]), began_after: iso(data.after[i]) };
  const whole = { ...quick, ...(about ?? {}) };
  const facing = or(data.facing[i]);
  const heir = data.replaced.find(([index]) => index === i)?.[1];
  const button = (text, act) => make("button.inline", { type: "button", onclick: act }, text);
  const idButton = (id) => {
    const index = data.ids.indexOf(id);
    return index < 0 ? short(id) : button(short(wordsOf(data.classes[data.cls[index]])), () => on.object(id));
  };
  const ellipse = or(data.major[i]) !== null && or(data.minor[i]) !== null;
  const parts = [
    head(name, null, on.close, make("span.tag", { class: `tag ${status === "ended" ? "removed" : ""}` }, status)),
    facts([
      ["Status", status === "ended" ? null : surety(status, or(data.prob[i]), radius)],
      ["At", areaName ? button(short(areaName, 80), () => on.area(data.areas[data.area[i]])) : null],
      ["Replaced by", heir ? idButton(heir) : null],
      ["Replaces", predecessor ? idButton(predecessor) : null],
    ]),
    domain &&
      section(
        "When it stood",
        timeline(whole, domain, now),
        facts([
          ["Came", whole.began_after ? `after ${day(whole.began_after)}, by ${day(whole.first_seen_at)}` : `by ${day(whole.first_seen_at)}; nobody had looked before`],
          ["Last seen", day(whole.last_seen_at)],
          ["Went", whole.ended_at ? `after ${day(whole.last_seen_at)}, by ${day(whole.ended_at)}` : null],
          ...(Array.isArray(whole.absences) ? whole.absences : []).map((absence) => ["Away", `gone by ${day(absence?.gone_by)}, back by ${day(absence?.back_by)}`]),
        ]),
      ),
    section(
      "Where it stands",
      facts([
        ["Position", `${data.lat[i].toFixed(7)}, ${data.lon[i].toFixed(7)}`],
        ["Error", radius === null ? null : `within ${metres(radius)} (95 %)`],
        ["Ellipse", ellipse ? `${metres(data.major[i])} × ${metres(data.minor[i])} half-axes, long axis at ${Math.round(data.azimuth[i])}° (95 %)` : null],
        ["Faces", facing === null ? null : `${compass(facing)}, ${facing.toFixed(1)}°`],
        ["Height", or(data.height[i]) === null ? null : `${metres(data.height[i])} above the road`],
        ["Assumed size", or(data.size[i]) === null ? null : metres(data.size[i], 3)],
      ]),
    ),
    evidencePart({ about, problem, seen, api, code, images: data.images[i], misses: data.misses[i], photoAddress }),
    historyPart(about),
    section("Where this comes from", facts([["Type", TYPES[data.type[i]]], ["Method", about?.method ? short(about.method) : null], ["Model", short(data.models[data.model[i]])], ["Id", data.ids[i]]])),
  ];
  return parts.filter(Boolean);
}

function historyPart(about) {
  const states = Array.isArray(about?.history) ? about.history : [];
  if (!states.length) return null;
  return section(
    "History, as it was believed",
    make(
      "ol.history",
      {},
      ...states.slice(0, 200).map((state) =>
        make(
          "li",
          {},
          make("span.number", {}, `${day(state?.first_seen_at)} – ${state?.ended_at ? `gone by ${day(state.ended_at)}` : day(state?.last_seen_at)}`),
          make("span", {}, `${short(wordsOf(state?.class))}, ${short(state?.status)}`),
          state?.reason ? make("span.quiet", {}, REASONS[state.reason] ?? short(state.reason)) : null,
        ),
      ),
    ),
  );
}

function photoList(keys, address, most = 60) {
  const rows = keys.slice(0, most).map((key) => make("li", {}, link(address(key), short(key, 60))));
  if (keys.length > most) rows.push(make("li.quiet", {}, `and ${count(keys.length - most)} more`));
  return make("ul.photos.number", {}, ...rows);
}

function evidencePart({ about, problem, seen, api, code, images, misses, photoAddress }) {
  const title = `Photos that show it (${Number.isFinite(images) ? count(images) : "–"})`;
  if (problem) return section(title, make("p.message", {}, problem));
  if (!about) return section(title, make("p.quiet", {}, "Reading its evidence …"));
  const keys = (list) => (Array.isArray(list) ? list.map(String) : []);
  const missed = keys(about.missed_in);
  const missedPart = missed.length ? make("details.missed", {}, make("summary", {}, `${plural(missed.length, "photo")} should show it and ${missed.length === 1 ? "does" : "do"} not`), photoList(missed, photoAddress)) : null;
  const sightings = Array.isArray(seen?.sightings) ? seen.sightings : [];
  if (!sightings.length) return section(title, api && seen?.problem ? make("p.message", {}, seen.problem) : null, photoList(keys(about.evidence), photoAddress), missedPart);
  const crops = sightings.slice(0, 24).map((item) => {
    const box = Array.isArray(item?.box) ? item.box.map(Number) : null;
    const address = typeof item?.crop === "string" && item.crop.startsWith("/") && !item.crop.startsWith("//") ? item.crop : box && item?.crop !== null ? `${api}/${encodeURIComponent(code)}/photos/${encodeURIComponent(item.image_key)}/crop?box=${box.join(",")}` : null;
    const told = [day(item?.captured_at), known(item?.range_m) ? `${item.range_m.toFixed(1)} m away` : null].filter(Boolean).join(" · ");
    const image = address ? make("img", { src: address, alt: `Photo of ${day(item?.captured_at)} with the box round the sign`, loading: "lazy" }) : make("span.nothing", {}, "photo not kept");
    const caption = make("figcaption", {}, make("span.number", {}, told), link(item?.link, "photo"), known(item?.score) ? make("span.quiet.number", {}, `${Math.round(item.score * 100)} % ${item.read_as ? short(wordsOf(item.read_as), 40) : ""}`) : null);
    if (image.tagName === "IMG") image.addEventListener("error", () => image.replaceWith(make("span.nothing", {}, "photo not kept")));
    return make("figure", {}, image, caption);
  });
  const rest = sightings.length - crops.length;
  return section(title, make("div.crops", {}, ...crops), rest > 0 ? make("p.quiet", {}, `and ${count(rest)} more`) : null, missedPart);
}

/** The panel of an object that only the other release has. */
export function formerPanel({ entry, on }) {
  const was = entry.before ?? entry.after;
  return [
    head(was.class, "Not in this release", on.close, make("span.tag.removed", {}, "removed")),
    facts([
      ["Seen", `${day(was.first_seen_at)} – ${day(was.last_seen_at)}`],
      ["Status then", short(was.status)],
      ["Position then", known(was.lat) && known(was.lon) ? `${was.lat.toFixed(7)}, ${was.lon.toFixed(7)}` : null],
      ["Error then", known(was.error_radius_m) ? `within ${metres(was.error_radius_m)} (95 %)` : null],
      ["Why", REASONS[entry.reason] ?? null],
      ["Id", short(was.id)],
    ]),
  ];
}

/** Bearings of the roads that leave the centre, degrees, those nearer than 25 degrees to each other taken as one. */
export function armsOf(centre, lines) {
  const found = [];
  for (const line of lines) {
    const ends = [line[0], line[line.length - 1]].filter((point) => Number.isFinite(point?.[0]) && Number.isFinite(point?.[1]));
    for (const far of ends.filter((point) => distanceM(...centre, ...point) > 20)) {
      const bearing = bearingOf(centre, far);
      if (!found.some((other) => Math.abs(((bearing - other + 540) % 360) - 180) < 25)) found.push(bearing);
    }
  }
  return found.sort((one, two) => one - two);
}

function bearingOf([lonA, latA], [lonB, latB]) {
  const rad = Math.PI / 180;
  const y = Math.sin((lonB - lonA) * rad) * Math.cos(latB * rad);
  const x = Math.cos(latA * rad) * Math.sin(latB * rad) - Math.sin(latA * rad) * Math.cos(latB * rad) * Math.cos((lonB - lonA) * rad);
  return (Math.atan2(y, x) / rad + 360) % 360;
}

/** The panel of an intersection: its objects by the arm whose traffic they face. */
export function areaPanel({ area, data, indices, lines, row, on }) {
  const about = area.properties ?? {};
  const arms = known(about.centre_lon) && known(about.centre_lat) ? armsOf([about.centre_lon, about.centre_lat], lines) : [];
  const groups = new Map();
  const put = (key, title, i) => {
    if (!groups.has(key)) groups.set(key, { title, members: [] });
    groups.get(key).members.push(i);
  };
  for (const i of indices) {
    const facing = data.facing[i];
    if (Number.isNaN(facing)) put(1e6, "Direction not known", i);
    else if (arms.length) {
      const off = arms.map((arm) => Math.abs(((arm - facing + 540) % 360) - 180));
      const best = off.indexOf(Math.min(...off));
      if (off[best] <= 60) put(arms[best], `For those who come from the ${compass(arms[best])} (${Math.round(arms[best])}°)`, i);
      else put(5e5, "Along no arm", i);
    } else put(Math.round(facing / 45) % 8, `For those who come from the ${compass(facing)}`, i);
  }
  const shown = [...groups].sort(([one], [two]) => one - two);
  return [
    make("div.head", {}, make("div", {}, make("h2", { tabindex: "-1" }, short(about.name ?? area.id)), make("p.quiet", {}, `Intersection, ${plural(indices.length, "object")}`)), closeButton(on.close)),
    facts([
      ["Kind", about.kind ? short(about.kind) : null],
      ["Arms", known(about.arms) ? String(about.arms) : null],
      ["Speed limit", known(about.speed_limit_kmh) ? `${about.speed_limit_kmh} km/h` : null],
      ["Standing", known(about.object_count) ? count(about.object_count) : null],
      ["Source", about.source ? short(about.source) : null],
      ["Id", short(area.id)],
    ]),
    ...shown.map(([, { title, members }]) => section(title, make("ul.rows", {}, ...members.slice(0, 200).map((i) => row(i))))),
    indices.length ? null : make("p.quiet", {}, "No sign or light was found here."),
  ].filter(Boolean);
}

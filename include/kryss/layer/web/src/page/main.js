// The map page of a release: reads the files beside it, keeps one state that the address tells, and shows it on the map and in lists.
import "../shared/style.css";
import "./page.css";
import { config } from "../shared/config.js";
import { count, day, link, make, plural, short, svg } from "../shared/dom.js";
import { watchLinks } from "../shared/links.js";
import { picture, wordsOf } from "../shared/signs.js";
import { onTheme, themeButton } from "../shared/theme.js";
import { Clock, domainOf } from "./clock.js";
import * as files from "./data.js";
import { areaPanel, formerPanel, objectPanel } from "./detail.js";
import { CHANGE_OF } from "./diff.js";
import { MARKS, MapView } from "./map.js";
import { Points, boundsOf } from "./points.js";
import { readJson } from "./read.js";
import { fresh, hashOf, parse } from "./state.js";
import { STATUSES, TYPES, millis, stoodAt } from "./store.js";

const $ = (id) => document.getElementById(id);
const slot = config();
const DAY = 86_400_000;
const ROWS = 200;
const STATUS_WORDS = { standing: "Standing", unconfirmed: "Unconfirmed", ended: "Ended" };
const MARK_WORDS = { added: "Added", removed: "Removed", changed: "Changed", moved: "Moved" };

let { state, view: wanted } = parse(location.hash);
let manifest = {};
let latest = null;
let data = null;
let points = null;
let map = null;
let domain = null;
let areas = [];
let areaIndex = new Map();
let lanes = new Map();
let comparison = null;
let details = { id: null };
let shownRows = ROWS;
let drawnPanel = "";
let openFilters = false;
let resting = 0;

// ------------------------------------------------------------------------------------------------ words to the reader

function notice(key, text, action = null) {
  const id = `notice-${key}`;
  $(id)?.remove();
  if (text) $("notices").append(make("p.message", { id }, text, action && " ", action));
}

const say = (text) => ($("said").textContent = text);

function progress(text, share) {
  let bar = $("progress");
  if (!text) return bar?.remove();
  if (!bar) {
    bar = make("div", { id: "progress" }, make("span", {}), make("progress", { max: 1, "aria-label": "Reading the release" }));
    $("stage").append(bar);
  }
  bar.firstChild.textContent = text;
  if (share) bar.lastChild.value = share;
  else bar.lastChild.removeAttribute("value");
}

// ------------------------------------------------------------------------------------------------ the address

function tellAddress(push) {
  const hash = hashOf(state, map?.view());
  if (hash === location.hash) return;
  try {
    history[push ? "pushState" : "replaceState"](null, "", hash || location.pathname + location.search);
  } catch {
    // Browsers refuse more than some hundred a minute; the next one tells it.
  }
}

/** Changes the state and shows it; `push`: as a step that "back" goes back from. */
function change(patch, push = false) {
  state = { ...state, ...patch };
  if (push) tellAddress(true);
  show(patch);
  if (!push) tellAddress(false);
}

addEventListener("popstate", () => {
  const read = parse(location.hash);
  const before = state;
  state = read.state;
  if (read.view && map) map.map.jumpTo({ center: [read.view.lon, read.view.lat], zoom: read.view.zoom });
  clock.stop();
  clock.show(state.time);
  show({ ...state, ...(before.object === state.object && before.area === state.area ? {} : { object: state.object }) });
});

// ------------------------------------------------------------------------------------------------ what shows

function filterObjects() {
  if (!data) return;
  const query = state.query.trim().toLowerCase();
  const classes = new Set(state.classes);
  const classFits = data.classes.map((name) => !classes.size || classes.has(name));
  const classSaid = query && data.classes.map((name) => `${name} ${wordsOf(name)}`.toLowerCase().includes(query));
  const areaSaid = query && data.areas.map((id) => `${id} ${areas[areaIndex.get(id)]?.properties?.name ?? ""}`.toLowerCase().includes(query));
  const statuses = STATUSES.map((name) => state.statuses.includes(name));
  const types = TYPES.map((name) => state.types.includes(name));
  const most = state.error ?? Infinity;
  const at = state.time === null ? null : state.time + DAY - 1;
  const recent = domain ? Math.max(DAY, (domain[1] - domain[0]) / 30) : DAY;
  for (let i = 0; i < data.n; i += 1) {
    let shown = classFits[data.cls[i]] && statuses[data.status[i]] && types[data.type[i]] && !(data.err[i] > most);
    if (shown && query) shown = classSaid[data.cls[i]] || areaSaid[data.area[i]] || data.ids[i].toLowerCase().includes(query);
    if (shown && at !== null) {
      if (stoodAt(data, i, at)) points.shown[i] = at - data.first[i] < recent && at > domain[0] + DAY ? 2 : 4;
      else points.shown[i] = data.ended[i] <= at && at - data.ended[i] < recent ? 3 : 0;
    } else points.shown[i] = shown ? 1 : 0;
  }
  points.version += 1;
}

function nameOfArea(id) {
  const about = areas[areaIndex.get(id)];
  return about ? String(about.properties?.name ?? id) : id;
}

/** Shows the state; `patch` says what of it is new. */
function show(patch = state) {
  const has = (...names) => names.some((name) => name in patch);
  if (!data) return;
  if (has("query", "classes", "statuses", "types", "error", "time")) {
    filterObjects();
    shownRows = has("time") && !has("query") ? shownRows : ROWS;
  }
  if (has("time")) clock.show(state.time);
  if (has("tab", "against", "kinds")) showMarks();
  if (has("object", "area")) showDetail();
  showLists();
  map?.redraw();
}

// ------------------------------------------------------------------------------------------------ lists

const TAB_WORDS = { objects: "Objects", intersections: "Intersections", changes: "Changes", about: "About" };

function makeTabs() {
  const order = Object.keys(TAB_WORDS);
  const move = (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const next = order[(order.indexOf(state.tab) + step + order.length) % order.length];
    change({ tab: next }, true);
    $(`tab-${next}`).focus();
  };
  $("tabs").append(...order.map((name) => make("button", { type: "button", role: "tab", id: `tab-${name}`, "aria-controls": "panel", onclick: () => change({ tab: name }, true), onkeydown: move }, TAB_WORDS[name])));
}

function showLists() {
  for (const name of Object.keys(TAB_WORDS)) {
    const tab = $(`tab-${name}`);
    tab.setAttribute("aria-selected", String(name === state.tab));
    tab.tabIndex = name === state.tab ? 0 : -1;
  }
  $("panel").setAttribute("aria-labelledby", `tab-${state.tab}`);
  clock.section.classList.toggle("away", state.tab === "changes");
  if (drawnPanel !== state.tab) {
    drawnPanel = state.tab;
    $("panel").replaceChildren(...PANELS[state.tab].build());
    $("panel").scrollTop = 0;
  }
  const focused = document.activeElement?.closest("#rows") ? document.activeElement.dataset.id : undefined;
  PANELS[state.tab].fill();
  // A list that is drawn anew under the keyboard keeps its place.
  if (focused !== undefined) $("rows")?.querySelector(`[data-id="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
}

/** Arrow keys go through the rows of a list, Home and End to its ends. */
function walkable(list) {
  list.addEventListener("keydown", (event) => {
    const rows = [...list.querySelectorAll("button.row")];
    const now = rows.indexOf(document.activeElement);
    const next = { ArrowDown: now + 1, ArrowUp: now - 1, Home: 0, End: rows.length - 1 }[event.key];
    if (next === undefined || now < 0) return;
    event.preventDefault();
    rows[Math.max(0, Math.min(rows.length - 1, next))]?.focus();
  });
  return list;
}

function objectRow(i) {
  const name = data.classes[data.cls[i]];
  const status = STATUSES[data.status[i]];
  const iso = (time) => (Number.isNaN(time) ? "–" : new Date(time).toISOString().slice(0, 10));
  const until = Number.isNaN(data.ended[i]) ? iso(data.last[i]) : `gone by ${iso(data.ended[i])}`;
  const error = Number.isNaN(data.err[i]) ? "" : ` · ±${data.err[i].toFixed(1)} m`;
  return make(
    "li",
    {},
    make(
      "button.row",
      { type: "button", "data-id": data.ids[i], "aria-current": data.ids[i] === state.object ? "true" : null, onclick: () => choose(data.ids[i]) },
      picture(name, 30),
      make("span.name", {}, short(wordsOf(name), 90)),
      status === "standing" ? null : make(`span.tag${status === "ended" ? ".removed" : ""}`, {}, status),
      make("span.under.number", {}, `${iso(data.first[i])} – ${until}${error}`),
    ),
  );
}

const chip = (kind, value, words, checked, onchange) => make("label.chip", {}, make("input", { type: "checkbox", name: kind, value, checked, onchange }), make("span", {}, words));

function toggled(list, value, on, all) {
  const kept = on ? [...list, value] : list.filter((item) => item !== value);
  return all ? all.filter((item) => kept.includes(item)) : kept;
}

const filtersUsed = () => (state.classes.length ? 1 : 0) + (state.statuses.length !== STATUSES.length) + (state.types.length !== TYPES.length) + (state.error !== null);

const PANELS = {
  objects: {
    build() {
      const search = make("input", { type: "search", id: "search", placeholder: "Class, intersection or id", "aria-label": "Search objects by class, intersection or id", value: state.query, autocomplete: "off", spellcheck: "false", oninput: (event) => change({ query: event.target.value.slice(0, 200) }) });
      const classes = make("ul", { id: "classes", class: "picks", "aria-label": "Classes" });
      const numbers = new Uint32Array(data.classes.length);
      for (const value of data.cls) numbers[value] += 1;
      const order = [...numbers.keys()].sort((a, b) => numbers[b] - numbers[a] || (data.classes[a] < data.classes[b] ? -1 : 1));
      classes.append(
        ...order.slice(0, 400).map((index) => {
          const name = data.classes[index];
          const box = make("input", { type: "checkbox", value: name, checked: state.classes.includes(name), onchange: (event) => change({ classes: toggled(state.classes, name, event.target.checked) }, true) });
          return make("li", {}, make("label", { title: short(name, 200) }, box, picture(name, 22), make("span.name", {}, short(wordsOf(name), 60)), make("span.quiet.number", {}, count(numbers[index]))));
        }),
      );
      const error = make("input", { type: "range", id: "error", min: 1, max: 21, step: 1, "aria-label": "Largest error radius in metres", oninput: (event) => change({ error: Number(event.target.value) > 20 ? null : Number(event.target.value) }) });
      const filters = make(
        "details",
        { id: "filters", open: openFilters || filtersUsed() > 0, ontoggle: (event) => (openFilters = event.target.open) },
        make("summary", {}, make("span", {}, "Filters"), make("span.badge", { id: "used" })),
        make("fieldset", {}, make("legend", {}, "Status"), ...STATUSES.map((name) => chip("status", name, STATUS_WORDS[name], state.statuses.includes(name), (event) => change({ statuses: toggled(state.statuses, name, event.target.checked, STATUSES) }, true)))),
        make("fieldset", {}, make("legend", {}, "Type"), ...TYPES.map((name) => chip("type", name, `${name[0].toUpperCase()}${name.slice(1)}s`, state.types.includes(name), (event) => change({ types: toggled(state.types, name, event.target.checked, TYPES) }, true)))),
        make("fieldset", {}, make("legend", {}, "Error radius"), make("div.slide", {}, error, make("output.number", { id: "error-value", for: "error" }))),
        make("fieldset", {}, make("legend", {}, "Class"), classes),
        make("button.bordered", { type: "button", id: "clear", onclick: clearFilters }, "Clear filters"),
      );
      const follow = make("label.chip", {}, make("input", { type: "checkbox", id: "follow", checked: state.follow, onchange: (event) => change({ follow: event.target.checked }) }), make("span", {}, "Only in view"));
      return [
        make("div.searching", {}, search, filters),
        make("div.bar", {}, make("p", { id: "found", role: "status" }), follow),
        walkable(make("ul", { id: "rows", class: "rows", "aria-label": "Objects" })),
        make("button.bordered.more", { type: "button", id: "more", onclick: () => ((shownRows += ROWS), showLists()) }),
      ];
    },
    fill() {
      const search = $("search");
      if (document.activeElement !== search) search.value = state.query;
      for (const box of $("filters").querySelectorAll("input[type=checkbox]")) box.checked = { status: state.statuses, type: state.types }[box.name]?.includes(box.value) ?? state.classes.includes(box.value);
      $("error").value = String(state.error ?? 21);
      $("error-value").textContent = state.error === null ? "any" : `at most ${state.error} m`;
      $("used").textContent = filtersUsed() || "";
      $("used").hidden = !filtersUsed();
      $("clear").disabled = !filtersUsed() && !state.query;
      $("follow").checked = state.follow;
      const { total, rows } = found();
      const whole = data.n === total ? plural(total, "object") : `${count(total)} of ${plural(data.n, "object")}`;
      $("found").textContent = `${whole}${state.time === null ? "" : ` on ${new Date(state.time).toISOString().slice(0, 10)}`}`;
      $("rows").replaceChildren(...(rows.length ? rows.map(objectRow) : [make("li.quiet.empty", {}, data.n ? "Nothing fits. Clear the filters, or show all times." : "No signs or lights were found at the intersections of this release.")]));
      $("more").hidden = total <= rows.length;
      $("more").textContent = `Show ${count(Math.min(ROWS, total - rows.length))} more`;
    },
  },

  intersections: {
    build() {
      const search = make("input", { type: "search", id: "area-search", placeholder: "Name or id", "aria-label": "Search intersections by name or id", autocomplete: "off", spellcheck: "false", oninput: () => this.fill() });
      return [make("div.searching", {}, search), make("div.bar", {}, make("p", { id: "found", role: "status" })), walkable(make("ul", { id: "rows", class: "rows", "aria-label": "Intersections" }))];
    },
    fill() {
      const query = $("area-search").value.trim().toLowerCase();
      const fits = areas.filter((area) => !query || `${area.id} ${area.properties?.name ?? ""}`.toLowerCase().includes(query));
      $("found").textContent = areas.length === fits.length ? plural(fits.length, "intersection") : `${count(fits.length)} of ${plural(areas.length, "intersection")}`;
      $("rows").replaceChildren(
        ...(fits.length
          ? fits.slice(0, 300).map((area) => {
              const about = area.properties ?? {};
              const under = [Number.isFinite(about.object_count) ? `${plural(about.object_count, "object")} standing` : null, Number.isFinite(about.arms) ? `${about.arms} arms` : null, Number.isFinite(about.speed_limit_kmh) ? `${about.speed_limit_kmh} km/h` : null];
              return make("li", {}, make("button.row.wide", { type: "button", "data-id": area.id, "aria-current": area.id === state.area ? "true" : null, onclick: () => chooseArea(area.id) }, make("span.name", {}, short(about.name ?? area.id, 90)), make("span.under.number", {}, under.filter(Boolean).join(" · "))));
            })
          : [make("li.quiet.empty", {}, areas.length ? "No intersection has this name." : "This release holds no intersections.")]),
        ...(fits.length > 300 ? [make("li.quiet.empty", {}, `The first 300 are listed; search for the others.`)] : []),
      );
    },
  },

  changes: {
    build() {
      const others = (latest?.releases ?? []).filter((name) => name !== slot.release).reverse();
      const previous = manifest.previous ?? null;
      const names = [...new Set([...(previous ? [previous] : []), ...others])];
      const select = make("select", { id: "against", "aria-label": "Compare with release", onchange: (event) => change({ against: event.target.value === previous ? null : event.target.value }, true) }, ...names.map((name) => make("option", { value: name }, name === previous ? `${name} (previous)` : name)));
      return [
        make("div.searching", {}, names.length ? make("label.field", {}, make("span.quiet", {}, "Compared with"), select) : make("p.quiet", {}, "There is no other release to compare with.")),
        make("div.kinds", { id: "kinds", role: "group", "aria-label": "Kinds of changes" }),
        make("div", { id: "compared", role: "status" }),
        walkable(make("ul", { id: "rows", class: "rows", "aria-label": "Changes" })),
      ];
    },
    fill() {
      if ($("against")) $("against").value = state.against ?? manifest.previous ?? "";
      const entries = comparison?.entries ?? [];
      const numbers = Object.fromEntries(Object.keys(MARKS).map((mark) => [mark, entries.filter((entry) => entry.mark === mark).length]));
      if (comparison?.entries?.length) {
        const boxes = Object.keys(MARKS).filter((mark) => numbers[mark]).map((mark) => {
          const box = chip("kind", mark, [make(`i.dot.${mark}`, { "aria-hidden": "true" }, MARKS[mark]), `${MARK_WORDS[mark]} `, make("b.number", {}, count(numbers[mark]))], state.kinds.includes(mark), (event) => change({ kinds: toggled(state.kinds, mark, event.target.checked, Object.keys(MARKS)) }));
          return box;
        });
        const focused = document.activeElement?.closest("#kinds input")?.value;
        $("kinds").replaceChildren(...boxes);
        if (focused) $("kinds").querySelector(`input[value="${focused}"]`)?.focus();
      } else $("kinds").replaceChildren();
      $("compared").replaceChildren(...(comparison?.words ? [make(comparison.problem ? "p.message" : "p.quiet", {}, comparison.words)] : []));
      const rows = entries.filter((entry) => state.kinds.includes(entry.mark));
      $("rows").replaceChildren(
        ...rows.slice(0, 500).map((entry) => make("li", {}, make("button.row.change", { type: "button", "data-id": entry.id, "aria-current": state.object && (entry.after?.id ?? entry.id) === state.object ? "true" : null, onclick: () => chooseEntry(entry) }, picture(entry.class, 30), make(`i.dot.${entry.mark}`, { role: "img", "aria-label": MARK_WORDS[entry.mark] }, MARKS[entry.mark]), make("span.name", {}, entry.words), make("span.under.number", {}, entry.under)))),
        ...(rows.length > 500 ? [make("li.quiet.empty", {}, `The first 500 of ${count(rows.length)} are listed; the map shows all.`)] : []),
      );
    },
  },

  about: {
    build() {
      const counts = manifest.counts ?? {};
      const by = counts.by_status ?? {};
      const of = (value) => (Number.isFinite(value) ? count(value) : null);
      const rows = [
        ["Release", slot.release ?? manifest.release], ["Municipality", manifest.municipality ? `${manifest.municipality} (${manifest.code})` : null], ["Previous", manifest.previous ?? "none: this is the first"],
        ["Intersections", of(counts.intersections)], ["Standing", of(by.standing)], ["Unconfirmed", of(by.unconfirmed)], ["Ended", of(by.ended)], ["At no intersection", of(counts.objects_at_no_intersection)],
        ["Photos", of(manifest.photos)], ["Photos until", manifest.photos_until ? day(manifest.photos_until) : null], ["Model", manifest.model], ["Kryss", manifest.code_version], ["Schema", manifest.schema_version], ["Licence", manifest.licence],
      ].filter(([, value]) => value !== null && value !== undefined);
      const file = (name, words) => make("li", {}, make("a", { href: name, download: "" }, name), make("span.quiet", {}, ` ${words}`));
      const inside = slot.api ? make("section.part", {}, make("h3", {}, "In Airflow"), make("ul.files", {}, make("li", {}, make("a", { href: `${slot.api}/../qa/${encodeURIComponent(slot.code)}` }, "Check the quality of this release")), make("li", {}, make("a", { href: `${slot.api}/../` }, "All municipalities")))) : null;
      return [
        make("h2.visually-hidden", {}, "About this release"),
        make("section.part", {}, make("dl.facts", {}, ...rows.flatMap(([name, value]) => [make("dt", {}, name), make("dd.number", {}, short(value, 300))]))),
        ...(inside ? [inside] : []),
        make("section.part", {}, make("h3", {}, "Files"), make("ul.files", {}, file("objects.geojson.gz", "one Point an object"), file("intersections.geojson.gz", "with history and evidence"), file("areas.geojson.gz", "areas of intersections"), file("roads.geojson.gz", "their roads"), file("changes.geojson", "since the previous release"), file("manifest.json", "counts, origin, checksums"))),
        make("section.part", {}, make("h3", {}, "Sources"), ...(Array.isArray(manifest.sources) ? manifest.sources : []).slice(0, 50).map((source) => make("p.source", {}, link(source?.url, short(source?.attribution, 400)), make("span.quiet", {}, ` ${[source?.title, source?.licence].filter(Boolean).map((text) => short(text)).join(", ")}`))), make("p.source.quiet", {}, "Pictures of signs: mapillary_sprite_source, © 2015 Mapillary, MIT licence. Map: MapLibre GL JS, BSD-3-Clause licence."), make("details.licences", {}, make("summary", {}, "Licences of the software in this page"), make("pre", { tabindex: "0" }, $("licences")?.textContent.trim() ?? ""))),
        make("section.part", {}, make("h3", {}, "Keys"), make("dl.facts", {}, ...[["/", "search"], ["Escape", "close the details, stop the slider"], ["↑ ↓", "go through a list"], ["← →", "move the time slider by a day, or change the tab"], ["Arrows, + −", "move and zoom the map, when it has the focus"]].flatMap(([key, words]) => [make("dt", {}, key), make("dd", {}, words)]))),
      ];
    },
    fill() {},
  },
};

function clearFilters() {
  const { query, classes, statuses, types, error } = fresh();
  change({ query, classes, statuses, types, error }, true);
}

/** How many objects fit, and the indices of those to list: standing first, then by class. */
function found() {
  const rows = [];
  const [west, south, east, north] = state.follow && map ? map.bounds() : [-Infinity, -90, Infinity, 90];
  const inside = (lon) => [lon, lon + 360, lon - 360].some((value) => value >= west && value <= east);
  let total = 0;
  for (let i = 0; i < data.n; i += 1) {
    if (!points.shown[i] || points.shown[i] === 3) continue;
    if (state.follow && (data.lat[i] < south || data.lat[i] > north || !inside(data.lon[i]))) continue;
    total += 1;
    rows.push(i);
  }
  const rank = classRank();
  const key = (i) => data.status[i] * data.classes.length + rank[data.cls[i]];
  // Only as many as are listed are put in order.
  if (rows.length > 20_000) return { total, rows: rows.slice(0, shownRows) };
  rows.sort((a, b) => key(a) - key(b) || (data.ids[a] < data.ids[b] ? -1 : 1));
  return { total, rows: rows.slice(0, shownRows) };
}

let ranks = null;
function classRank() {
  if (ranks?.length !== data.classes.length) {
    ranks = new Uint32Array(data.classes.length);
    [...data.classes.keys()].sort((a, b) => (wordsOf(data.classes[a]) < wordsOf(data.classes[b]) ? -1 : 1)).forEach((index, rank) => (ranks[index] = rank));
  }
  return ranks;
}

// ------------------------------------------------------------------------------------------------ changes

const markOf = (kind) => (kind === "moved" ? "moved" : (CHANGE_OF[kind] ?? "changed"));

function wordsOfChange({ kind, before, after, distance_m: metres }) {
  const [was, is] = [before, after].map((item) => (item ? wordsOf(item.class) : ""));
  const far = Number.isFinite(metres) ? ` ${metres.toFixed(1)} m` : "";
  const differs = before && after ? [["status", "status"], ["facing_deg", "facing"], ["intersection_id", "intersection"]].filter(([name]) => before[name] !== after[name]).map(([, word]) => word) : [];
  return {
    added: `${is} is new${after?.status === "unconfirmed" ? " (unconfirmed)" : ""}`, returned: `${is} is back`, ended: `${is || was} went`, removed: `${was} is no longer in the layer`,
    replaced: `${was} was replaced by ${is}`, merged: `${was} and ${is} turned out to be one`, split: `${was} turned out to be two: ${is}`,
    changed: was !== is && was && is ? `${was} is now read as ${is}` : `${is || was} changed${differs.length ? `: ${differs.join(", ")}` : ""}`, moved: `${is} moved${far}`, reworked: `${is} was worked out anew`,
  }[kind] ?? `${is || was}: ${short(kind)}`;
}

function underOfChange({ kind, before, after, reason }) {
  const is = after ?? before;
  const gone = kind === "ended" || kind === "replaced" ? (kind === "ended" ? is : before) : null;
  const when = gone ? `between ${day(gone.last_seen_at)} and ${day(gone.ended_at ?? after?.first_seen_at)}` : `seen ${day(is.first_seen_at)} – ${day(is.last_seen_at)}`;
  const why = { model: "by a new model", evidence: "by its photos", roads: "by its junction" }[reason];
  return [when, why].filter(Boolean).join(" · ");
}

function entriesOf(list) {
  return list.flatMap((item) => {
    const is = item.after ?? item.before;
    if (!is || !Number.isFinite(is.lon) || !Number.isFinite(is.lat)) return [];
    return [{ ...item, id: String(item.before?.id ?? is.id), class: String(is.class ?? ""), status: is.status, lon: is.lon, lat: is.lat, mark: markOf(item.kind), words: short(wordsOfChange(item), 200), under: underOfChange(item) }];
  });
}

async function compareWith(name) {
  const previous = manifest.previous ?? null;
  const wantedName = name ?? previous;
  if (comparison?.name === wantedName) return;
  if (!wantedName) {
    comparison = { name: null, entries: [], words: latest && latest.releases?.length > 1 ? "This is the first release. Choose another one to compare with." : "This is the first release of the municipality: everything in it is new." };
    return;
  }
  comparison = { name: wantedName, entries: [], words: `Comparing with ${wantedName} …` };
  try {
    if (!name) {
      const read = await files.features("changes.geojson");
      const list = read.features.map((feature) => feature?.properties).filter(Boolean);
      const refined = Array.isArray(read.head.refined) ? read.head.refined.length : 0;
      settle(wantedName, entriesOf(list), refined, read.broken);
    } else {
      const read = await files.compare(name, ({ objects }) => say(`${count(objects)} objects read`));
      settle(wantedName, entriesOf(read.entries), read.refined, read.refused);
    }
  } catch (error) {
    if (comparison.name === wantedName) comparison = { name: wantedName, entries: [], problem: true, words: `The changes since ${wantedName} cannot be shown: ${error.message}.` };
  }
  if (state.tab === "changes") show({ tab: "changes", kinds: state.kinds });
}

function settle(name, entries, refined, broken) {
  if (comparison.name !== name) return;
  const words = [entries.length ? "" : `Nothing was added, removed or changed since ${name}.`, refined ? `${plural(refined, "object")} differ${refined === 1 ? "s" : ""} only in evidence, dates or certainty.` : "", broken ? `${plural(broken, "line")} could not be read.` : ""];
  comparison = { name, entries, words: words.filter(Boolean).join(" ") };
}

function showMarks() {
  if (state.tab !== "changes") return void map?.setMarks(null);
  compareWith(state.against);
  const shown = (comparison?.entries ?? []).filter((entry) => state.kinds.includes(entry.mark));
  const drawn = shown.flatMap((entry) => {
    const was = entry.before;
    if (entry.kind === "replaced" && was) return [{ ...entry, id: String(entry.after.id) }, { ...entry, id: String(was.id), class: String(was.class), lon: was.lon, lat: was.lat, gone: true }];
    return [{ ...entry, from: entry.kind === "moved" && was ? [was.lon, was.lat] : null }];
  });
  map?.setMarks(drawn, new Points(drawn.map((entry) => entry.lon), drawn.map((entry) => entry.lat)));
}

// ------------------------------------------------------------------------------------------------ choosing

let returnTo = null;

function choose(id, fly = true) {
  returnTo = document.activeElement?.dataset?.id ?? null;
  change({ object: id, area: null }, true);
  const i = data.ids.indexOf(id);
  if (fly && i >= 0 && map && !map.sees(data.lon[i], data.lat[i])) map.flyTo(data.lon[i], data.lat[i]);
}

function chooseArea(id, fly = true) {
  returnTo = document.activeElement?.dataset?.id ?? null;
  change({ area: id, object: null }, true);
  const box = map?.areas.find((area) => area.id === id)?.box;
  if (fly && box) map.fit(box);
}

function chooseEntry(entry) {
  returnTo = document.activeElement?.dataset?.id ?? null;
  const id = entry.after && data.ids.includes(String(entry.after.id)) ? String(entry.after.id) : entry.id;
  change({ object: id, area: null }, true);
  const places = [entry.before, entry.after].filter((item) => Number.isFinite(item?.lon));
  if (map && !places.every((item) => map.sees(item.lon, item.lat))) map.flyTo(entry.lon, entry.lat);
}

function close() {
  if (!state.object && !state.area) return;
  change({ object: null, area: null }, true);
  const row = returnTo && [...document.querySelectorAll("#rows button.row")].find((button) => button.dataset.id === returnTo);
  (row ?? $(`tab-${state.tab}`)).focus();
}

function showDetail(again = false) {
  const box = $("detail");
  const open = Boolean(state.object || state.area);
  $("side").classList.toggle("detailed", open);
  box.hidden = !open;
  $("lists").hidden = open;
  if (!open) {
    box.replaceChildren();
    map?.select(null);
    return;
  }
  if (!again) sheet("half");
  // What comes later (evidence, history) draws the panel anew under whoever has arrived in it.
  const isWithin = box.contains(document.activeElement);
  const on = { close, object: (id) => choose(id), area: (id) => chooseArea(id) };
  const i = state.object ? data.ids.indexOf(state.object) : -1;
  if (state.area) {
    const index = areaIndex.get(state.area);
    const area = areas[index];
    const indices = [...data.area.keys()].filter((k) => data.areas[data.area[k]] === state.area);
    box.replaceChildren(...(area ? areaPanel({ area, data, indices, lines: lanes.get(state.area) ?? [], row: objectRow, on }) : [missing("There is no such intersection in this release.")]));
    box.querySelectorAll("ul.rows").forEach(walkable);
    map?.select(null, map.areas.findIndex((item) => item.id === state.area));
  } else if (i < 0) {
    const entry = comparison?.entries?.find((item) => item.id === state.object);
    box.replaceChildren(...(entry ? formerPanel({ entry, on }) : [missing("There is no such object in this release.")]));
    map?.select(entry ? { id: state.object, lon: entry.lon, lat: entry.lat, radius: entry.before?.error_radius_m } : null);
  } else {
    if (details.id !== state.object) readDetails(state.object);
    const back = data.replaced.find(([, id]) => id === state.object)?.[0];
    box.replaceChildren(
      ...objectPanel({
        data, i, about: details.about, problem: details.problem, seen: details.seen, areaName: data.areas[data.area[i]] ? nameOfArea(data.areas[data.area[i]]) : null, domain, now: state.time,
        predecessor: back === undefined ? null : data.ids[back], api: slot.api, code: slot.code, photoAddress, on,
      }),
    );
    const sightings = Array.isArray(details.seen?.sightings) ? details.seen.sightings : [];
    const cameras = sightings.map((item) => item?.camera).filter((place) => Number.isFinite(place?.[0]) && Number.isFinite(place?.[1]));
    map?.select({ id: state.object, lon: data.lon[i], lat: data.lat[i], major: data.major[i], minor: data.minor[i], azimuth: data.azimuth[i], radius: data.err[i], cameras });
  }
  if (!again) box.scrollTop = 0;
  if (!again || isWithin) box.querySelector("h2")?.focus({ preventScroll: true });
}

const missing = (text) => make("div.head", {}, make("div", {}, make("h2", { tabindex: "-1" }, "Not found"), make("p.quiet", {}, text)), make("button.icon.close", { type: "button", "aria-label": "Close details", onclick: close }, "×"));

function photoAddress(key) {
  const template = typeof manifest.image_url === "string" ? manifest.image_url : null;
  return template && template.includes("{key}") ? template.replace("{key}", encodeURIComponent(key)) : null;
}

async function readDetails(id) {
  details = { id, about: null, problem: null, seen: null };
  const mine = details;
  const asked = slot.api ? readJson(new URL(`${slot.api}/${encodeURIComponent(slot.code)}/objects/${encodeURIComponent(id)}/evidence`, location.href).href).catch((error) => ({ problem: `The photos cannot be shown: ${error.message}.` })) : null;
  try {
    mine.about = await files.detail(id);
    if (!mine.about) mine.problem = "Its evidence and history are not in intersections.geojson.";
  } catch (error) {
    mine.problem = `Its evidence and history cannot be read: ${error.message}.`;
  }
  if (asked) mine.seen = await asked;
  if (details === mine && state.object === id) showDetail(true);
}

// ------------------------------------------------------------------------------------------------ the frame of the page

function icon(path) {
  return svg("svg", { viewBox: "0 0 24 24", width: 20, height: 20, "aria-hidden": "true" }, svg("path", { d: path, fill: "none", stroke: "currentColor", "stroke-width": 1.8, "stroke-linecap": "round", "stroke-linejoin": "round" }));
}

function makeTools() {
  const tool = (words, path, act) => make("button.icon", { type: "button", "aria-label": words, title: words, onclick: act }, icon(path));
  $("tools").append(tool("Zoom in", "M12 5v14M5 12h14", () => map?.map.zoomIn()), tool("Zoom out", "M5 12h14", () => map?.map.zoomOut()), tool("Show everything", "M4 9V4h5M20 9V4h-5M4 15v5h5M20 15v5h-5", () => showAll()));
  const share = make("button.icon", { type: "button", "aria-label": "Copy a link to this view", title: "Copy a link to this view", onclick: copyLink }, icon("M10 14a4 4 0 0 0 6 .4l3-3a4 4 0 0 0-5.700-5.700L12 7M14 10a4 4 0 0 0-6-.4l-3 3a4 4 0 0 0 5.700 5.700L12 17"));
  $("actions").append(share, themeButton());
  $("skip").addEventListener("click", () => (state.object || state.area ? $("detail") : $("panel")).focus());
  $("credit").addEventListener("click", () => change({ tab: "about", object: null, area: null }, true));
}

async function copyLink() {
  tellAddress(false);
  let words = "The address of this page is the link.";
  try {
    await navigator.clipboard.writeText(location.href);
    words = "Link copied.";
  } catch {
    // No clipboard for this page: the address bar has it.
  }
  notice("link", words);
  setTimeout(() => notice("link", ""), 3000);
}

const SHEETS = ["low", "half", "full"];
function sheet(size) {
  const side = $("side");
  side.dataset.sheet = size;
  $("grip").setAttribute("aria-label", size === "full" ? "Show more of the map" : "Show more of the list");
}

function makeSheet() {
  const grip = $("grip");
  let from = null;
  sheet("low");
  grip.addEventListener("click", () => sheet(SHEETS[(SHEETS.indexOf($("side").dataset.sheet) + 1) % 3]));
  grip.addEventListener("pointerdown", (event) => (from = event.clientY));
  grip.addEventListener("pointerup", (event) => {
    const moved = from === null ? 0 : event.clientY - from;
    from = null;
    if (Math.abs(moved) < 24) return;
    // Dragged, not pressed: the click that follows would turn it once more.
    grip.addEventListener("click", (click) => click.stopImmediatePropagation(), { once: true, capture: true });
    const now = SHEETS.indexOf($("side").dataset.sheet);
    sheet(SHEETS[Math.max(0, Math.min(2, now + (moved < 0 ? 1 : -1)))]);
  });
}

function makeLegend() {
  const rows = [
    ["ellipse", "Error ellipse (95 %) of the chosen object"], ["facing", "Position, and where the front looks"], ["unsure", "Unconfirmed"], ["gone", "Ended"], ["bubble", "Several objects; click to come nearer"], ["area", "Area of an intersection"],
    ...Object.keys(MARKS).map((mark) => [mark, { added: "Added, or just come", removed: "Removed, or just gone", changed: "Changed or replaced", moved: "Moved" }[mark]]),
  ];
  $("legend").lastElementChild.replaceChildren(...rows.map(([kind, words]) => make("li", {}, make(`i.key.${kind}${MARKS[kind] ? ".dot" : ""}`, { "aria-hidden": "true" }, MARKS[kind] ?? ""), words)));
}

function showHead() {
  const town = manifest.municipality ?? slot.municipality ?? "";
  $("town").textContent = short(town, 80);
  document.title = `${[short(town, 80), slot.release].filter(Boolean).join(" ")} · Kryss`;
  const by = manifest.counts?.by_status ?? {};
  const told = [by.standing !== undefined ? `${count(by.standing)} standing, ${count(by.unconfirmed)} unconfirmed, ${count(by.ended)} ended` : null, Number.isFinite(manifest.counts?.intersections) ? plural(manifest.counts.intersections, "intersection") : null, manifest.photos_until ? `photos until ${day(manifest.photos_until)}` : null];
  $("summary").textContent = told.filter(Boolean).join(" · ");
  const now = slot.release ?? manifest.release ?? "this one";
  const names = [...new Set([...(Array.isArray(latest?.releases) ? latest.releases.map(String) : []), now])].sort((a, b) => a.localeCompare(b, "en", { numeric: true })).reverse();
  const select = $("release");
  select.replaceChildren(...names.map((name) => make("option", { value: name, selected: name === now }, name === latest?.release ? `${name} (latest)` : name)));
  select.disabled = names.length < 2;
  select.onchange = () => location.assign(new URL("index.html", files.folder(select.value)).href + hashOf({ ...fresh(), object: state.object, query: state.query }, map?.view()));
  const credits = (Array.isArray(manifest.sources) ? manifest.sources : []).map((source) => source?.attribution).filter(Boolean);
  $("credit").textContent = short(credits.join(" · "), 300) || "Sources";
}

function showAll(options = {}) {
  const boxes = map.areas.map((area) => area.box);
  const one = boxes.length === 1 && data.n > 1;
  const lon = one ? [...data.lon] : [...data.lon, ...boxes.flatMap((box) => [box[0], box[2]])];
  const lat = one ? [...data.lat] : [...data.lat, ...boxes.flatMap((box) => [box[1], box[3]])];
  const bounds = boundsOf(lon, lat);
  if (bounds) map.fit(bounds, options);
}

const clock = new Clock($("clock"), {
  onTime(time, settled) {
    state = { ...state, time };
    filterObjects();
    map?.redraw();
    // While it moves only the map follows; the list and the address when it rests.
    if (settled) {
      showLists();
      tellAddress(true);
      say(`${$("found")?.textContent ?? ""}`);
    } else if (state.tab === "objects") countOnly();
  },
});

function countOnly() {
  let total = 0;
  for (let i = 0; i < data.n; i += 1) if (points.shown[i] && points.shown[i] !== 3) total += 1;
  const on = state.time === null ? "" : ` on ${new Date(state.time).toISOString().slice(0, 10)}`;
  if ($("found")) $("found").textContent = `${count(total)} of ${plural(data.n, "object")}${on}`;
}

addEventListener("keydown", (event) => {
  const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName) && event.target.type !== "range" && event.target.type !== "checkbox";
  if (event.key === "Escape") {
    if (clock.playing) clock.set(state.time, true);
    else if (typing && event.target.value) return;
    else if (state.object || state.area) close();
    else if (state.time !== null) clock.set(null, true);
  } else if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey) {
    event.preventDefault();
    if (state.object || state.area || state.tab !== "objects") change({ tab: "objects", object: null, area: null }, true);
    sheet("half");
    $("search").focus();
  }
});

// ------------------------------------------------------------------------------------------------ start

async function start() {
  watchLinks();
  makeTabs();
  makeTools();
  makeSheet();
  makeLegend();
  showHead();
  if (location.protocol === "file:") {
    notice("file", "This page was opened as a file, and a browser does not let such a page read the data beside it. In the folder of the release run: python3 -m http.server, and open http://localhost:8000/ instead.");
    return;
  }
  progress("Reading the release …");
  const optional = (asked) => asked.catch(() => null);
  const reading = files.load(({ read, total, objects }) => progress(`${count(objects)} objects read`, total ? read / total : 0));
  // What goes wrong is told below; until then it has no listener.
  reading.catch(() => null);
  const readingAreas = files.features("areas.geojson").catch((error) => ({ features: [], problem: error.message }));
  const readingRoads = files.features("roads.geojson").catch((error) => ({ features: [], problem: error.message }));
  // The frame of the page is painted before MapLibre takes the thread.
  await new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve)));
  try {
    map = new MapView($("map"), {
      basemap: typeof slot.basemap === "string" ? slot.basemap : null,
      on: {
        object: (i) => choose(data.ids[i], false),
        entry: (i) => choose(map.marks.entries[i].id, false),
        area: (id) => id && chooseArea(id, false),
        nothing: () => (state.object || state.area) && change({ object: null, area: null }, true),
        moved: () => {
          if (!data) return;
          // Telling it costs more than a frame, and browsers take some hundred a minute: once, when the map rests.
          clearTimeout(resting);
          resting = setTimeout(() => {
            tellAddress(false);
            if (state.follow && state.tab === "objects") showLists();
          }, 150);
        },
      },
    });
    onTheme(() => map.recolour());
  } catch (error) {
    map = null;
    notice("webgl", `This browser cannot draw the map (WebGL is missing or switched off); the lists work. ${short(error?.message ?? "", 120)}`);
  }
  [manifest, latest] = await Promise.all([readJson(new URL("manifest.json", files.folder()).href).catch((error) => ({ problem: error.message })), optional(readJson(new URL("../latest.json", files.folder()).href))]);
  if (!manifest || typeof manifest !== "object") manifest = {};
  if (manifest.problem) notice("manifest", `The facts of this release cannot be shown: ${manifest.problem}.`);
  if (!latest || !Array.isArray(latest.releases)) latest = null;
  showHead();
  const [readAreas, readRoads] = await Promise.all([readingAreas, readingRoads]);
  areas = readAreas.features.filter((feature) => feature && typeof feature === "object").map((feature) => ({ ...feature, id: String(feature.id ?? feature.properties?.id ?? "") }));
  areas.sort((a, b) => (nameKey(a) < nameKey(b) ? -1 : 1));
  areaIndex = new Map(areas.map((area, index) => [area.id, index]));
  for (const road of readRoads.features) {
    const lines = road?.geometry?.type === "MultiLineString" ? road.geometry.coordinates : road?.geometry?.type === "LineString" ? [road.geometry.coordinates] : [];
    if (Array.isArray(lines)) lanes.set(String(road.id), lines.filter((line) => Array.isArray(line) && line.length > 1));
  }
  await Promise.all([map?.setAreas(areas), map?.setRoads(readRoads.features)]);
  for (const [name, read] of [["areas", readAreas], ["roads", readRoads]]) {
    if (read.problem) notice(name, `The ${name} are not shown: ${read.problem}.`);
    else if (read.broken) notice(name, `${plural(read.broken, "line")} of ${name}.geojson could not be read.`);
  }
  try {
    data = await reading;
  } catch (error) {
    progress("");
    return notice("objects", `The objects cannot be shown: ${error.message}.`);
  }
  progress("");
  if (data.refused) notice("broken", `${plural(data.refused, "line")} of objects.geojson could not be read; the others are shown.`);
  points = new Points(data.lon, data.lat);
  domain = domainOf(data, millis(manifest.photos_until));
  clock.open(data, domain);
  clock.show(state.time);
  filterObjects();
  map?.setObjects(data, points);
  if (map && wanted) map.map.jumpTo({ center: [wanted.lon, wanted.lat], zoom: wanted.zoom });
  else if (map) {
    showAll({ animate: false });
    const i = state.object ? data.ids.indexOf(state.object) : -1;
    if (i >= 0) map.flyTo(data.lon[i], data.lat[i], { animate: false });
  }
  show();
  // For the console: the map of MapLibre and the objects.
  globalThis.kryss = { map: map?.map ?? null, data, points };
  document.documentElement.dataset.ready = "true";
}

const nameKey = (area) => String(area.properties?.name ?? area.id).toLowerCase();

start();

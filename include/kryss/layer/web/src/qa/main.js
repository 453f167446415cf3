// The quality check: objects of a release drawn at random, what was seen of each, and a verdict by key or button.
import "./qa.css";
import { count, day, link, make, plural, short } from "../shared/dom.js";
import { picture, wordsOf } from "../shared/signs.js";
import { ask, frame, here, root, Trouble, troubled } from "../home/shell.js";
import { drawing } from "./map.js";
import { table } from "./precision.js";

const code = encodeURIComponent(here.code);
const KEYS = { r: "right", w: "wrong", u: "unsure" };
const WORDS = { right: "Right", wrong: "Wrong", unsure: "Unsure" };
const FIRST_CROPS = 6;

const main = frame({ place: "qa", title: `Quality of ${here.municipality || here.code}` });
const said = make("p.said", { role: "status" });
const task = make("div", { id: "task" });
const result = make("div", { id: "result" });
const choices = make("div.choices");
let asked = { status: "standing", class: "" };
let release = null;
let mayJudge = false;
let line = [];
let busy = false;
const past = [];
const evidence = new Map();

const query = () => new URLSearchParams({ status: asked.status, most: "10", ...(asked.class ? { class: asked.class } : {}) });
const inRelease = (path) => ask(`${code}/qa/${release ?? "latest"}/${path}`);

/** What is known of an object, asked for once; its crops are fetched ahead. */
function seen(id) {
  if (!evidence.has(id)) {
    const asking = ask(`${code}/objects/${id}/evidence`);
    evidence.set(id, asking);
    asking.then(({ sightings }) => {
      for (const one of sightings.filter((sighting) => sighting.crop).slice(0, FIRST_CROPS)) new Image().src = one.crop;
    }, () => evidence.delete(id));
  }
  return evidence.get(id);
}

function cropOf(sighting, className) {
  const inside = make("div.frame");
  if (sighting.crop) {
    const image = make("img", { src: sighting.crop, alt: `${wordsOf(sighting.read_as)} in the photo of ${day(sighting.captured_at)}`, loading: "lazy", decoding: "async" });
    image.addEventListener("error", () => inside.replaceChildren(make("p", {}, "The photo cannot be shown")));
    inside.append(image);
  } else {
    inside.append(make("p", {}, sighting.box ? "The photo is not kept here" : "From a survey: there is no photo"));
  }
  const facts = [sighting.range_m !== null && `${sighting.range_m.toFixed(0)} m away`, sighting.score !== null && `score ${sighting.score.toFixed(2)}`].filter(Boolean).join(", ");
  return make("figure.crop", {}, inside, make("figcaption", {}, make("b", {}, day(sighting.captured_at)), ` ${facts}`,
    sighting.read_as !== className ? make("span.other", {}, ` read as ${short(wordsOf(sighting.read_as), 60)}`) : null,
    sighting.link ? [" · ", link(sighting.link, "photo")] : null));
}

function crops(object, found) {
  const all = found.sightings;
  const list = make("div.crops", {}, all.slice(0, FIRST_CROPS).map((one) => cropOf(one, object.class)));
  const rest = all.slice(FIRST_CROPS);
  const more = rest.length ? make("button.bordered", { type: "button", style: "margin-top:12px" }, `Show ${plural(rest.length, "more sighting")}`) : null;
  more?.addEventListener("click", () => {
    list.append(...rest.map((one) => cropOf(one, object.class)));
    more.remove();
  });
  return [list, more, all.length ? null : make("p.quiet", {}, "Nothing that it was made from is kept any more."),
    found.miss_count ? make("p.hint", {}, `${plural(found.miss_count, "later photo")} should show it and ${found.miss_count === 1 ? "does" : "do"} not.`) : null];
}

function days({ first_seen_at: first, last_seen_at: last }) {
  return day(first) === day(last) ? day(first) : `${day(first)} to ${day(last)}`;
}

function facts(object) {
  const rows = [
    ["Error radius", `${object.error_radius_m.toFixed(1)} m (95 %)`], ["Faces", object.facing_deg === null ? "not known" : `${object.facing_deg.toFixed(0)}°`],
    ["Height", object.height_m === null ? "not known" : `${object.height_m.toFixed(1)} m above the road`], ["Seen", `${days(object)}, ${plural(object.sightings, "sighting")}`],
    ["Stands", `${(object.standing_probability * 100).toFixed(1)} %`],
  ];
  return make("dl.facts", {}, rows.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]));
}

function verdictButtons() {
  const button = (key, verdict) => make(`button.${verdict}`, { type: "button", "data-verdict": verdict, disabled: !mayJudge, "aria-keyshortcuts": key.toUpperCase(), onclick: () => judge(verdict) }, WORDS[verdict], make("kbd", { "aria-hidden": "true" }, key.toUpperCase()));
  return make("div.verdicts", { role: "group", "aria-label": "Verdict" }, Object.entries(KEYS).map(([key, verdict]) => button(key, verdict)));
}

async function show() {
  const object = line[0];
  if (!object) {
    task.replaceChildren(make("section.card.done", {}, make("h2", {}, "Nothing is left to judge"),
      make("p.quiet", {}, asked.class ? `You have judged every ${asked.status} object of this class.` : `You have judged every ${asked.status} object of ${release ?? "the release"}.`), undoButton()));
    return;
  }
  const holder = make("div", { "aria-busy": "true" }, make("p.quiet", {}, "Fetching what was seen…"));
  const place = make("div");
  const page = `${root}/layer/${code}/${encodeURIComponent(release)}/index.html#map=19/${object.lat}/${object.lon}&object=${object.id}`;
  task.replaceChildren(make("div.task", { "data-object": object.id },
    make("section.card", {},
      make("div.question", {}, make("div.picture", {}, picture(object.class, 64)),
        make("div", {}, make("h2", {}, `${short(wordsOf(object.class), 80)}?`), make("p", {}, short(object.class, 120)), make("p", {}, `${count(object.place)} of ${count(object.of_class)} in the line of its class`))),
      holder),
    make("section.card.facts-card", {}, verdictButtons(),
      make("label", {}, make("span.visually-hidden", {}, "Note, optional"), make("input", { type: "text", id: "note", maxlength: "1000", placeholder: "Note, optional (N)", autocomplete: "off", disabled: !mayJudge })),
      make("div.under-verdicts", {}, undoButton(), make("a", { href: page, target: "_blank", rel: "noopener" }, "On the map")),
      said, facts(object), place)));
  seen(line[1]?.id ?? object.id).catch(() => {});
  try {
    const found = await seen(object.id);
    if (line[0] !== object) return;
    holder.replaceChildren(...crops(object, found).filter(Boolean));
    place.replaceChildren(drawing(object, found.sightings));
  } catch (error) {
    holder.replaceChildren(troubled(error));
  }
  holder.removeAttribute("aria-busy");
}

const undoButton = () => make("button.bordered", { type: "button", id: "undo", disabled: !past.length, "aria-keyshortcuts": "Z", onclick: undo }, "Undo ", make("kbd", { "aria-hidden": "true" }, "Z"));

async function judge(verdict) {
  const object = line[0];
  if (busy || !object || !mayJudge) return;
  busy = true;
  const note = document.getElementById("note").value.trim() || null;
  try {
    await ask(`${code}/qa/${release}/verdicts/${object.id}`, { method: "PUT", body: JSON.stringify({ verdict, note }) });
    past.push(object);
    line.shift();
    said.textContent = `${WORDS[verdict]}: ${wordsOf(object.class)}${note ? `, ${short(note, 80)}` : ""}`;
    if (line.length < 2) await more();
    show();
    counted();
  } catch (error) {
    tell(error);
  }
  busy = false;
}

/** The table follows; who judges fast does not wait for it. */
const counted = () => results().catch(tell);

async function undo() {
  const object = past.at(-1);
  if (busy || !object) return;
  busy = true;
  try {
    await ask(`${code}/qa/${release}/verdicts/${object.id}`, { method: "DELETE", body: "{}" });
    past.pop();
    line = [object, ...line.filter((one) => one.id !== object.id)];
    said.textContent = `Taken back: ${wordsOf(object.class)}`;
    show();
    counted();
  } catch (error) {
    tell(error);
  }
  busy = false;
}

function tell(error) {
  if (!(error instanceof Trouble)) throw error;
  said.replaceChildren(make("span", { style: "color:var(--removed)" }, error.message));
}

/** Asks for the next objects; those that are shown already stay where they are. */
async function more() {
  const told = await inRelease(`objects?${query()}`);
  release = told.release;
  mayJudge = told.may_judge;
  const known = new Set(line.map((one) => one.id));
  line.push(...told.objects.filter((one) => !known.has(one.id)));
}

let asking = 0;

async function results() {
  const number = ++asking;
  const told = await inRelease(`precision?status=${asked.status}`);
  if (number !== asking) return;
  result.replaceChildren(table(told, line[0]?.class));
  const before = choices.querySelector("#class")?.value ?? "";
  const classes = told.classes.map((one) => one.class);
  const select = (id, label, options, value, change) => make("label", {}, label, make("select", { id, onchange: (event) => change(event.target.value) }, options.map(([key, text]) => make("option", { value: key, selected: key === value }, text))));
  if (!choices.childElementCount || classes.length !== choices.querySelector("#class").length - 1) {
    choices.replaceChildren(
      select("class", "Class", [["", "all, the rare ones too"], ...classes.map((name) => [name, short(wordsOf(name), 60)])], before, (value) => again({ class: value })),
      select("status", "Status", [["standing", "standing"], ["unconfirmed", "unconfirmed"]], asked.status, (value) => again({ status: value, class: "" })));
  }
}

async function again(change) {
  asked = { ...asked, ...change };
  if ("status" in change) choices.replaceChildren();
  line = [];
  try {
    await more();
    show();
    await results();
  } catch (error) {
    task.replaceChildren(troubled(error));
  }
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  const typing = event.target instanceof HTMLElement && event.target.matches("input, textarea, select");
  if (typing) {
    if (event.target.id === "note" && (event.key === "Escape" || event.key === "Enter")) event.target.blur();
    return;
  }
  const key = event.key.toLowerCase();
  if (Object.hasOwn(KEYS, key)) judge(KEYS[key]);
  else if (key === "z") undo();
  else if (key === "n") document.getElementById("note")?.focus();
  else return;
  event.preventDefault();
});

try {
  await more();
  main.append(
    make("div.title", {}, make("h1", {}, "Is it right?"), choices),
    make("p.under", {}, `${release}, objects drawn at random from every class. Right: the photos show one such sign or light, of exactly this class, and the place fits.`),
    mayJudge ? "" : make("p.message", { style: "margin-bottom:16px" }, `You may look, but a verdict needs the right to trigger refresh_${here.code}.`),
    task, result);
  await Promise.all([show(), results()]);
} catch (error) {
  main.append(troubled(error));
}
main.removeAttribute("aria-busy");

// The municipalities that the reader may see, and what was published of each.
import "./home.css";
import { count, day, make, plural, short } from "../shared/dom.js";
import { ago, ask, frame, minute, root, troubled } from "./shell.js";

// The kinds of change worth a word here, as a reader of the street has them; the rest are corrections of what was known.
const KINDS = [["added", "added", "new"], ["replaced", "changed", "replaced"], ["returned", "added", "back"], ["ended", "removed", "gone"], ["removed", "removed", "removed"], ["changed", "changed", "changed"], ["moved", "moved", "moved"]];

const figure = (value, words) => make("div.figure", {}, make("b", {}, count(value)), make("span", {}, words));

function changes(release) {
  if (!release.previous) return make("p.changes", {}, make("span.quiet", {}, "The first release"));
  const told = KINDS.filter(([kind]) => release.changes?.[kind]).map(([kind, look, words]) => make(`span.tag.${look}`, {}, `${count(release.changes[kind])} ${words}`));
  return make("p.changes", {}, make("span.quiet", {}, `Since ${release.previous}:`), told.length ? told : make("span.quiet", {}, "corrections only"));
}

function lastRun(town) {
  const run = town.runs?.[0];
  if (!run) return "No run has ended yet";
  const what = run.missing?.length ? `failed before ${short(run.missing[0], 30)}` : run.release_unchanged ? "found nothing to change" : "published";
  return `Last run ${ago(run.at)}: ${what}`;
}

const problems = (town) => town.problems.map((text) => make("p.message", { role: "alert" }, short(text, 300)));

function published(town) {
  const code = encodeURIComponent(town.code);
  const { release } = town;
  const by = release.counts?.by_status ?? {};
  const page = `${root}/layer/${code}/${release.release}/index.html`;
  return make("section.card.town", { "data-code": town.code },
    make("div", {},
      make("h2", {}, make("a", { href: page }, short(town.name, 80))),
      make("p.code", {}, `${town.code} · ${town.country}`),
      make("p.code", { style: "margin-top:6px", title: minute(town.runs?.[0]?.at) }, lastRun(town))),
    make("div", {},
      make("div.figures", {},
        make("div.figure", {}, make("b", {}, release.release), make("span", {}, `photos until ${day(release.photos_until)}`)),
        figure(release.counts?.intersections, release.counts?.intersections === 1 ? "intersection" : "intersections"),
        figure(by.standing, "standing"), figure(by.unconfirmed, "unconfirmed"), figure(by.ended, "ended")),
      changes(release)),
    make("div.ways", {},
      make("a.main", { href: page }, "Map"),
      town.runs?.length ? make("a", { href: `${root}/report/${code}/${town.runs[0].run}` }, "Report") : null,
      make("a", { href: `${root}/qa/${code}` }, "Quality")),
    problems(town));
}

function waiting(town) {
  const run = town.runs?.[0];
  return make("li", { "data-code": town.code }, make("b", {}, short(town.name, 80)), make("span.quiet", {}, town.code),
    make("span.quiet", {}, run ? make("a", { href: `${root}/report/${encodeURIComponent(town.code)}/${run.run}` }, lastRun(town)) : lastRun(town)),
    problems(town));
}

const main = frame({ title: "Municipalities" });
try {
  const { municipalities } = await ask("municipalities");
  const there = municipalities.filter((town) => town.release);
  const not = municipalities.filter((town) => !town.release);
  main.append(
    make("div.title", {}, make("h1", {}, "Municipalities")),
    make("p.under", {}, municipalities.length ? `${plural(there.length, "municipality", "municipalities")} published. Those whose refresh you may read in Airflow are listed.` : "There is no municipality that you may see. Ask whoever runs this Airflow for the right to read its refresh."),
    make("div.towns", {}, there.map(published)),
    not.length ? make("section.card.waiting", {}, make("h2", {}, "Nothing published yet"), make("ul", {}, not.map(waiting))) : "");
} catch (error) {
  main.append(troubled(error));
}
main.removeAttribute("aria-busy");

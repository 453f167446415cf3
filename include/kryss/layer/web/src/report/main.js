// The report of one run: what went in, what was lost on the way and why, what came of it, and how long it took.
import "./report.css";
import { count, make, plural, short } from "../shared/dom.js";
import { ago, ask, frame, here, minute, root, troubled } from "../home/shell.js";

const code = encodeURIComponent(here.code);
const KINDS = { refresh: "Refresh", reprocess: "Reprocessing", takedown: "Takedown" };
const STAGES = ["discover", "known", "takedown", "plan", "fetch", "detect", "depth", "place", "merge", "assign", "check", "export"];
const LINEAGE = { merged_into: "turned out to be another object", split_from: "turned out to be a part of another", lost_evidence: "lost their photos", unsupported: "weighed anew, nothing that stands" };
const WHY = { street: "the street changed", evidence: "photos came, were placed anew or were removed", model: "another model looked" };

const numbers = (counts) => Object.entries(counts && typeof counts === "object" ? counts : {}).filter(([, number]) => Number(number) > 0).sort((a, b) => b[1] - a[1] || a[0].localeCompare(b[0]));
const total = (counts) => numbers(counts).reduce((sum, [, number]) => sum + Number(number), 0);
const told = (counts, words = {}) => numbers(counts).map(([reason, number]) => `${short(Object.hasOwn(words, reason) ? words[reason] : reason, 160)} (${count(number)})`).join("; ");

/** One bar of a list: `most` is the length of the whole track. */
function bar(label, value, most, look = "", note = "") {
  const share = most > 0 ? Math.max(0, Math.min(1, value / most)) : 0;
  return make("li", {},
    make("span.label", {}, label),
    make("span.track", { "aria-hidden": "true" }, make(`i${look ? `.${look}` : ""}${value > 0 ? ".some" : ""}`, { style: `width:${(share * 100).toFixed(2)}%` })),
    make("span.value", {}, count(value)),
    note ? make("span.loss", {}, note) : null);
}

const step = (title, ...bars) => make("div.step", {}, make("h3", {}, title), make("ul.bars", {}, bars));

function funnel(run) {
  const { photos } = run;
  const failed = total(photos.failed) + total(photos.malformed);
  const unplaced = total(run.boxes_not_placed);
  const dropped = total(run.sightings_dropped);
  const objects = run.objects ?? {};
  const most = Math.max(...Object.values(objects).map(Number), 1);
  const photoMost = Math.max(photos.seen, photos.new, 1);
  const boxMost = Math.max(run.detections, run.sightings + unplaced, 1);
  return make("section.card", { id: "funnel" }, make("h2", {}, "From photos to objects"),
    step("Photos",
      bar("seen", photos.seen, photoMost, "calm", photos.barred ? `${count(photos.barred)} are not to be loaded again` : ""),
      bar("new", photos.new, photoMost, "", run.kind === "reprocess" ? `to model ${short(run.model, 60)}` : ""),
      failed ? bar("failed", failed, photoMost, "lost", told({ ...photos.failed, ...photos.malformed })) : null,
      total(photos.removed) ? bar("removed", total(photos.removed), photoMost, "lost", told(photos.removed)) : null),
    step("Boxes",
      bar("detections", run.detections, boxMost, "", "in the new photos"),
      bar("sightings", run.sightings, boxMost, "", run.photos_placed_again ? `placed on the ground; with ${plural(run.photos_placed_again, "earlier photo")} of the same sequences` : "placed on the ground"),
      unplaced ? bar("not placed", unplaced, boxMost, "lost", told(run.boxes_not_placed)) : null,
      dropped ? bar("dropped", dropped, boxMost, "lost", told(run.sightings_dropped)) : null),
    step("Objects",
      bar("new", objects.new ?? 0, most, "new"),
      bar("changed", objects.changed ?? 0, most, "changed"),
      bar("ended", objects.ended ?? 0, most, "lost"),
      objects.withdrawn ? bar("withdrawn", objects.withdrawn, most, "lost", told(run.lineage, LINEAGE)) : null,
      bar("unchanged", objects.unchanged ?? 0, most, "calm", `${plural(run.objects_total ?? 0, "object")} in all, ${count(run.objects_assigned)} at ${plural(run.intersections ?? 0, "intersection")}`)),
    total(run.reasons) ? make("p.quiet.why", {}, `Why it is believed anew: ${told(run.reasons, WHY)}`) : null);
}

const clock = (seconds) => (seconds >= 3600 ? `${Math.floor(seconds / 3600)} h ${Math.round((seconds % 3600) / 60)} min` : seconds >= 100 ? `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s` : `${Number(seconds).toFixed(1)} s`);

function times(run) {
  const wall = run.wall_seconds ?? run.seconds ?? {};
  const stages = STAGES.filter((name) => name in wall);
  const most = Math.max(...stages.map((name) => Number(wall[name])), 0.1);
  const rows = stages.map((name) => {
    const [value, work] = [Number(wall[name]), Number(run.seconds?.[name])];
    return make("li", {}, make("span.label", {}, name),
      make("span.track", { "aria-hidden": "true" }, make("i.some", { style: `width:${((value / most) * 100).toFixed(2)}%` })),
      make("span.value", { title: work > value * 1.2 ? `${clock(work)} of work in parallel` : null }, clock(value)));
  });
  const whole = run.began_at && run.ended_at ? (Date.parse(run.ended_at) - Date.parse(run.began_at)) / 1000 : null;
  const sum = Object.values(run.seconds ?? {}).reduce((all, one) => all + Number(one), 0);
  return make("section.card", { id: "times" }, make("h2", {}, "Time"),
    stages.length ? make("ul.bars.times", {}, rows) : make("p.quiet", {}, "No stage has ended."),
    make("p.quiet", { style: "margin-top:12px" }, whole === null ? `${clock(sum)} of work` : `${clock(whole)} from begin to end, ${clock(sum)} of it work`));
}

function rejected(run) {
  const groups = [
    ["Photo metadata", run.photos.malformed], ["Photo", run.photos.failed], ["Photo no longer listed", run.photos.not_listed?.missing ? { "gone at the service": run.photos.not_listed.gone, "not answered, asked again tomorrow": run.photos.not_listed.unanswered } : {}],
    ["Pose", run.poses_rejected], ["Box", run.boxes_not_placed], ["Sighting", run.sightings_dropped],
  ];
  const rows = groups.flatMap(([what, counts]) => numbers(counts).map(([reason, number]) => make("tr", {}, make("td", {}, what), make("td", {}, short(reason, 300)), make("td.number", {}, count(number)))));
  return make("section.card", { id: "rejected" }, make("h2", {}, "Rejected inputs"),
    rows.length
      ? make("table.plain.reasons", {}, make("thead", {}, make("tr", {}, make("th", { scope: "col" }, "What"), make("th", { scope: "col" }, "Why"), make("th.number", { scope: "col" }, "How many"))), make("tbody", {}, rows))
      : make("p.quiet", {}, "None: everything that came in was used."));
}

function lines(texts, first = 12) {
  const rows = texts.map((text) => make("li", {}, short(text, 400)));
  const list = make("ul.lines", {}, rows.slice(0, first));
  const rest = rows.slice(first);
  const button = rest.length ? make("button.bordered.more", { type: "button" }, `Show ${count(rest.length)} more`) : null;
  button?.addEventListener("click", () => {
    list.append(...rest);
    button.remove();
  });
  return [list, button];
}

function release(run) {
  const page = run.release && `${root}/layer/${code}/${encodeURIComponent(run.release)}/index.html`;
  const changes = Array.isArray(run.changes) ? run.changes : [];
  return make("section.card", { id: "release" }, make("h2", {}, "Release"),
    page ? make("a.go", { href: page }, `${run.release} on the map`) : null,
    run.release_unchanged ? make("p.quiet", {}, run.release ? "Nothing had changed: this release stands." : "There was nothing to publish.") : null,
    !run.release && !run.release_unchanged ? make("p.quiet", {}, "None was published.") : null,
    changes.length ? lines(changes) : run.release && !run.release_unchanged ? make("p.quiet", {}, "No change is told: it is the first release, or only corrections were made.") : null,
    run.releases_removed?.length ? make("p.quiet", { style: "margin-top:10px" }, `Old releases removed: ${short(run.releases_removed.join(", "), 300)}`) : null);
}

function takedown(run) {
  if (!run.takedown || !Object.keys(run.takedown).length) return null;
  const { note, asked, unknown_sequences: unknown = [], named_in: named = {} } = run.takedown;
  return make("section.card", {}, make("h2", {}, "Asked for"), make("p", {}, `${plural(asked ?? 0, "photo")} to take down: ${short(note, 400)}`),
    lines([...unknown.map((one) => `no known photo is of sequence ${one}`), ...Object.entries(named).map(([name, files]) => `release ${name} names them in ${files.join(", ")}`)]));
}

/** How the run ended: [look, words]. */
function outcome(run) {
  const answer = run.approval?.answer;
  if (run.held_back && answer !== "approved") return answer ? ["bad", `Held back, ${answer}`] : ["wait", "Held back, waits for an answer"];
  if (run.missing?.length) return ["bad", `Not finished: ${short(run.missing.join(", "), 80)}`];
  if (run.release_unchanged) return ["calm", "Nothing changed"];
  return run.release ? ["good", answer === "approved" ? "Approved and published" : "Published"] : ["calm", "No release"];
}

function held(run) {
  const reasons = run.check?.reasons;
  if (!Array.isArray(reasons) || !reasons.length) return null;
  const { answer, by, at } = run.approval ?? {};
  return make("div.message.held", {}, make("b", {}, run.held_back ? "The release was held back" : "The numbers were implausible; it was to be published all the same"),
    make("ul", {}, reasons.map((reason) => make("li", {}, short(reason, 400)))),
    answer ? make("p", { style: "margin-top:6px" }, `${answer[0].toUpperCase()}${answer.slice(1)}${by ? ` by ${short(by, 80)}` : ""}, ${minute(at)}`) : null);
}

function choice(runs, current) {
  const listed = runs.some((run) => run.run === current.run_key) ? runs : [{ run: current.run_key, at: current.at, release: current.release }, ...runs];
  const words = (run) => `${minute(run.at)} · ${run.problem ? "not readable" : run.missing?.length ? "not finished" : run.release_unchanged ? "nothing changed" : (run.release ?? "no release")}`;
  const select = make("select", { id: "runs" }, listed.map((run) => make("option", { value: run.run, selected: run.run === current.run_key }, words(run))));
  select.addEventListener("change", () => location.assign(`${root}/report/${code}/${select.value}`));
  return make("label.choose", {}, "Run", select);
}

const main = frame({ place: "report", title: `Report of ${here.municipality || here.code}` });
try {
  const [run, { runs }] = await Promise.all([ask(`${code}/reports/${encodeURIComponent(here.run)}`), ask(`${code}/reports`)]);
  run.run_key = here.run;
  run.photos ??= { seen: 0, new: 0 };
  for (const name of ["detections", "sightings"]) run[name] = Number(run[name]) || 0;
  const [look, words] = outcome(run);
  main.append(
    make("div.title", {}, make("h1", {}, `${KINDS[run.kind] ?? "Run"} of ${short(run.name ?? here.municipality, 80)}`), make(`span.state.${look}`, {}, words), choice(runs, run)),
    make("p.under", {}, `${run.began_at ? `${minute(run.began_at)} to ${run.ended_at?.slice(11, 16) ?? "?"}` : minute(run.at)}, ${ago(run.at)} · ${short(run.run, 160)} · model ${short(run.model ?? "none", 80)}`),
    held(run) ?? "",
    make("div.grid", {},
      make("div.column", {}, takedown(run), funnel(run), times(run)),
      make("div.column", {}, release(run), rejected(run))));
} catch (error) {
  main.append(troubled(error));
}
main.removeAttribute("aria-busy");

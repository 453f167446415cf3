// How much is right, by class and over all, each with its 95 % confidence interval.
import { count, make, plural, short, svg } from "../shared/dom.js";
import { picture, wordsOf } from "../shared/signs.js";

export const percent = (value) => (value === null || value === undefined ? "–" : `${(value * 100).toFixed(value > 0.995 && value < 1 ? 1 : 0)} %`);
const range = (line) => (line.low === null ? "" : `${percent(line.low)} to ${percent(line.high)}`);

/** A line from 0 to 100 %: the interval, and a dot at the estimate. */
function interval(line) {
  const x = (value) => 6 + value * 188;
  const drawn = svg("svg", { viewBox: "0 0 200 18", class: "interval", role: "img", "aria-label": range(line) || "not judged yet" });
  for (const at of [0, 0.25, 0.5, 0.75, 1]) drawn.append(svg("line", { class: "tick", x1: x(at), x2: x(at), y1: 4, y2: 14 }));
  drawn.append(svg("line", { class: "rule", x1: x(0), x2: x(1), y1: 9, y2: 9 }));
  if (line.low !== null) drawn.append(svg("line", { class: "line", x1: x(line.low), x2: x(line.high), y1: 9, y2: 9 }), svg("circle", { class: "dot", cx: x(line.precision), cy: 9, r: 5 }));
  return drawn;
}

function headline({ overall, agreement, judges, status }) {
  if (overall.precision === null) {
    return make("div.headline", {}, make("p", {}, `Nothing is judged yet of ${plural(overall.objects, `${status} object`)}. Each verdict narrows the interval; about 30 of a class tell whether it is good or bad, about 100 how good.`));
  }
  const names = Object.keys(judges);
  const together = agreement.pairs ? `${plural(names.length, "person", "people")} judged; where two judged the same object they agree ${percent(agreement.share)} of the time (${count(agreement.agreeing)} of ${count(agreement.pairs)}${agreement.kappa === null ? "" : `, kappa ${agreement.kappa.toFixed(2)}`}).` : `${plural(names.length, "person", "people")} judged.`;
  return make("div.headline", {},
    make("div", {}, make("div.big", { id: "overall" }, percent(overall.precision)), make("p", {}, `${range(overall)}, with 95 % confidence`)),
    make("p", {}, `of the ${plural(overall.objects, `${status} object`)} are right, by ${plural(overall.judged, "judged object")}: ${count(overall.right)} right, ${count(overall.wrong)} wrong, ${count(overall.unsure)} unsure${overall.disputed ? `, ${count(overall.disputed)} disputed` : ""}. Each class counts by its share of the release${overall.covered < 1 ? `; classes with a verdict hold ${percent(overall.covered)} of the objects` : ""}. ${together}`),
    overall.waiting ? make("p", { id: "waiting" }, `${plural(overall.waiting, "object")} of the sample changed or came since it was judged. The intervals reach from all of ${overall.waiting === 1 ? "it" : "them"} wrong to all right until you judge ${overall.waiting === 1 ? "it" : "them"}: ${overall.waiting === 1 ? "it is" : "they are"} asked about first within ${overall.waiting === 1 ? "its class" : "their classes"}.`) : null);
}

export function table(told, current) {
  const rows = [...told.classes].sort((a, b) => b.objects - a.objects || a.class.localeCompare(b.class)).map((line) =>
    make(`tr${line.class === current ? ".now" : ""}`, { "data-class": line.class },
      make("td", {}, make("span.class", { title: short(line.class, 200) }, picture(line.class, 22), make("span", {}, short(wordsOf(line.class), 60)))),
      make("td.number", {}, count(line.objects)), make("td.number", {}, count(line.judged)),
      make("td.number", {}, count(line.right)), make("td.number", {}, count(line.wrong)), make("td.number", {}, count(line.unsure + line.disputed)),
      make("td.number", {}, make("b", {}, percent(line.precision))), make("td.number", {}, range(line)), make("td", {}, interval(line))));
  const head = ["Class", "Objects", "Judged", "Right", "Wrong", "Unsure", "Precision", "95 % interval", "Drawn, 0 to 100 %"];
  return make("section.card.precision", { id: "precision" }, make("h2", {}, `Precision of ${told.release}`), headline(told),
    make("div.scrolled", { tabindex: "0", role: "region", "aria-label": "Precision by class" }, make("table.plain", {}, make("thead", {}, make("tr", {}, head.map((text, at) => make(`th${at && at < 8 ? ".number" : ""}`, { scope: "col" }, at < 8 ? text : make("span.visually-hidden", {}, text))))), make("tbody", {}, rows))));
}

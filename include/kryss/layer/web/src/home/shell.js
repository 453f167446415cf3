// What the pages in Airflow have in common: their frame, their way to the server, their links.
import "../shared/style.css";
import "./shell.css";
import { config } from "../shared/config.js";
import { make, svg } from "../shared/dom.js";
import { watchLinks } from "../shared/links.js";
import { themeButton } from "../shared/theme.js";

export const here = config();
const api = here.api ?? "/kryss/api";
/** Where the pages lie: `/kryss`, after whatever prefix this Airflow has. */
export const root = api.replace(/\/api$/, "");

/** What could not be had, in words for a person. */
export class Trouble extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

/** JSON of the server; raises Trouble with the server's own words. */
export async function ask(path, options = {}) {
  let response;
  try {
    response = await fetch(`${api}/${path}`, {
      credentials: "same-origin", ...options,
      ...(options.method ? { headers: { "Content-Type": "application/json" } } : {}),
    });
  } catch {
    throw new Trouble("The server does not answer. Is it running, and are you online?", 0);
  }
  const told = await response.json().catch(() => null);
  if (response.ok && told !== null) return told;
  const words = typeof told?.detail === "string" ? told.detail : `The server answered ${response.status}.`;
  throw new Trouble(response.status === 401 ? "You are no longer logged in." : words, response.status);
}

/** Trouble as a part of the page. */
export function troubled(error) {
  const login = error.status === 401 && make("button.bordered", { type: "button", onclick: () => location.reload() }, "Log in");
  const again = error.status !== 401 && error.status !== 404 && make("button.bordered", { type: "button", onclick: () => location.reload() }, "Try again");
  return make("div.message", { role: "alert" }, make("p", {}, error.message), (login || again) && make("p", { style: "margin-top:8px" }, login || again));
}

const mark = () => svg("svg", { viewBox: "0 0 24 24", width: 22, height: 22, "aria-hidden": "true" },
  svg("rect", { x: 1, y: 1, width: 22, height: 22, rx: 5, fill: "#0a666c" }),
  svg("path", { d: "M4 9.5h3.5a2 2 0 0 0 2-2V4M4 14.5h3.5a2 2 0 0 1 2 2V20M20 14.5h-3.5a2 2 0 0 0-2 2V20", fill: "none", stroke: "#fff", "stroke-width": 2, "stroke-linecap": "round" }),
  svg("path", { d: "m16.5 3.8 3.7 3.7-3.7 3.7-3.7-3.7z", fill: "#ffd23f" }));

/**
 * The frame with an empty <main>, which is returned. `place`: "report" or "qa", the page this is of the municipality `code`;
 * null on the home page.
 */
export function frame({ place = null, code = here.code, name = here.municipality, title }) {
  watchLinks();
  document.title = `${title} – Kryss`;
  const link = (text, to, what) => make("a", { href: to, "aria-current": what === place ? "page" : null }, text);
  const crumbs = make("nav.crumbs", { "aria-label": "You are here" },
    make("span", {}, make("a.brand", { href: `${root}/`, "aria-current": place === null ? "page" : null }, mark(), "Kryss")),
    code && make("span", { "aria-current": "page" }, name || code));
  const places = code && make("nav.places", { "aria-label": name || code },
    link("Map", `${root}/layer/${encodeURIComponent(code)}/`, "map"),
    link("Report", `${root}/report/${encodeURIComponent(code)}/latest`, "report"),
    link("Quality", `${root}/qa/${encodeURIComponent(code)}`, "qa"));
  const main = make("main", { id: "main", tabindex: "-1", "aria-busy": "true" });
  document.getElementById("app").append(
    make("a.skip", { href: "#main" }, "To the content"),
    make("div.shell", {}, make("header.top", {}, crumbs, places, themeButton()), main));
  return main;
}

/** `2026-05-20, 10:08 UTC` */
export const minute = (instant) => (typeof instant === "string" && instant.length >= 16 ? `${instant.slice(0, 10)}, ${instant.slice(11, 16)} UTC` : "–");

/** How long ago, in the largest unit that fits. */
export function ago(instant) {
  const seconds = (Date.now() - Date.parse(instant)) / 1000;
  if (!Number.isFinite(seconds)) return "";
  const units = [["year", 31557600], ["month", 2629800], ["day", 86400], ["hour", 3600], ["minute", 60]];
  const [unit, length] = units.find(([, span]) => seconds >= span) ?? ["second", 1];
  return new Intl.RelativeTimeFormat("en", { numeric: "auto" }).format(-Math.round(seconds / length), unit);
}

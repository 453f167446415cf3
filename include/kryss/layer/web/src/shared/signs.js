// The picture and the name of a class. Pictures of signs come with the slot (mapillary_sprite_source); traffic lights and whatever
// has no picture are drawn here.
import { config } from "./config.js";

const HOUSING = "#20282a";
const LAMPS = ["#e5322d", "#f6b915", "#1fae5d"];

const lamp = (x, y, r, colour) => `<circle cx="${x}" cy="${y}" r="${r}" fill="${colour}"/>`;
const housing = (x, y, w, h) => `<rect x="${x}" y="${y}" width="${w}" height="${h}" rx="3.4" fill="${HOUSING}" stroke="#fff" stroke-width="1.1"/>`;
const walker = (x, y, s, colour) =>
  `<g transform="translate(${x} ${y}) scale(${s})" fill="none" stroke="${colour}" stroke-width="1.5" stroke-linecap="round" stroke-linejoin="round"><circle cx="0" cy="-3.1" r=".7" fill="${colour}" stroke="none"/><path d="M0-1.6V.9M0-1.3 1.6-.1M0-1.3-1.5.2M0 .9 1.4 3.6M0 .9-1.5 3.6"/></g>`;
const bicycle = (x, y, s, colour) =>
  `<g transform="translate(${x} ${y}) scale(${s})" fill="none" stroke="${colour}" stroke-width=".8" stroke-linecap="round" stroke-linejoin="round"><circle cx="-2.6" cy="1.2" r="1.9"/><circle cx="2.6" cy="1.2" r="1.9"/><path d="M-2.6 1.2-1-2H2L2.6 1.2M-1-2-1.7-2.2M-1-2 .4 1.2 2-1.6"/></g>`;

const LIGHTS = {
  "general-upright": housing(6.4, 0.8, 11.2, 22.4) + lamp(12, 5.2, 2.9, LAMPS[0]) + lamp(12, 12, 2.9, LAMPS[1]) + lamp(12, 18.8, 2.9, LAMPS[2]),
  "general-horizontal": housing(0.8, 6.4, 22.4, 11.2) + lamp(5.2, 12, 2.9, LAMPS[0]) + lamp(12, 12, 2.9, LAMPS[1]) + lamp(18.8, 12, 2.9, LAMPS[2]),
  "general-single": housing(5, 5, 14, 14) + lamp(12, 12, 4.4, LAMPS[1]),
  pedestrians: housing(5.6, 0.8, 12.8, 22.4) + walker(12, 6.6, 1.05, LAMPS[0]) + walker(12, 17.4, 1.05, LAMPS[2]),
  cyclists: housing(5.6, 0.8, 12.8, 22.4) + bicycle(12, 6.6, 1.05, LAMPS[0]) + bicycle(12, 17.2, 1.05, LAMPS[2]),
};

// By the colours of the sign families; the shape says the family too, for those who cannot tell the colours.
const FAMILIES = {
  regulatory: '<circle cx="12" cy="12" r="10" fill="#fff" stroke="#c1121c" stroke-width="3"/>',
  warning: '<path d="M12 2.6 22.4 20.8H1.6Z" fill="#fff" stroke="#c1121c" stroke-width="2.6" stroke-linejoin="round"/>',
  information: '<rect x="2" y="2" width="20" height="20" rx="3" fill="#0b59a3" stroke="#fff" stroke-width="1.2"/>',
  complementary: '<rect x="1.6" y="5" width="20.8" height="14" rx="2" fill="#fff" stroke="#20282a" stroke-width="1.6"/>',
  other: '<rect x="3" y="3" width="18" height="18" rx="5" fill="#eef1ef" stroke="#56605d" stroke-width="1.6"/>',
};
const MARK = '<g fill="none" stroke-linecap="round" stroke-width="1.9"><path d="M9.7 10.2a2.3 2.3 0 1 1 3.3 2.1c-.7.3-1 .8-1 1.5v.2"/><path d="M12 16.8v.01"/></g>';

function drawn(name) {
  const light = /^object--traffic-light(?:--(.+))?$/.exec(name);
  if (light) return LIGHTS[Object.hasOwn(LIGHTS, light[1] ?? "") ? light[1] : "general-upright"];
  const family = name.split("--")[0];
  const known = Object.hasOwn(FAMILIES, family) ? family : "other";
  return FAMILIES[known] + MARK.replace("<g ", `<g stroke="${known === "information" ? "#fff" : "#20282a"}" `);
}

let given = null;

/** The SVG text of a class's picture; of a class without one, a sign of its family with a question mark. */
export function pictureText(name) {
  given ??= config().signs ?? {};
  const text = Object.hasOwn(given, name) && typeof given[name] === "string" ? given[name] : null;
  if (text === null) return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24" width="24" height="24">${drawn(String(name ?? ""))}</svg>`;
  const head = /<svg\b[^>]*>/.exec(text)?.[0] ?? "";
  const size = [/\bwidth="([\d.]+)/.exec(head)?.[1], /\bheight="([\d.]+)/.exec(head)?.[1]];
  return head && !head.includes("viewBox=") && size[0] && size[1] ? text.replace("<svg", `<svg viewBox="0 0 ${size[0]} ${size[1]}"`) : text;
}

const addresses = new Map();

/** A `data:` address of the picture. As an image, an SVG runs no script and loads nothing. */
export function pictureAddress(name) {
  if (!addresses.has(name)) addresses.set(name, `data:image/svg+xml;charset=utf-8,${encodeURIComponent(pictureText(name))}`);
  return addresses.get(name);
}

/** An <img> of the class, `size` CSS pixels square. Its name stands beside it, so it is hidden from screen readers. */
export function picture(name, size = 28) {
  const image = document.createElement("img");
  image.className = "sign";
  image.width = image.height = size;
  image.alt = "";
  image.decoding = "async";
  image.draggable = false;
  image.src = pictureAddress(name);
  return image;
}

/** The class in words: `regulatory--stop--g1` -> `Stop`, `object--traffic-light--general-upright` -> `Traffic light, general upright`. */
export function wordsOf(name) {
  const parts = String(name ?? "").split("--");
  const told = parts[0] === "object" ? parts.slice(1).join(", ") : (parts[1] ?? parts[0]);
  const words = told.replaceAll("-", " ").trim();
  return words ? words[0].toUpperCase() + words.slice(1) : "Unnamed class";
}

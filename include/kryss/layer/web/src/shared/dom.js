// Elements are made from text, never from markup: no property of the data can become an element or a script.

/**
 * `make("button.primary", { type: "button", onclick }, "Text", child)`. Attributes that are null or false are left out;
 * those that begin with "on" are listeners; children that are null or false are left out, all but nodes become text.
 */
export function make(what, attributes = {}, ...children) {
  const [tag, ...classes] = what.split(".");
  const element = document.createElement(tag || "div");
  if (classes.length) element.className = classes.join(" ");
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

const SVG = "http://www.w3.org/2000/svg";

/** The same for SVG elements. */
export function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) if (value !== null && value !== undefined) element.setAttribute(name, String(value));
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** A link to another site, or plain text where the address is no https address: `javascript:` and its like never become links. */
export function link(address, text, attributes = {}) {
  const safe = typeof address === "string" && /^https:\/\//i.test(address);
  return safe ? make("a", { href: address, rel: "noopener noreferrer", target: "_blank", ...attributes }, text) : make("span", {}, text);
}

/** A text no longer than `most` characters, for texts that nobody bounded. */
export function short(text, most = 120) {
  const whole = String(text ?? "");
  return whole.length > most ? `${whole.slice(0, most - 1)}…` : whole;
}

/** The day of an instant (`YYYY-MM-DD`), or a dash. */
export function day(instant) {
  return typeof instant === "string" && instant.length >= 10 ? instant.slice(0, 10) : "–";
}

/** `12,345`: digits in groups of three. */
export function count(number) {
  return Number.isFinite(number) ? number.toLocaleString("en") : "–";
}

/** `1 sign`, `2 signs`. */
export function plural(number, one, many = `${one}s`) {
  return `${count(number)} ${number === 1 ? one : many}`;
}

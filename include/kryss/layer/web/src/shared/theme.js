// Light, dark, or as the system has it. The choice is kept in this browser only.
import { make, svg } from "./dom.js";

const KEY = "kryss-theme";
const ORDER = ["system", "light", "dark"];
const system = matchMedia("(prefers-color-scheme: dark)");
const told = new Set();
let chosen = "system";

try {
  chosen = ORDER.includes(localStorage.getItem(KEY)) ? localStorage.getItem(KEY) : "system";
} catch {
  // A browser that keeps nothing: the system's choice.
}

export const isDark = () => (chosen === "system" ? system.matches : chosen === "dark");
export const onTheme = (listener) => told.add(listener);

function apply() {
  document.documentElement.dataset.theme = isDark() ? "dark" : "light";
  for (const listener of told) listener(isDark());
}

system.addEventListener("change", apply);
apply();

const ICONS = {
  system: "M12 4a8 8 0 1 0 0 16zM12 4a8 8 0 0 1 0 16",
  light: "M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8zM12 2v2.5M12 19.5V22M2 12h2.5M19.5 12H22M4.9 4.9l1.8 1.8M17.3 17.3l1.8 1.8M19.1 4.9l-1.8 1.8M6.7 17.3l-1.8 1.8",
  dark: "M20 14.5A8.5 8.5 0 0 1 9.5 4 8.5 8.5 0 1 0 20 14.5z",
};

/** A button that goes from the system's colours to light to dark. */
export function themeButton() {
  const path = svg("path", { fill: "none", stroke: "currentColor", "stroke-width": 1.7, "stroke-linecap": "round", "stroke-linejoin": "round" });
  const half = svg("path", { fill: "currentColor", d: "M12 4a8 8 0 1 0 0 16z" });
  const button = make("button.icon", { type: "button", id: "theme" }, svg("svg", { viewBox: "0 0 24 24", width: 20, height: 20, "aria-hidden": "true" }, path, half));
  const show = () => {
    path.setAttribute("d", ICONS[chosen]);
    half.style.display = chosen === "system" ? "" : "none";
    button.title = `Colours: ${chosen}`;
    button.setAttribute("aria-label", `Colours: ${chosen}. Change`);
  };
  button.addEventListener("click", () => {
    chosen = ORDER[(ORDER.indexOf(chosen) + 1) % ORDER.length];
    try {
      localStorage.setItem(KEY, chosen);
    } catch {
      // It holds until the page is left.
    }
    apply();
    show();
  });
  show();
  return button;
}

// The time slider: a day of valid time, with what came and went under it, a play button, and "all times" when it is off.
import { make, svg } from "../shared/dom.js";

const DAY = 86_400_000;
const PLAY = "M8 5.5v13l11-6.5z";
const PAUSE = "M7 5.5h3.5v13H7zM13.5 5.5H17v13h-3.5z";
const BARS = 72;

/** The first and the last day of everything in the layer, in milliseconds, or null. */
export function domainOf(data, until) {
  let [from, to] = [Infinity, -Infinity];
  const take = (value) => {
    if (!Number.isFinite(value)) return;
    from = Math.min(from, value);
    to = Math.max(to, value);
  };
  for (const column of [data.first, data.last, data.ended, data.after]) column.forEach(take);
  take(until);
  return from <= to ? [Math.floor(from / DAY) * DAY, Math.floor(to / DAY) * DAY] : null;
}

export class Clock {
  /** `onTime(day in milliseconds or null, settled)`: settled is false while it is dragged or plays. */
  constructor(section, { onTime }) {
    this.section = section;
    this.onTime = onTime;
    this.playing = 0;
    this.icon = svg("path", { d: PLAY, fill: "currentColor" });
    this.button = make("button.icon.bordered", { type: "button", "aria-label": "Play through time", onclick: () => this.toggle() }, svg("svg", { viewBox: "0 0 24 24", width: 22, height: 22, "aria-hidden": "true" }, this.icon));
    this.range = make("input", { type: "range", min: 0, max: 1, step: 1, "aria-label": "Day", oninput: () => this.slide(false), onchange: () => this.slide(true) });
    this.bars = make("div.bars", { "aria-hidden": "true" });
    this.ends = [make("span", {}, ""), make("span", {}, "")];
    this.label = make("output", { for: "day" }, "");
    this.off = make("button.bordered", { type: "button", onclick: () => this.set(null, true) }, "All times");
    this.range.id = "day";
    section.append(this.button, make("div.track", {}, this.bars, this.range, make("div.ends.number", { "aria-hidden": "true" }, ...this.ends)), make("div.when", {}, this.label, this.off));
  }

  /** Over these objects; without any dates the slider stays away. */
  open(data, domain) {
    this.domain = domain;
    this.section.hidden = !domain || domain[0] === domain[1];
    if (!domain) return;
    this.range.max = String(Math.max(1, Math.round((domain[1] - domain[0]) / DAY)));
    domain.forEach((value, i) => (this.ends[i].textContent = new Date(value).toISOString().slice(0, 10)));
    const [came, went] = [new Uint32Array(BARS), new Uint32Array(BARS)];
    const bin = (value) => Math.min(BARS - 1, Math.max(0, Math.floor(((value - domain[0]) / (domain[1] - domain[0] + DAY)) * BARS)));
    for (let k = 0; k < data.spans.length; k += 2) {
      came[bin(data.spans[k])] += 1;
      if (Number.isFinite(data.spans[k + 1])) went[bin(data.spans[k + 1])] += 1;
    }
    const most = Math.max(1, ...came, ...went);
    const share = (value) => (value ? Math.max(12, Math.sqrt(value / most) * 100) : 0);
    this.bars.replaceChildren(
      ...Array.from(came, (value, i) => {
        const up = make("i.came");
        const down = make("i.went");
        up.style.height = `${share(value) / 2}%`;
        down.style.height = `${share(went[i]) / 2}%`;
        return make("span", {}, up, down);
      }),
    );
    this.show(this.value ?? null);
  }

  show(value) {
    this.value = value;
    if (!this.domain) return;
    const at = value === null ? this.domain[1] : Math.min(this.domain[1], Math.max(this.domain[0], value));
    this.range.value = String(Math.round((at - this.domain[0]) / DAY));
    const text = value === null ? "All times" : new Date(at).toISOString().slice(0, 10);
    this.label.textContent = text;
    this.range.setAttribute("aria-valuetext", text);
    this.off.hidden = value === null;
    this.section.classList.toggle("off", value === null);
  }

  set(value, settled) {
    if (settled) this.stop();
    this.show(value);
    this.onTime(value, settled);
  }

  slide(settled) {
    this.set(this.domain[0] + Number(this.range.value) * DAY, settled);
  }

  toggle() {
    if (this.playing) return this.set(this.value, true);
    this.icon.setAttribute("d", PAUSE);
    this.button.setAttribute("aria-label", "Pause");
    const [from, to] = this.domain;
    const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    const step = calm ? Math.max(DAY, (to - from) / 12) : Math.max(DAY, (to - from) / 240);
    let now = this.value === null || this.value >= to ? from : this.value;
    this.set(now, false);
    let before = performance.now();
    const tick = (moment) => {
      if (!this.playing) return;
      if (moment - before >= (calm ? 1000 : 50)) {
        before = moment;
        now = Math.min(to, now + Math.round(step / DAY) * DAY);
        this.set(now, false);
        if (now >= to) return this.set(to, true);
      }
      this.playing = requestAnimationFrame(tick);
    };
    this.playing = requestAnimationFrame(tick);
  }

  stop() {
    cancelAnimationFrame(this.playing);
    this.playing = 0;
    this.icon.setAttribute("d", PLAY);
    this.button.setAttribute("aria-label", "Play through time");
  }
}

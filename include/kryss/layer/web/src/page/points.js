// Which objects show, and where: the filter as one byte an object, clusters as sums over cells that were numbered once per zoom.
// Moving the slider or the map uploads nothing anywhere.
import KDBush from "kdbush";
import { mercatorX, mercatorY } from "./store.js";

export const CELL_PX = 76;
const WORLD_PX = 512;

export class Points {
  /** `lon`, `lat`: degrees, of `n` points. All show until `shown` (one byte each, 0 hidden) says otherwise; who writes it raises `version`. */
  constructor(lon, lat) {
    this.n = lon.length;
    this.x = Float64Array.from(lon, mercatorX);
    this.y = Float64Array.from(lat, mercatorY);
    this.shown = new Uint8Array(this.n).fill(1);
    this.version = 1;
    this.cells = new Map();
    this.tree = new KDBush(Math.max(1, this.n), 64, Float64Array);
    for (let i = 0; i < this.n; i += 1) this.tree.add(this.x[i], this.y[i]);
    if (!this.n) this.tree.add(-9, -9);
    this.tree.finish();
  }

  /** Indices within the box of Mercator coordinates, shown ones only. The box may lie outside 0..1: the world repeats. */
  within(west, north, east, south, each) {
    for (let world = Math.floor(west); world <= Math.floor(east); world += 1) {
      for (const i of this.tree.range(west - world, north, east - world, south)) if (i < this.n && this.shown[i]) each(i, world);
    }
  }

  /** Bubbles at a whole zoom: {count, x, y, only: index where the count is 1}, of every cell that shows anything. */
  clusters(zoom) {
    const cells = this._cells(zoom);
    if (cells.version === this.version) return cells.found;
    const { of, number, size } = cells;
    const count = new Uint32Array(number);
    const x = new Float64Array(number);
    const y = new Float64Array(number);
    const only = new Uint32Array(number);
    for (let i = 0; i < this.n; i += 1) {
      if (!this.shown[i]) continue;
      const cell = of[i];
      count[cell] += 1;
      x[cell] += this.x[i];
      y[cell] += this.y[i];
      only[cell] = i;
    }
    const inset = size * 0.26;
    const within = (value) => {
      const from = Math.floor(value / size) * size;
      return Math.min(from + size - inset, Math.max(from + inset, value));
    };
    const found = [];
    for (let cell = 0; cell < number; cell += 1) {
      const k = count[cell];
      if (k === 1) found.push({ count: 1, x: x[cell], y: y[cell], only: only[cell] });
      else if (k > 1) found.push({ count: k, x: within(x[cell] / k), y: within(y[cell] / k), only: only[cell] });
    }
    cells.version = this.version;
    cells.found = found;
    return found;
  }

  _cells(zoom) {
    let found = this.cells.get(zoom);
    if (!found) {
      const size = CELL_PX / (WORLD_PX * 2 ** zoom);
      const numbers = new Map();
      const of = new Uint32Array(this.n);
      for (let i = 0; i < this.n; i += 1) {
        const key = Math.floor(this.y[i] / size) * 67_108_864 + Math.floor(this.x[i] / size);
        let cell = numbers.get(key);
        if (cell === undefined) numbers.set(key, (cell = numbers.size));
        of[i] = cell;
      }
      found = { of, number: numbers.size, size, version: 0, found: [] };
      if (this.cells.size > 6) this.cells.delete(this.cells.keys().next().value);
      this.cells.set(zoom, found);
    }
    return found;
  }
}

/** [west, south, east, north] in degrees that holds all points over the narrowest stretch of longitudes: east may exceed 180. */
export function boundsOf(lon, lat) {
  if (!lon.length) return null;
  const sorted = Float64Array.from(lon).sort();
  const last = sorted.length - 1;
  let [gap, from] = [sorted[0] + 360 - sorted[last], 0];
  for (let i = 1; i <= last; i += 1) if (sorted[i] - sorted[i - 1] > gap) [gap, from] = [sorted[i] - sorted[i - 1], i];
  let [south, north] = [Infinity, -Infinity];
  for (const value of lat) [south, north] = [Math.min(south, value), Math.max(north, value)];
  return [sorted[from], south, from ? sorted[from - 1] + 360 : sorted[last], north];
}

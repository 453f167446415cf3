// What changed between any two releases, from their objects alone, by the rules of changes.geojson. Identity that only the database
// knows (merged, split) and reasons are not told here.

const MOVED_M = 0.5;
const TURNED_DEG = 10;
const EARTH_M = 6371008.8;
export const CHANGE_OF = {
  added: "added", returned: "added", split: "added", ended: "removed", removed: "removed", merged: "removed",
  replaced: "changed", changed: "changed", moved: "changed", reworked: "changed",
};
export const KINDS = Object.keys({ replaced: 1, added: 1, ended: 1, returned: 1, merged: 1, split: 1, removed: 1, changed: 1, moved: 1, reworked: 1 });

/** Metres on the sphere. */
export function distanceM(lonA, latA, lonB, latB) {
  const rad = Math.PI / 180;
  const a = Math.sin(((latB - latA) * rad) / 2) ** 2 + Math.cos(latA * rad) * Math.cos(latB * rad) * Math.sin(((lonB - lonA) * rad) / 2) ** 2;
  return 2 * EARTH_M * Math.asin(Math.min(1, Math.sqrt(a)));
}

/** [[kind, index before or -1, index after or -1, metres or null]], and how many objects were only refined. */
export function diff(before, after) {
  const was = new Map(before.ids.map((id, index) => [id, index]));
  const is = new Map(after.ids.map((id, index) => [id, index]));
  const heir = new Map(after.replaced);
  const ENDED = 2;
  const told = new Set();
  const found = [];
  const metres = (b, a) => distanceM(before.lon[b], before.lat[b], after.lon[a], after.lat[a]);
  for (const [gone, id] of heir) {
    const come = is.get(id);
    if (come === undefined || told.has(gone) || told.has(come)) continue;
    const old = was.get(after.ids[gone]);
    const went = old !== undefined && before.status[old] !== ENDED && after.status[gone] === ENDED;
    if (!went && was.has(id)) continue;
    told.add(gone).add(come);
    found.push(["replaced", -2 - gone, come, distanceM(after.lon[gone], after.lat[gone], after.lon[come], after.lat[come])]);
  }
  let refined = 0;
  for (let a = 0; a < after.n; a += 1) {
    if (told.has(a)) continue;
    const b = was.get(after.ids[a]);
    if (b === undefined) found.push(["added", -1, a, null]);
    else if (after.status[a] === ENDED && before.status[b] !== ENDED) found.push(["ended", b, a, null]);
    else if (after.status[a] !== ENDED && before.status[b] === ENDED) found.push(["returned", b, a, null]);
    else {
      const far = metres(b, a);
      const turned = Math.abs(((before.facing[b] - after.facing[a] + 540) % 360) - 180) > TURNED_DEG || Number.isNaN(before.facing[b]) !== Number.isNaN(after.facing[a]);
      const other =
        before.classes[before.cls[b]] !== after.classes[after.cls[a]] || before.status[b] !== after.status[a] || before.type[b] !== after.type[a] ||
        before.areas[before.area[b]] !== after.areas[after.area[a]] || !(before.size[b] === after.size[a] || (Number.isNaN(before.size[b]) && Number.isNaN(after.size[a]))) || turned;
      if (other) found.push(["changed", b, a, far]);
      else if (far > MOVED_M && far > before.err[b]) found.push(["moved", b, a, far]);
      else if (before.models[before.model[b]] !== after.models[after.model[a]]) found.push(["reworked", b, a, null]);
      else if (far > 0 || before.last[b] !== after.last[a] || before.images[b] !== after.images[a] || before.prob[b] !== after.prob[a]) refined += 1;
    }
  }
  for (let b = 0; b < before.n; b += 1) if (!is.has(before.ids[b])) found.push(["removed", b, -1, null]);
  found.sort((one, two) => KINDS.indexOf(one[0]) - KINDS.indexOf(two[0]));
  return { found, refined };
}

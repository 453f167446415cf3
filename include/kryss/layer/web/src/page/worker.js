// Reads and compares releases beside the page's own thread. One answer per job; `progress` on the way.
import { diff } from "./diff.js";
import { readFeatures } from "./read.js";
import { Builder, briefOf } from "./store.js";

let current = null;

async function objects(base, job) {
  let builder = new Builder();
  let told = 0;
  const progress = (read, total) => {
    if (read - told < 262_144) return;
    told = read;
    postMessage({ job, progress: { read, total, objects: builder.ids.length } });
  };
  const { broken } = await readFeatures(base, "objects.geojson", { take: (feature) => void builder.add(feature), progress, restart: () => (builder = new Builder()) });
  const data = builder.done();
  return { ...data, refused: data.refused + broken };
}

const JOBS = {
  async load({ base }, job) {
    current = await objects(base, job);
    return current;
  },

  async features({ base, file }) {
    let features = [];
    const { broken, head } = await readFeatures(base, file, { take: (feature) => void features.push(feature), restart: () => (features = []) });
    return { features, broken, head };
  },

  /** The object with its history and evidence, as the layer has it; null where it is not there. */
  async detail({ base, id }) {
    const quoted = JSON.stringify(id);
    let found = null;
    await readFeatures(base, "intersections.geojson", {
      only: (line) => line.includes(quoted),
      take: (feature) => {
        found = feature?.properties?.objects?.find?.((item) => item?.id === id) ?? null;
        return found !== null;
      },
    });
    return found;
  },

  async compare({ base }, job) {
    const before = await objects(base, job);
    const { found, refined } = diff(before, current);
    const entries = found.map(([kind, b, a, metres]) => ({
      kind,
      distance_m: metres,
      before: b >= 0 ? briefOf(before, b) : b < -1 ? briefOf(current, -2 - b) : null,
      after: a >= 0 ? briefOf(current, a) : null,
    }));
    return { entries, refined, refused: before.refused };
  },
};

onmessage = async ({ data: { job, name, ...given } }) => {
  try {
    postMessage({ job, result: await JOBS[name](given, job) });
  } catch (error) {
    postMessage({ job, problem: { message: String(error?.message ?? error), status: error?.status ?? 0 } });
  }
};

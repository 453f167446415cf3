// The page's side of the worker, and where the files of a release are.
import DataWorker from "./worker.js?worker&inline";

const worker = new DataWorker();
const waiting = new Map();
let jobs = 0;

worker.onmessage = ({ data: { job, result, problem, progress } }) => {
  const asked = waiting.get(job);
  if (!asked) return;
  if (progress) return asked.progress?.(progress);
  waiting.delete(job);
  if (problem) asked.reject(Object.assign(new Error(problem.message), { status: problem.status }));
  else asked.resolve(result);
};
worker.onerror = (event) => {
  for (const asked of waiting.values()) asked.reject(new Error(`the reader of the files stopped: ${event.message ?? "unknown error"}`));
  waiting.clear();
};

function ask(name, given, progress) {
  jobs += 1;
  const job = jobs;
  return new Promise((resolve, reject) => {
    waiting.set(job, { resolve, reject, progress });
    worker.postMessage({ job, name, ...given });
  });
}

/** The folder of this release, or of another one on the same shelf. */
export const folder = (release = null) => new URL(release === null ? "./" : `../${encodeURIComponent(release)}/`, location.href.split(/[?#]/)[0]).href;

export const load = (progress) => ask("load", { base: folder() }, progress);
export const features = (file) => ask("features", { base: folder(), file });
export const detail = (id) => ask("detail", { base: folder(), id });
export const compare = (release, progress) => ask("compare", { base: folder(release) }, progress);

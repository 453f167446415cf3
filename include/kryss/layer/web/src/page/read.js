// Reading the files of a release line by line: one Feature a line. `.gz` first, then the plain file; whether a body is still packed
// is seen from its first bytes, as some servers unpack on the way (Content-Encoding) and some do not.

export class ReadError extends Error {
  constructor(message, status = 0) {
    super(message);
    this.status = status;
  }
}

async function open(address, progress) {
  let answer;
  try {
    answer = await fetch(address, { credentials: "same-origin" });
  } catch {
    throw new ReadError(`${name(address)} cannot be fetched`);
  }
  if (!answer.ok) throw new ReadError(`${name(address)} is not there (HTTP ${answer.status})`, answer.status);
  const total = Number(answer.headers.get("content-length")) || 0;
  const reader = answer.body.getReader();
  let head = new Uint8Array(0);
  while (head.length < 2) {
    const { done, value } = await reader.read();
    if (done) break;
    head = head.length ? new Uint8Array([...head, ...value]) : value;
  }
  let read = head.length;
  const body = new ReadableStream({
    start: (controller) => head.length && controller.enqueue(head),
    async pull(controller) {
      const { done, value } = await reader.read();
      if (done) return controller.close();
      read += value.length;
      progress?.(read, total);
      controller.enqueue(value);
    },
    cancel: (reason) => reader.cancel(reason),
  });
  return head[0] === 0x1f && head[1] === 0x8b ? body.pipeThrough(new DecompressionStream("gzip")) : body;
}

const name = (address) => decodeURIComponent(new URL(address).pathname.split("/").pop());

/** Hands every line of the stream to `take`, until it returns true. */
async function eachLine(stream, take) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    let from = 0;
    for (let to = value.indexOf("\n"); to >= 0; to = value.indexOf("\n", from)) {
      const line = rest ? rest + value.slice(from, to) : value.slice(from, to);
      rest = "";
      from = to + 1;
      if (take(line)) return void (await reader.cancel());
    }
    rest += value.slice(from);
  }
  if (rest) take(rest);
}

/**
 * Every Feature of `base` + `file` (`objects.geojson`), to `take(feature)`; `only(line)` may pass over lines unread. Resolves to
 * {broken: lines that hold no JSON, head: the members before the Features}. ReadError where neither `.gz` nor the plain file can
 * be read. `restart()` is called before the second of the two is read, as the first may have broken off.
 */
export async function readFeatures(base, file, { take, only, progress, restart } = {}) {
  let problem = null;
  for (const address of [new URL(`${file}.gz`, base).href, new URL(file, base).href]) {
    try {
      const told = { broken: 0, head: {} };
      const [before, behind] = [[], []];
      let started = false;
      let ended = false;
      await eachLine(await open(address, progress), (line) => {
        const from = line.startsWith(",") ? 1 : 0;
        if (!started) {
          started = /"features":\s*\[\s*\]?/.test(line);
          ended = /"features":\s*\[\s*\]/.test(line);
          if (!started) before.push(line);
          return false;
        }
        if (ended || line.startsWith("]")) {
          behind.push(ended ? line : line.replace(/^\],?/, ""));
          ended = true;
          return false;
        }
        if (!line.trim() || (only && !only(line))) return false;
        let feature;
        try {
          feature = JSON.parse(from ? line.slice(1) : line);
        } catch {
          told.broken += 1;
          return false;
        }
        return take(feature) === true;
      });
      Object.assign(told.head, members(before.join("\n").trim().replace(/,$/, "") + "}"), members(`{${behind.join("\n")}`));
      if (!started && !ended) throw new ReadError(`${name(address)} is no layer of Kryss`);
      return told;
    } catch (error) {
      // That the plain file is not there says less than what was wrong with the packed one.
      problem = problem && problem.status !== 404 && error.status === 404 ? problem : error;
      restart?.();
    }
  }
  throw problem instanceof ReadError ? problem : new ReadError(`${file} breaks off and cannot be read`);
}

/** The members beside the Features; those that cannot be read are as if they were not there. */
function members(text) {
  try {
    return JSON.parse(text);
  } catch {
    return {};
  }
}

/** A JSON file, or ReadError. */
export async function readJson(address) {
  let answer;
  try {
    answer = await fetch(address, { credentials: "same-origin" });
  } catch {
    throw new ReadError(`${name(address)} cannot be fetched`);
  }
  if (!answer.ok) throw new ReadError(`${name(address)} is not there (HTTP ${answer.status})`, answer.status);
  try {
    return await answer.json();
  } catch {
    throw new ReadError(`${name(address)} holds no JSON`);
  }
}

// The slot that the page was published or served with: <script type="application/json" id="kryss">.

const EMPTY = { release: null, code: null, municipality: null, schema_version: null, api: null, basemap: null, signs: {} };

/** What stands in the slot, with every member present. A slot that holds no JSON counts as empty. */
export function config() {
  try {
    const read = JSON.parse(document.getElementById("kryss")?.textContent || "{}");
    return { ...EMPTY, ...(read && typeof read === "object" ? read : {}) };
  } catch {
    return { ...EMPTY };
  }
}

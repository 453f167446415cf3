// One HTML file with everything in it. Which of the three pages is built: `build.js`, through PAGE.
import { createHash } from "node:crypto";
import { existsSync, readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { defineConfig } from "vite";
import { viteSingleFile } from "vite-plugin-singlefile";

// The Content-Security-Policy of a page names its own scripts by hash, so that no other script can run in it.
const SCRIPT = /<script(?![^>]*application\/json)[^>]*>([^]*?)<\/script>/g;

// The licences of what is bundled ask that their texts go with every copy: they end the page, where it can show them.
function licences() {
  const [found, wanted] = [new Map(), ["maplibre-gl", "kdbush"]];
  while (wanted.length) {
    const name = wanted.pop();
    const folder = join(import.meta.dirname, "node_modules", name);
    if (found.has(name) || name.startsWith("@types/") || !existsSync(folder)) continue;
    const about = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
    const files = readdirSync(folder).filter((file) => /^licen[cs]e/i.test(file)).sort();
    const texts = files.map((file) => readFileSync(join(folder, file), "utf8").trim());
    found.set(name, [`${name} ${about.version} (${about.license})`, ...(texts.length ? texts : [`Copyright ${about.author?.name ?? about.author ?? `the authors of ${name}`}`])].join("\n\n"));
    wanted.push(...Object.keys(about.dependencies ?? {}));
  }
  const signs = readFileSync(join(import.meta.dirname, "NOTICE.signs.txt"), "utf8").trim();
  return [...[...found].sort(([one], [two]) => (one < two ? -1 : 1)).map(([, text]) => text), signs].join(`\n\n${"-".repeat(72)}\n\n`);
}

function hashes() {
  return {
    name: "kryss-script-hashes",
    enforce: "post",
    generateBundle: {
      order: "post",
      handler(_, bundle) {
        for (const file of Object.values(bundle)) {
          if (!file.fileName.endsWith(".html")) continue;
          const text = String(file.source);
          const found = [...text.matchAll(SCRIPT)].map((match) => `'sha256-${createHash("sha256").update(match[1]).digest("base64")}'`);
          const whole = text.replace("'sha256-scripts'", () => found.join(" "));
          // Only the map bundles libraries.
          const notices = file.fileName === "index.html" ? `<script type="text/plain" id="licences">\n${licences().replaceAll("</script", "<\\/script")}\n</script>\n` : "";
          file.source = whole.replace("</body>", () => `${notices}</body>`);
        }
      },
    },
  };
}

export default defineConfig({
  base: "./",
  plugins: [viteSingleFile({ removeViteModuleLoader: true }), hashes()],
  worker: { format: "iife" },
  build: {
    target: "es2022",
    outDir: "dist",
    emptyOutDir: false,
    reportCompressedSize: false,
    chunkSizeWarningLimit: 4096,
    rolldownOptions: { input: `${process.env.PAGE ?? "index"}.html` },
  },
});

// One HTML file with everything in it. Which of the three pages is built: `build.js`, through PAGE.
import { createHash } from "node:crypto";
import { defineConfig } from "vite";
import { viteSingleFile } from "vite-plugin-singlefile";

// The Content-Security-Policy of a page names its own scripts by hash, so that no other script can run in it.
const SCRIPT = /<script(?![^>]*application\/json)[^>]*>([^]*?)<\/script>/g;

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
          file.source = text.replace("'sha256-scripts'", () => found.join(" "));
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

// node build.js [index] [report] ...: builds these pages (none named: every *.html here) into dist/, one file each.
import { readdirSync } from "node:fs";
import { build } from "vite";

const all = readdirSync(import.meta.dirname).filter((name) => name.endsWith(".html"));
const named = process.argv.slice(2);
for (const page of named.length ? named : all.sort().map((name) => name.slice(0, -5))) {
  process.env.PAGE = page;
  await build({ root: import.meta.dirname, logLevel: "warn" });
}

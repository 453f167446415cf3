// node build.js [index] [report] [qa]: builds these pages (none named: all of them) into dist/, one file each.
import { build } from "vite";

const named = process.argv.slice(2);
for (const page of named.length ? named : ["index", "report", "qa"]) {
  process.env.PAGE = page;
  await build({ logLevel: "warn" });
}

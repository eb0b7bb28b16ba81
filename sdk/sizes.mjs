/** Fails when a built script is larger, gzipped, than sizes.json allows. `node sizes.mjs` after `node build.mjs`. */
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";

const here = dirname(fileURLToPath(import.meta.url));
const budgets = JSON.parse(readFileSync(join(here, "sizes.json"), "utf8"));
let over = 0;
for (const [file, budget] of Object.entries(budgets)) {
  const size = gzipSync(readFileSync(join(here, "dist", file)), { level: 9 }).length;
  if (size > budget) over++;
  if (size > budget || !process.argv.includes("--quiet")) {
    console.log(`${size > budget ? "OVER" : "  ok"}  ${file.padEnd(10)} ${String(size).padStart(6)} of ${String(budget).padStart(6)} bytes`);
  }
}
process.exitCode = over ? 1 : 0;

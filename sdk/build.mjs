/**
 * Builds the SDK into dist/: sdk.js, errors.js and their chunks as scripts, esm/ for bundlers, types/ with --types.
 *
 * The chunks come first: the scripts that load them carry their `integrity`. `--out DIR` builds elsewhere.
 */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const version = `${JSON.parse(readFileSync(join(here, "package.json"), "utf8")).version}-${hashOfSources()}`;
const target = process.argv.includes("--out") ? resolve(process.argv[process.argv.indexOf("--out") + 1]) : join(here, "dist");
const out = `${target}.${process.pid}`; // renamed at the end: who reads the target finds one build or the other
process.on("exit", () => rmSync(out, { recursive: true, force: true })); // of a build that failed
const esbuild = await tool("esbuild");
const terser = await tool("terser");

/** Four digits that change with what is built: files under /sdk/VERSION/ are cached for ever, also between two releases. */
function hashOfSources() {
  const digest = createHash("sha256");
  const files = readdirSync(join(here, "src"), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name));
  for (const file of [...files, join(here, "package-lock.json"), fileURLToPath(import.meta.url)].sort()) digest.update(readFileSync(file));
  return digest.digest("hex").slice(0, 4);
}

/** The SDK's own, or what builds the dashboard's assets: that is there before the SDK's development packages are. */
async function tool(name) {
  for (const folder of [here, join(here, "..", "appliance", "web")]) {
    try {
      return await import(createRequire(join(folder, "package.json")).resolve(name));
    } catch (error) {
      if (error.code !== "MODULE_NOT_FOUND") throw error;
    }
  }
  throw new Error(`${name} is missing: npm ci in sdk/ or in appliance/web/`);
}

const shared = {
  absWorkingDir: here,
  bundle: true,
  sourcemap: true,
  target: "es2022",
  legalComments: "none", // LICENSES.txt has them
  logLevel: "warning",
};

/** rrweb carries the text of a worker that films canvases; src/replay/record.ts never starts it. */
const withoutWorker = {
  name: "without-worker",
  setup(build) {
    build.onLoad({ filter: /@rrweb[\\/]record[\\/]dist[\\/]record\.js$/ }, ({ path }) => {
      const text = readFileSync(path, "utf8");
      const contents = text.replace(/const jsContent = '(?:[^'\\]|\\.)*';/, 'const jsContent = "";');
      if (contents === text) throw new Error("rrweb's worker is not where it was: see withoutWorker in build.mjs");
      return { contents, loader: "js" };
    });
  },
};

/** A script for pages. terser takes 5 % more off than esbuild's own minifier, which for 10 kB is a feature's size. */
async function script(entry, file, chunks) {
  const { outputFiles } = await esbuild.build({
    ...shared,
    entryPoints: [`src/${entry}.ts`],
    outfile: join(out, file),
    format: "iife",
    minify: true, // finds some things that terser does not
    tsconfigRaw: { compilerOptions: { strict: false } }, // no "use strict"
    write: false,
    // What rrweb has to say to the console is nobody's business: the SDK logs under `debug` alone.
    ...(entry === "cdn-replay" && { plugins: [withoutWorker], drop: ["console"] }),
    define: { __VERSION__: JSON.stringify(version), __CHUNKS__: JSON.stringify(chunks) },
  });
  const [map, code] = outputFiles.map(({ text }) => text);
  const small = await terser.minify(code, {
    ecma: 2020,
    toplevel: true,
    compress: { passes: 6, unsafe_arrows: true, unsafe_methods: true, keep_fargs: false },
    // V8 then compiles in the thread that loads it, which no page feels, instead of one function after the other when
    // they are first called: a third of what the start costs. errors.js has no 30 bytes for it.
    ...(file === "sdk.js" && { format: { preamble: "//# allFunctionsCalledOnLoad" } }),
    // Whoever serves it names the map in a header: the comment would be 30 bytes of each first visit.
    sourceMap: { content: map, filename: file, includeSources: true },
  });
  writeFileSync(join(out, file), small.code);
  writeFileSync(join(out, `${file}.map`), small.map);
}

const integrityOf = (file, hash = "sha256") => `${hash}-${createHash(hash).update(readFileSync(join(out, file))).digest("base64")}`;

mkdirSync(out, { recursive: true });

const integrity = {};
for (const chunk of ["vitals", "replay"]) {
  await script(`cdn-${chunk}`, `${chunk}.js`, {});
  integrity[chunk] = integrityOf(`${chunk}.js`);
}
await script("cdn-idle", "idle.js", integrity);
const idle = { idle: integrityOf("idle.js") };
await script("cdn", "sdk.js", idle);
await script("cdn-errors", "errors.js", idle);

const entries = ["index", "errors-only", "frameworks/react", "frameworks/vue", "frameworks/next"];
await esbuild.build({
  ...shared, // not minified: the page's own bundler does that
  entryPoints: entries.map((entry) => ({ in: `src/${entry}.ts`, out: entry.replace("frameworks/", "") })),
  outdir: join(out, "esm"),
  format: "esm",
  splitting: true,
  chunkNames: "chunks/[name]-[hash]",
  packages: "external",
  define: { __VERSION__: JSON.stringify(version), __CHUNKS__: "{}" },
});

const scripts = ["sdk.js", "errors.js", "vitals.js", "idle.js", "replay.js"];
writeFileSync(join(out, "integrity.json"), `${JSON.stringify({ version, files: Object.fromEntries(scripts.map((file) => [file, integrityOf(file, "sha384")])) }, null, 2)}\n`);
writeFileSync(join(out, "LICENSES.txt"), ["web-vitals", "@rrweb/record"].map(licence).join("\n"));

function licence(name) {
  const folder = join(here, "node_modules", name);
  for (const file of ["LICENSE", "LICENSE.md"]) {
    try {
      return `── ${name} ──\n${readFileSync(join(folder, file), "utf8")}`;
    } catch (error) {
      if (error.code !== "ENOENT") throw error;
    }
  }
  const { license } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
  return `── ${name} ──\n${license}\n`;
}

if (process.argv.includes("--types")) {
  const tsc = join(here, "node_modules", "typescript", "bin", "tsc");
  execFileSync(process.execPath, [tsc, "-p", "tsconfig.types.json", "--outDir", join(out, "types")], { cwd: here, stdio: "inherit" });
}

rmSync(target, { recursive: true, force: true });
renameSync(out, target);

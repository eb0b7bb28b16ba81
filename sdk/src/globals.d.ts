/** The package's version; build.mjs and vitest.config.ts put it in. */
declare const __VERSION__: string;
/** Of the script build: a chunk's file and its `integrity`, by the chunk's name. */
declare const __CHUNKS__: Record<string, [file: string, integrity: string]>;

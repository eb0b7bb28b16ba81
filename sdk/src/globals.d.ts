/** The package's version; build.mjs and vitest.config.ts put it in. */
declare const __VERSION__: string;
/** Of the script build: the `integrity` of the chunks that are built before this script. */
declare const __CHUNKS__: Record<string, string>;

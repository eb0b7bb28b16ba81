/** The npm package: everything, with its chunks loaded by the page's own bundler. */
import { initWith } from "./api";
import type { Build } from "./client";
import { defaultIntegrations } from "./defaults";
import type { Chunks, Client, Options } from "./types";

export * from "./api";
export { getClient } from "./current";
export { checkWhiteScreen } from "./integrations/whitescreen";
export { startReplay } from "./integrations/replay";
export type * from "./types";

const build: Build = {
  integrations: defaultIntegrations,
  load: (chunk) => chunks[chunk](),
};
const chunks: { [Name in keyof Chunks]: () => Promise<Chunks[Name]> } = {
  idle: () => import("./idle"),
  vitals: () => import("./vitals"),
  replay: () => import("./replay"),
};

/** Reports what happens in this page from now on. */
export const init = (options: Options): Client => initWith(options, build);

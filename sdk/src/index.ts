/** The npm package: everything, with its chunks loaded by the page's own bundler. */
import { initWith } from "./api";
import type { Build } from "./client";
import { defaultIntegrations } from "./defaults";
import type { Chunks, Client, Options } from "./types";

export * from "./api";
import { getClient } from "./current";
export { getClient };
export { checkWhiteScreen } from "./integrations/whitescreen";
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

/** Record from now on, whatever was drawn; false when there is no client, or the server has switched replays off. */
export async function startReplay(): Promise<boolean> {
  const client = getClient();
  return client ? (await client.load("idle")).startReplay(client) : false;
}

/** Reports what happens in this page from now on. */
export const init = (options: Options): Client => initWith(options, build);

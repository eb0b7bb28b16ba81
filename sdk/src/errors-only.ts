/** The npm package's `./errors`, and errors.js: what nobody caught and what the page captures; nothing else is watched. */
import { initWith } from "./api";
import type { Build } from "./client";
import { errors } from "./integrations/errors";
import type { Client, Options } from "./types";

export * from "./api";
export { getClient } from "./current";
export type * from "./types";

const build: Build = {
  integrations: () => [errors],
  load: () => import("./idle") as never,
};

export const init = (options: Options): Client => initWith({ ...options, errorsOnly: true } as Options, build);

/**
 * The page's one client. Apart from everything else, so that `./react`, `./vue` and `./next` find it without carrying
 * a build of their own: the page chose the full one or `./errors`.
 */
import type { Client } from "./types";

let current: Client | undefined;

/** The client that `init` made; undefined before that and after `close`. */
export function getClient(): Client | undefined {
  return current;
}

/** Gives it back. */
export function setClient<T extends Client | undefined>(client: T): T {
  current = client;
  return client;
}

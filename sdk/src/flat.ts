/** What a page attached to an error or a breadcrumb, bounded: reading all of it could be slow, endless, or run the page's code. */
import { brief } from "./selector";
import type { Data } from "./types";

const MAX_KEYS = 10;
const MAX_TEXT = 300; // characters of one value

/** A copy of the first level; of what is nested only the kind. */
export function flat(data: object): Data {
  return Object.fromEntries(
    Object.entries(data)
      .slice(0, MAX_KEYS)
      // Numbers, booleans and undefined stay what they are.
      .map(([key, value]) => [key, /^[nbu]/.test(typeof value) ? value : brief(value).slice(0, MAX_TEXT)]),
  );
}

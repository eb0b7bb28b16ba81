/** What a page attached to an error or a breadcrumb, bounded: reading all of it could be slow, endless, or run the page's code. */
import { kindOf } from "./selector";
import type { Data } from "./types";

const MAX_KEYS = 10;
const MAX_TEXT = 300; // characters of one value

export const isObject = (value: unknown): value is object => Object(value) === value;

/** A copy of the first level; of what is nested only the kind. */
export function flat(data: object): Data {
  const entries = Object.entries(data).slice(0, MAX_KEYS);
  return Object.fromEntries(
    entries.map(([key, value]) => [key, isObject(value) ? kindOf(value) : typeof value === "string" ? value.slice(0, MAX_TEXT) : value]),
  );
}

/**
 * The debug ids that bundlers' plugins write into a page: a global of stack text → id, where the stack was taken inside
 * the bundle. They say which source map belongs to a script, whatever its address.
 */
import type { Exception } from "./types";
import { cleanStack } from "./urls";

type Global = Partial<Record<"_sentryDebugIds" | "_debugIds", Record<string, string>>>;

const files: Record<string, string> = {}; // stack text → the script that it was taken in

/** The script at the top of a stack, in every browser's form; without its query, as in what is sent. */
export function scriptOf(stack?: string): string | undefined {
  return /([a-z-]+:\/\/[^\s()]+?):\d+(?::\d+)?\)?$/m.exec(cleanStack(stack) || "")?.[1];
}

/** The ids of the scripts in these stacks, by address. */
export function debugIdsOf(exceptions: Exception[] = []): Record<string, string> | undefined {
  const stacks = exceptions.map((one) => one.stack).join();
  const { _sentryDebugIds, _debugIds } = globalThis as Global;
  let found: Record<string, string> | undefined;
  for (const [stack, id] of Object.entries({ ..._sentryDebugIds, ..._debugIds })) {
    const file = (files[stack] ||= scriptOf(stack) || "\0"); // which is in none
    if (stacks.includes(file)) (found ||= {})[file] = id;
  }
  return found;
}

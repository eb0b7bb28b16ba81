/** Patterns of the options: a text is found anywhere in the value, an expression is tested. */
import type { Pattern } from "./types";

export function matches(value: string, patterns: readonly Pattern[] = []): boolean {
  return patterns.some((pattern) => (typeof pattern === "string" ? value.includes(pattern) : value.search(pattern) >= 0));
}

/** Patterns of the options: a text is found anywhere in the value, an expression is tested. */
import type { Client, Pattern } from "./types";

export function matches(value: string, patterns: readonly Pattern[] = []): boolean {
  return patterns.some((pattern) => (typeof pattern === "string" ? value.includes(pattern) : value.search(pattern) >= 0));
}

/** Whether an address is the SDK's: the key is in all that it sends and asks for, the version in those of its chunks. */
export const isOwn = ({ endpoint }: Client, address: string): boolean => matches(address, [endpoint.replace(/.*\//, ""), `/${__VERSION__}/`]);

/**
 * Random ids. Not from `Math.random` alone: a page may have put a generator of its own there, which gives each visitor
 * the same numbers. Where `crypto` is missing chance is poorer, and still enough for ids.
 */

/** 32 lower-case hex digits, of which a span's id takes the last 16. */
export function newId(): string {
  const random = globalThis.crypto?.getRandomValues?.(new Uint8Array(32));
  return "0".repeat(32).replace(/0/g, (_, at: number) => ((random?.[at] ?? Math.random() * 256) & 15).toString(16));
}

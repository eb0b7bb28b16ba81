/** Random ids. Where `crypto` is missing chance is poorer, and still enough for ids. */

/** 32 lower-case hex digits, of which a span's id takes the last 16. */
export const newId = (): string =>
  "0".repeat(32).replace(/0/g, () => ((globalThis.crypto?.getRandomValues?.(new Uint8Array(1))[0] ?? Math.random() * 256) & 15).toString(16));

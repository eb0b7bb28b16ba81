/** Random ids. Where `crypto` is missing chance is poorer, and still enough for ids. */

/** 32 lower-case hex digits, of which a span's id takes the last 16. */
export function newId(): string {
  const random = globalThis.crypto?.getRandomValues?.(new Uint8Array(16));
  let id = "";
  for (let index = 0; index < 16; index++) id += (random?.[index] ?? Math.floor(Math.random() * 256)).toString(16).padStart(2, "0");
  return id;
}

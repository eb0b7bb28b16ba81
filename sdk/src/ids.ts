/** Random ids. Where `crypto` is missing (old views, insecure contexts) chance is poorer, and still enough for ids. */

/** 32 lower-case hex digits, of which a span's id takes the last 16. */
export function newId(): string {
  const bytes = new Uint8Array(16);
  if (globalThis.crypto?.getRandomValues) crypto.getRandomValues(bytes);
  else bytes.forEach((_, index) => (bytes[index] = Math.random() * 256));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

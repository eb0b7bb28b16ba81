/** Elements as short, readable selectors: never with text, values or addresses in them. */

const DEPTH = 4;
const MAX_NAME = 60; // characters of one attribute
const ATTRIBUTES = ["data-testid", "aria-label", "name", "type"];

/** `form#pay > button.primary[type=submit]`; `window` and the like by their kind. */
export function selectorOf(target: unknown): string {
  const parts: string[] = [];
  let node = target as Element | null | undefined; // or what is around one
  let id = ""; // which is one place, so that what is around it says no more
  while (node && !id && parts.length < DEPTH) {
    if (node.nodeType === 1) {
      // Not the property, which of a form is its field of that name.
      const read = (name: string): string => ((node as Element).getAttribute(name) || "").slice(0, MAX_NAME);
      id = read("id");
      const named = [...node.classList].slice(0, 2).map((name) => `.${name}`);
      for (const name of ATTRIBUTES) if (read(name)) named.push(`[${name}=${read(name)}]`);
      parts.unshift(node.localName + (id ? `#${id}` : named.join("")));
    }
    node = (node.parentNode || (node as Partial<ShadowRoot>).host) as Element | undefined;
  }
  return parts.join(" > ") || brief(target);
}

/** A primitive as text; of anything else its kind, "Array" or "Response": reading it could be slow or run the page's code. */
export function brief(value: unknown): string {
  return isObject(value) ? ({}).toString.call(value).slice(8, -1) : String(value);
}

export const isObject = (value: unknown): value is object => Object(value) === value;

/** Elements as short, readable selectors: never with text, values or addresses in them. */

const DEPTH = 4;
const MAX_NAME = 60; // characters of one attribute
const ATTRIBUTES = ["data-testid", "aria-label", "name", "type", "role"];

/** `form#pay > button.primary[type=submit]`; `window` and the like by their kind. */
export function selectorOf(target: unknown): string {
  const parts: string[] = [];
  let node = target as Node | null | undefined;
  while (node && parts.length < DEPTH) {
    if (node.nodeType === 1) {
      const element = node as Element;
      parts.unshift(described(element));
      if (element.id) break; // an id is one place
    }
    node = node.parentNode || (node as Partial<ShadowRoot>).host;
  }
  return parts.join(" > ") || kindOf(target);
}

/** "Window", "Array", "Response", … without reading anything of the page's. */
export function kindOf(value: unknown): string {
  return Object.prototype.toString.call(value).slice(8, -1);
}

function described(element: Element): string {
  let text = element.localName;
  if (element.id) return `${text}#${element.id.slice(0, MAX_NAME)}`;
  for (const name of [...element.classList].slice(0, 2)) text += `.${name.slice(0, MAX_NAME)}`;
  for (const name of ATTRIBUTES) {
    const value = element.getAttribute(name);
    if (value) text += `[${name}=${value.slice(0, MAX_NAME)}]`;
  }
  return text;
}

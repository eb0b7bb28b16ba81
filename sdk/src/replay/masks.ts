/** What of a page is not recorded. scrub.ts applies it to everything that leaves the recorder. */
import type { ReplayOptions } from "../types";

export interface Masks {
  /** Whether words are masked unless they are said to be harmless. */
  readonly byDefault: boolean;
  readonly blockSelector: string;
  readonly ignoreSelector: string;
  /** The text of an element, or stars. */
  text(text: string, element: Element | undefined): string;
  /** The value of an input, or stars. */
  value(text: string, element: Element | undefined): string;
}

const MASK = "[data-condev-mask]";
const UNMASK = "[data-condev-unmask]";
/** Never recorded, whatever the page says. `data-rr-is-password`: it was one before the page showed what was typed. */
const SECRET = "[type=password],[data-rr-is-password],[autocomplete*=password],[autocomplete*=cc-],[autocomplete*=one-time-code]";

const stars = (text: string): string => text.replace(/\S/g, "*");

export function createMasks(options: ReplayOptions, log: (...args: unknown[]) => void): Masks {
  const { maskText: byDefault = true, maskInputs = true } = options;
  const joined = (own: string, selector: string | undefined, otherwise: string): string => {
    try {
      if (!selector) return own;
      document.createDocumentFragment().querySelector(selector);
      return `${own},${selector}`;
    } catch {
      log("not a selector", selector);
      return `${own}${otherwise}`;
    }
  };
  // One that cannot be read hides everything rather than nothing.
  const mask = joined(MASK, options.maskSelector, ",*");
  const unmask = joined(UNMASK, options.unmaskSelector, "");

  /** By the nearest element that says something, through the edges of shadow trees; `otherwise` where none does. */
  function isMasked(element: Element | undefined, otherwise: boolean): boolean {
    let at: Element | undefined = element;
    while (at) {
      const said = at.closest(`${mask},${unmask}`);
      if (said) return said.matches(mask);
      at = (at.getRootNode() as Partial<ShadowRoot>).host;
    }
    return otherwise;
  }

  return {
    byDefault,
    blockSelector: joined("[data-condev-block]", options.blockSelector, ",*"),
    ignoreSelector: joined("[data-condev-ignore]", options.ignoreSelector, ",*"),
    text: (text, element) => (isMasked(element, byDefault) ? stars(text) : text),
    value: (text, element) => (!element || element.matches(SECRET) || isMasked(element, maskInputs) ? stars(text) : text),
  };
}

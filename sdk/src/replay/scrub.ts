/**
 * Words, values and addresses in rrweb's events. rrweb's own masking knows neither attributes nor text that stands
 * directly in a shadow root, so everything passes here before it leaves the recorder.
 */
import { cleanUrl } from "../urls";
import type { Masks } from "./masks";

export type Attributes = Record<string, unknown>;

/** As rrweb serialises nodes; only what is looked at here. */
export interface Serialized {
  id: number;
  type: number;
  tagName?: string;
  textContent?: string;
  attributes?: Attributes;
  childNodes?: Serialized[];
}

/** rrweb's event, of which only this much is looked at. */
export interface Found {
  type: number;
  timestamp: number;
  data: {
    source?: number;
    id?: number;
    text?: string;
    href?: unknown;
    node?: Serialized;
    adds?: { node: Serialized }[];
    texts?: { id: number; value: string | null }[];
    attributes?: { id: number; attributes: Attributes }[];
  };
}

const INPUT = 5; // rrweb's source of an input event
const WORDS = /^(title|alt|label|placeholder|summary|content|abbr|aria-(label|description|placeholder|roledescription|valuetext|braille\w*))$/;
const ADDRESS = /^(href|src|action|formaction|poster|data|cite|background|longdesc|rr_src|xlink:href)$/;
const GONE = /^(on\w+|srcdoc|srcset|imagesrcset|nonce|integrity|ping)$/;
const SCHEME = /^\s*(?!data:|blob:|https?:)[\w+.-]+:(?!\/\/)/i; // mailto:, tel:, sms: … what follows is a person's
const PLAIN = /^(id|class|slot|part|exportparts|is|role|dir|lang|hidden|tabindex|width|height|disabled|checked|selected|open|(aria|data)-.*|rr_.*)$/; // not a component's own
const TELLING = /[\s@]|\d{4}/; // in data-*: a state is one word, a person's data is not
const MAX_IMAGE = 20_000; // characters of an image within the page: icons stay, photographs go

export function scrub({ data }: Found, masks: Masks, nodeOf: (id: number) => Node | null): void {
  const elementOf = (id: number): Element | undefined => {
    const node = nodeOf(id);
    if (!node) return undefined;
    // Not instanceof: it may be of a frame, which has classes of its own.
    if (node.nodeType === 1) return node as Element;
    return node.parentElement || (node.parentNode as ShadowRoot | null)?.host;
  };
  const words = (text: string, id: number): string => (/[^\s*]/.test(text) ? masks.text(text, elementOf(id)) : text);

  /** A component's attributes may say anything, in one word too: `<user-card name="Ada">`. Of what is gone nobody knows what it was. */
  const isTelling = (name: string, value: string, tag = "-"): boolean =>
    name.startsWith("data-") ? TELLING.test(value) : tag.includes("-") && !PLAIN.test(name);

  function attributes(found: Attributes, id: number, tag = elementOf(id)?.localName): void {
    for (const [name, value] of Object.entries(found)) {
      if (GONE.test(name)) delete found[name];
      else if (name === "_cssText") found[name] = styles(String(value));
      else if (name === "style") found[name] = JSON.parse(styles(JSON.stringify(value)));
      else if (typeof value !== "string") continue;
      else if (ADDRESS.test(name)) {
        const scheme = SCHEME.exec(value)?.[0];
        found[name] = scheme ? scheme + words(value.slice(scheme.length), id) : address(value);
      }
      else if (name === "value") found[name] = masks.value(value, elementOf(id));
      else if (WORDS.test(name) || (masks.byDefault && isTelling(name, value, tag))) found[name] = words(value, id);
    }
  }

  function tree(root: Serialized): void {
    const waiting = [root];
    for (let node = waiting.pop(); node; node = waiting.pop()) {
      if (node.attributes) attributes(node.attributes, node.id, node.tagName);
      for (const child of node.childNodes || []) {
        if (child.type !== 3) waiting.push(child);
        else if (node.tagName !== "style") child.textContent = words(child.textContent || "", child.id);
      }
    }
    if (root.type === 3) root.textContent = words(root.textContent || "", root.id);
  }

  if (typeof data.href === "string") data.href = cleanUrl(data.href);
  if (data.node) tree(data.node);
  for (const { node } of data.adds || []) tree(node);
  for (const change of data.attributes || []) attributes(change.attributes, change.id);
  for (const change of data.texts || []) if (change.value && elementOf(change.id)?.tagName !== "STYLE") change.value = words(change.value, change.id);
  if (data.source === INPUT && data.text && data.id) data.text = masks.value(data.text, elementOf(data.id));
}

const address = (url: string): string => (/^data:image\//i.test(url) && url.length < MAX_IMAGE ? url : cleanUrl(url));

/** Of a style sheet; or of JSON, where a style may be a text or what changed of it. */
const styles = (json: string): string => json.replace(/url\((\\?["'])?([^)]*?)\1?\)/g, (_, _quote, url: string) => `url('${address(url)}')`);

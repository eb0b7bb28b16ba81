/** Items to the text that travels: one header line, then one line an item, the most urgent first (docs/protocol.md). */
import { newId } from "./ids";
import type { Category, Client, EventItem, Item, Json, OutcomeItem, Stored } from "./types";

export const SDK = { name: "condev.browser", version: __VERSION__ };

// A page that goes away may send 64 KiB, of all its scripts together: an envelope stays well below it.
const MAX_ENVELOPE = 50_000;
const MAX_EVENT = 40_000; // characters; a usual one has 5,000
const MAX_TEXT = 16_000; // of one value in an event; stacks are the longest useful ones
const MAX_DEPTH = 12; // of what a page puts into contexts and extra
const MAX_ENTRIES = 200; // of one object or array there

/** An item as text. */
export interface Line {
  category: Category;
  n: number | undefined;
  text: string;
}

/** In the order in which they are sent, and of importance to the server. */
const ORDER: Category[] = ["error", "page_view", "measurement", "span", "outcome", "replay"];

export function categoryOf({ type }: Item): Category {
  return type === "event" ? "error" : type === "replay_segment" ? "replay" : type;
}

/** Undefined when it is too large to be sent, whatever is left out. */
export function lineOf(item: Item): Line | undefined {
  let text = JSON.stringify(item.type === "event" ? readable(item, 0) : item);
  if (item.type === "event" && text.length > MAX_EVENT) {
    const { extra, contexts, breadcrumbs = [], ...rest } = item;
    const less: EventItem = { ...rest, breadcrumbs: breadcrumbs.slice(-10), tags: { ...rest.tags, "condev.cut": "extra, contexts, breadcrumbs" } };
    text = JSON.stringify(readable(less, 0));
    if (text.length > MAX_EVENT) return undefined;
  }
  return { category: categoryOf(item), n: item.n, text };
}

/** A copy that JSON can say: a page's data may be circular, endless, or throw when it is read. */
function readable(value: unknown, depth: number): Json {
  if (typeof value === "string") return value.slice(0, MAX_TEXT);
  if (!value || typeof value !== "object") return /^[bnu]/.test(typeof value) && typeof value !== "bigint" ? (value as Json) : String(value);
  if (depth > MAX_DEPTH) return "…";
  try {
    if (Array.isArray(value)) return value.slice(0, MAX_ENTRIES).map((one) => readable(one, depth + 1));
    const { toJSON } = value as { toJSON?: unknown };
    if (typeof toJSON === "function") return readable(toJSON.call(value), depth + 1);
    if (value instanceof Error || value instanceof Node) return String(value);
    return Object.fromEntries(
      Object.entries(value)
        .slice(0, MAX_ENTRIES)
        .map(([name, one]) => [name, readable(one, depth + 1)]),
    );
  } catch (error) {
    return `[${String(error)}]`;
  }
}

/** As many envelopes as the lines need. A replay segment, which is large and less important, travels alone. */
export function pack(client: Client, lines: Line[]): Stored[] {
  const sorted = [...lines].sort((a, b) => ORDER.indexOf(a.category) - ORDER.indexOf(b.category));
  const made: Stored[] = [];
  let part: Line[] = [];
  let size = 0;
  const finish = (): void => {
    if (part[0]) made.push(envelope(client, part));
    part = [];
    size = 0;
  };
  for (const line of sorted) {
    if (size + line.text.length > MAX_ENVELOPE || line.category === "replay") finish();
    part.push(line);
    size += line.text.length;
  }
  finish();
  return made;
}

function envelope(client: Client, lines: Line[]): Stored {
  const { page, session, options, scope } = client;
  const { connection, deviceMemory } = navigator as { connection?: { effectiveType?: string }; deviceMemory?: number };
  const has = new Set(lines.map(({ category }) => (category === "error" ? "event" : category === "replay" ? "replay_segment" : category)));
  const id = newId();
  const at = client.now();
  const header = {
    v: 2,
    id,
    sent_at: at,
    has: [...has],
    sdk: SDK,
    page_view: { id: page.id, started: page.started, url: page.url, route: page.route, referrer: page.referrer, title: page.title },
    session: { id: session.id, started: session.started, status: session.status, errors: session.errors },
    last: page.sequence,
    release: options.release,
    dist: options.dist,
    environment: options.environment,
    user: scope.user,
    tags: scope.tags,
    viewport: [innerWidth, innerHeight],
    screen: [screen.width, screen.height],
    connection: connection?.effectiveType,
    memory: deviceMemory,
    language: navigator.language,
    timezone: Intl.DateTimeFormat().resolvedOptions().timeZone,
  };
  return stored(id, at, header, lines);
}

function stored(id: string, at: number, header: object, lines: Line[]): Stored {
  const counts: Stored["counts"] = [];
  for (const { category, n } of lines) {
    if (!n) continue;
    const last = counts.at(-1);
    if (last?.[0] === category) last[1].push(n);
    else counts.push([category, [n]]);
  }
  return { id, at, body: [JSON.stringify(header), ...lines.map(({ text }) => text)].join("\n"), counts };
}

/** What is left of an envelope that will not be sent: an envelope of the same page view that says so. */
export function obituary({ body, counts }: Stored, reason: string, at: number): Stored {
  const [first = "", ...rest] = body.split("\n");
  const id = newId();
  const lines: Line[] = counts.map(([category, numbers]) => {
    const outcome: OutcomeItem = { type: "outcome", at, reason, category, quantity: numbers.length, numbers };
    return { category: "outcome", n: undefined, text: JSON.stringify(outcome) };
  });
  for (const text of rest) if (text.startsWith('{"type":"outcome"')) lines.push({ category: "outcome", n: undefined, text });
  return stored(id, at, { ...(JSON.parse(first) as object), id, sent_at: at, has: ["outcome"] }, lines);
}

/** The body with the time at which it is sent. */
export function stamped({ body }: Stored, at: number): string {
  return body.replace(/"sent_at":\d+/, `"sent_at":${at}`);
}

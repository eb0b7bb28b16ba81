/** Items to the text that travels: one header line, then one line an item, the most urgent first (docs/protocol.md). */
import { newId } from "./ids";
import type { Category, Client, EventItem, Item, Stored } from "./types";

/** Where envelopes go; the SDK's name in it spares each header that. */
export const addressOf = (client: Client): string => `${client.endpoint}?sdk=condev.browser/${__VERSION__}`;

/** The data base of what could not be sent. */
export const queueOf = (client: Client): string => `condev:${client.endpoint}`;

/** A content type that no CORS preflight asks about. */
export const TYPE = "text/plain;charset=UTF-8";

// A page that goes away may send 64 KiB, of all its scripts together: an envelope stays well below it.
const MAX_ENVELOPE = 50_000;
const MAX_EVENT = 40_000; // characters; a usual one has 5,000
const MAX_TEXT = 16_000; // of one value in an event; stacks are the longest useful ones
const MAX_OBJECTS = 1000; // of what a page puts into an event: it may be its whole store

/** An item as text. */
export interface Line {
  type: Item["type"];
  n: number | undefined;
  text: string;
}

export const categoryOf = (type: Item["type"]): Category => type.replace("event", "error").replace("_segment", "") as Category;

/** The text is empty when the item is too large to be sent, whatever is left out. */
export function lineOf(item: Item): Line {
  const { type, n } = item;
  return { type, n, text: type === "event" ? eventText(item) || eventText(cut(item)) : JSON.stringify(item) };
}

const cut = ({ extra, contexts, breadcrumbs, ...rest }: EventItem): EventItem => ({ ...rest, tags: { ...rest.tags, "condev.cut": true } });

/** Empty when it is too large. A page's data may be circular, endless, or throw when they are read. */
function eventText(event: EventItem): string {
  const seen = new Set<unknown>();
  try {
    const text = JSON.stringify(event, (_, value: unknown) => {
      if (typeof value === "string") return value.slice(0, MAX_TEXT);
      if (typeof value === "bigint" || value instanceof Node || seen.has(value) || seen.size > MAX_OBJECTS) return String(value);
      if (Object(value) === value) seen.add(value);
      return value;
    });
    return text.length > MAX_EVENT ? "" : text;
  } catch {
    return "";
  }
}

/** As many envelopes as the lines need. A replay segment, which is large and less important, travels alone. */
export function pack(client: Client, lines: Line[]): Stored[] {
  const parts: Line[][] = [];
  let size = Infinity;
  // By the alphabet events come first, which is all that matters; localeCompare takes 10 ms to begin.
  for (const line of lines.sort((a, b) => (a.type < b.type ? -1 : +(a.type > b.type)))) {
    const own = /^r/.test(line.type) ? Infinity : line.text.length;
    size += own;
    if (size > MAX_ENVELOPE) {
      parts.push([]);
      size = own;
    }
    (parts.at(-1) as Line[]).push(line);
  }
  return parts.map((part) => envelope(client, part));
}

function envelope(client: Client, lines: Line[]): Stored {
  const { session, options, scope } = client;
  const { traceId, sequence, ...page } = client.page;
  const { release, dist, environment } = options;
  const { connection, deviceMemory, language } = navigator as Navigator & { connection?: { effectiveType?: string }; deviceMemory?: number };
  const numbers: Stored["numbers"] = {};
  for (const { type, n } of lines) (numbers[type] ||= []).push(n as number); // an outcome has none, and nobody looks there
  const id = newId();
  const at = client.now();
  const header = {
    v: 2,
    id,
    sent_at: at,
    has: Object.keys(numbers),
    page_view: page,
    session,
    last: sequence,
    release,
    dist,
    environment,
    user: scope.user,
    tags: scope.tags,
    viewport: [innerWidth, innerHeight],
    screen: [screen.width, screen.height],
    connection: connection?.effectiveType,
    memory: deviceMemory,
    language,
    timezone: client.timezone,
  };
  return { id, at, body: [JSON.stringify(header), ...lines.map(({ text }) => text)].join("\n"), numbers };
}

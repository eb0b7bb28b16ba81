/** A replay on its way: events are gathered into segments, compressed where the browser can, and captured as they fill. */
import type { Client, ReplayOptions, ReplaySegment } from "../types";
import { gzip } from "./gzip";
import type { Kept } from "./resume";

const SEGMENT_SIZE = 250_000; // characters of JSON; as base64 of gzip about a fifth
const SEGMENT_MS = 5_000;
const MAX_SENT = 400_000; // characters; more than that the transport does not keep in memory
const MAX_SIZE = 20_000_000; // characters of JSON of one replay
const MAX_MINUTES = 60;
const MAX_IDS = 100; // errors, traces and addresses of one segment

export interface Sink {
  readonly id: string;
  /** False when the replay has become as long or as large as it may. */
  add(json: string, at: number): boolean;
  error(id: string): void;
  page(url: string): void;
  /** `last`: the page may be gone after this, so that nothing can be waited for. */
  flush(last?: boolean): void;
  /** Go on where another page of the visit stopped. */
  resume(kept: Kept): void;
  kept(): Kept;
  /** Forget what was gathered and is not on its way. */
  discard(): void;
  end(): void;
}

interface Segment {
  item: ReplaySegment;
  json: string;
}

export function openSink(client: Client, options: ReplayOptions, type: "session" | "buffer", from: Kept, flushed: () => void): Sink {
  const maxSize = options.maxBytes ?? MAX_SIZE;
  const maxMs = (options.maxMinutes ?? MAX_MINUTES) * 60_000;
  const pending = new Set<Segment>(); // being compressed
  const errors = new Set<string>();
  const urls = new Set<string>();
  const traces = new Set<string>();
  let { next, size, started: begun } = from;
  let parts: string[] = [];
  let length = 0;
  let started = 0;
  let ended = 0;
  let timer: ReturnType<typeof setTimeout> | undefined;

  function send({ item, json }: Segment, data?: string): void {
    if (data) item.data = data;
    else item.events = JSON.parse(json) as unknown[];
    if ((data || json).length > MAX_SENT) client.drop("too_large", "replay");
    else client.capture(item);
  }

  const compress = client.guard(async (segment: Segment): Promise<void> => {
    pending.add(segment);
    const data = await gzip(segment.json).catch(() => undefined);
    if (pending.delete(segment)) send(segment, data);
  });

  function flush(last?: boolean): void {
    clearTimeout(timer);
    timer = undefined;
    if (parts[0]) {
      const item: ReplaySegment = { type: "replay_segment", replay_id: from.id, segment: next++, replay_type: type, started, ended };
      const lists = { error_ids: errors, trace_ids: traces, urls };
      for (const [name, values] of Object.entries(lists)) {
        if (values.size) item[name as keyof typeof lists] = [...values].slice(0, MAX_IDS);
        values.clear();
      }
      const segment = { item, json: `[${parts.join()}]` };
      parts = [];
      length = 0;
      if (!last && typeof CompressionStream === "function") void compress(segment);
      else send(segment);
    }
    flushed();
    if (!last) return;
    for (const segment of pending) send(segment);
    pending.clear();
  }

  return {
    id: from.id,
    add(json, at) {
      if (length && length + json.length > SEGMENT_SIZE) flush();
      if (!parts[0]) {
        started = at;
        urls.add(client.page.url);
        traces.add(client.page.traceId);
      }
      ended = at;
      parts.push(json);
      length += json.length;
      size += json.length;
      if (size > maxSize || at - begun > maxMs) return false;
      if (length > SEGMENT_SIZE) flush();
      else timer ??= setTimeout(client.guard(flush), SEGMENT_MS, false);
      return true;
    },
    error: (id) => void errors.add(id),
    page(url) {
      urls.add(url);
      traces.add(client.page.traceId);
    },
    flush,
    resume(kept) {
      ({ next, size, started: begun } = kept);
    },
    kept: () => ({ id: from.id, next, size, started: begun }),
    discard() {
      parts = [];
      pending.clear();
    },
    end: () => flush(),
  };
}

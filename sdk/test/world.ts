/** A page with a client of the real parts, and a server that answers as told: what the tests of the core share. */
import { IDBFactory } from "fake-indexeddb";
import { Blob as NodeBlob } from "node:buffer";
import { gunzipSync, gzipSync } from "node:zlib";
import { vi } from "vitest";
import { createClient } from "../src/client";
import * as idle from "../src/idle";
import type { Client, Data, EventItem, Integration, Item, Options } from "../src/types";

export const KEY = "a".repeat(32);
export const DSN = `https://monitor.example.com/v2/${KEY}`;

export interface Sent {
  url: string;
  init: RequestInit;
  header: Data & { id: string; last: number; sent_at: number; page_view: { id: string }; has: string[] };
  items: (Item & Data)[];
  bytes: number;
}

export type Answer = Response | "down" | "never";

class Gzip extends TransformStream<Uint8Array, Uint8Array> {
  constructor() {
    const parts: Uint8Array[] = [];
    super({
      transform: (part) => void parts.push(part),
      flush: (controller) => controller.enqueue(gzipSync(Buffer.concat(parts))),
    });
  }
}

export class Server {
  readonly sent: Sent[] = [];
  /** What was answered with a 2xx, an envelope once. */
  readonly taken = new Map<string, Sent>();
  settings: Data = {};
  answer: (sent: Sent) => Answer = () => new Response('{"ok":true}');
  private readonly held: ((answer: Answer) => void)[] = [];

  install(): void {
    vi.stubGlobal("Blob", NodeBlob); // jsdom's has no stream()
    vi.stubGlobal("fetch", vi.fn(this.fetch));
    vi.stubGlobal("CompressionStream", Gzip); // Node's works in a thread: nobody knows when it is done
  }

  readonly fetch = async (url: string, init: RequestInit = {}): Promise<Response> => {
    if (url.includes("/app-config")) return Response.json({ success: true, data: { sdk: this.settings } });
    const body = init.body as unknown as NodeBlob;
    const bytes = Buffer.from(await body.arrayBuffer());
    const sent = { url, init, bytes: bytes.length, ...parse(url.includes("enc=gzip") ? gunzipSync(bytes).toString() : bytes.toString()) };
    this.sent.push(sent);
    let answer = this.answer(sent);
    if (answer === "never") answer = await new Promise<Answer>((resolve) => this.held.push(resolve));
    if (!(answer instanceof Response)) throw new TypeError("Failed to fetch");
    if (answer.ok) this.taken.set(sent.header.id, sent);
    return answer;
  };

  /** Answers what was held. */
  release(answer: () => Answer): void {
    for (const tell of this.held.splice(0)) tell(answer());
  }

  get items(): (Item & Data)[] {
    return [...this.taken.values()].flatMap(({ items }) => items);
  }

  get events(): EventItem[] {
    return this.items.filter((item) => item.type === "event");
  }

  /** What the events say, briefly. */
  get messages(): string[] {
    return this.events.map(({ exceptions, message }) => exceptions?.at(-1)?.value || message || "");
  }

  get outcomes(): unknown[] {
    return this.items.flatMap((item) => (item.type === "outcome" ? [[item.reason, item.category, item.quantity]] : []));
  }

  /** Sequence numbers that arrived or were said to be dropped, by page view; sorted. */
  accounted(page: string): number[] {
    const own = [...this.taken.values()].filter(({ header }) => header.page_view.id === page).flatMap(({ items }) => items);
    return own.flatMap((item) => (item.type === "outcome" ? (item.numbers ?? []) : [item.n as number])).sort((a, b) => a - b);
  }
}

export function parse(text: string): Pick<Sent, "header" | "items"> {
  const [header, ...items] = text.split("\n").map((line) => JSON.parse(line) as unknown);
  return { header: header as Sent["header"], items: items as Sent["items"] };
}

export const chunks = { idle, failing: false };

const clients: Client[] = [];

export function page(options: Partial<Options> = {}, integrations: Integration[] = []): Client {
  const client = createClient(
    { dsn: DSN, performance: false, ...options },
    {
      integrations: () => integrations,
      load: (chunk) => {
        if (chunk !== "idle" || chunks.failing) return Promise.reject(new Error(`no chunk ${chunk}`));
        return Promise.resolve(chunks.idle) as never;
      },
    },
  );
  clients.push(client);
  return client;
}

/** What a test begins with: a clock that stands, nothing stored, a server. */
export function begin(): Server {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "Date"] });
  vi.stubGlobal("indexedDB", new IDBFactory());
  localStorage.clear();
  chunks.failing = false;
  const server = new Server();
  server.install();
  return server;
}

/** Ends what the test's pages still have running. */
export async function leave(): Promise<void> {
  for (const client of clients.splice(0)) void client.close(0);
  await turns();
}

/** Likewise, and gives back what `begin` took. */
export async function finish(): Promise<void> {
  await leave();
  vi.restoreAllMocks();
  vi.useRealTimers();
}

/** A page whose keeper is there. */
export async function settled(options: Partial<Options> = {}): Promise<Client> {
  const client = page(options);
  await pass(1);
  await pass(1000);
  return client;
}

/** A page whose process ends: it does nothing any more, and says nothing. */
export function kill(client: Client): void {
  client.flush = () => Promise.resolve(false);
  vi.clearAllTimers();
}

/** Time passes, on the fake clock, with everything that waits for promises or the data base. */
export async function pass(ms: number): Promise<void> {
  for (let left = ms; left > 0; left -= 1000) {
    await vi.advanceTimersByTimeAsync(Math.min(left, 1000));
    await turns();
  }
  await turns();
}

/** Promises, IndexedDB and streams go on. */
export async function turns(count = 30): Promise<void> {
  for (let turn = 0; turn < count; turn++) await new Promise((resolve) => setImmediate(resolve));
}

export function visibility(state: "hidden" | "visible"): void {
  vi.spyOn(document, "visibilityState", "get").mockReturnValue(state);
  vi.spyOn(document, "hidden", "get").mockReturnValue(state === "hidden");
  document.dispatchEvent(new Event("visibilitychange", { bubbles: true }));
}

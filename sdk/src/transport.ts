/**
 * From captured items to accepted requests: errors at once, the rest in batches; what cannot be delivered now is kept,
 * on disk where there is one, and tried again. Each item is delivered once (the server knows envelopes and events by
 * their ids), or reported as dropped.
 */
import { lineOf, type Line, obituary, pack, SDK, stamped } from "./envelope";
import { countOutcomes } from "./outcomes";
import type { Category, Client, DropReason, Item, OfflineQueue, Stored } from "./types";

const BATCH_MS = 5000;
const BATCH_SIZE = 30_000; // characters: then a batch does not wait
const ZIP_FROM = 1500; // about one network packet; below it gzip saves no round trip
const TIMEOUT = 20_000;
const KEEPALIVE = 60_000; // browsers allow a page 65,536 bytes in all, and headers may count
const MAX_WAITING = 500_000; // characters in memory
const FIRST_RETRY = 1000;
const LAST_RETRY = 300_000;
const BEACON_TYPE = "text/plain;charset=UTF-8"; // a content type that no CORS preflight asks about
/** The server's names for what it limits, where they are others. */
const LIMITED: Record<string, Category> = { transaction: "span", session: "page_view" };

interface Answer {
  status: number;
  retryAfter?: number;
  categories?: string[];
}

interface Sending {
  /** Bytes of the keepalive budget; 0 while it is being compressed, and for usual requests. */
  kept: number;
  /** It was handed to the browser. */
  begun: boolean;
}

export interface Transport {
  add(item: Item): void;
  drop(reason: DropReason, category: Category, quantity: number, numbers?: number[]): void;
  /** Close what was gathered so far under the present page view, user and tags. */
  seal(): void;
  /** The page may be gone after this. */
  hide(): void;
  /** Try now what waits: the network, or the page, is back. */
  wake(): void;
  use(queue: OfflineQueue): void;
  /** Report what the queue on disk gave up. */
  lose(envelope: Stored, reason: DropReason): void;
  flush(timeout: number): Promise<boolean>;
  /** Forget everything. */
  discard(): void;
}

export function createTransport(client: Client, endpoint: string): Transport {
  const outcomes = countOutcomes();
  const url = `${endpoint}?sdk=${SDK.name}/${SDK.version}`;
  const sending = new Map<Stored, Sending>();
  const onDisk = new Set<string>();
  const limits: Partial<Record<Category | "all", number>> = {};
  let lines: Line[] = [];
  let size = 0;
  let waiting: Stored[] = []; // sent or not, until it is accepted
  let queue: OfflineQueue | undefined;
  let failures = 0;
  let retryAt = 0;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let due = Infinity; // when the timer fires
  let watchers: (() => void)[] = [];

  const importance = ({ counts }: Stored): Category => counts[0]?.[0] || "outcome";
  const limitedUntil = (envelope: Stored): number => Math.max(limits[importance(envelope)] || 0, limits.all || 0);
  const blockedUntil = (envelope: Stored): number => Math.max(limitedUntil(envelope), retryAt);

  // ── gathering ──

  function add(item: Item): void {
    const line = lineOf(item);
    const n = item.n ? [item.n] : [];
    if (!line) return drop("too_large", "error", 1, n);
    lines.push(line);
    size += line.text.length;
    // In the next turn, so that a burst is one request.
    schedule(line.category === "error" || line.category === "replay" || size > BATCH_SIZE ? 0 : BATCH_MS);
  }

  function drop(reason: DropReason, category: Category, quantity: number, numbers?: number[]): void {
    outcomes.add(reason, category, quantity, numbers);
    schedule(BATCH_MS);
  }

  function seal(): void {
    for (const item of outcomes.take(client.now())) lines.push({ category: "outcome", n: undefined, text: JSON.stringify(item) });
    if (!lines[0]) return;
    waiting.push(...pack(client, lines));
    lines = [];
    size = 0;
    shed();
  }

  /** Bounds what is kept in memory. What is on disk is not lost by it. */
  function shed(): void {
    let total = waiting.reduce((sum, { body }) => sum + body.length, 0);
    const unimportant = waiting.filter((one) => importance(one) !== "error");
    for (const envelope of [...unimportant, ...waiting]) {
      if (total <= MAX_WAITING) return;
      if (sending.has(envelope) || !waiting.includes(envelope)) continue;
      total -= envelope.body.length;
      if (onDisk.has(envelope.id)) forget(envelope);
      else lose(envelope, failures ? "network_error" : limitedUntil(envelope) > client.now() ? "ratelimit_backoff" : "queue_overflow");
    }
  }

  function forget(envelope: Stored): void {
    waiting = waiting.filter((one) => one !== envelope);
  }

  function lose(envelope: Stored, reason: DropReason): void {
    forget(envelope);
    // What only tells of drops is not mourned in turn.
    if (!envelope.counts[0]) return;
    waiting.push(obituary(envelope, reason, client.now()));
    schedule(0);
  }

  // ── sending ──

  function schedule(delay: number): void {
    const at = client.now() + delay;
    if (at >= due && timer !== undefined) return;
    clearTimeout(timer);
    due = at;
    timer = setTimeout(
      client.guard(() => {
        timer = undefined;
        // While nothing can be sent, what is not urgent gathers: an envelope has a header of its own.
        const wait = retryAt - client.now();
        if (wait > 0 && lines[0] && size < BATCH_SIZE && !lines.some(({ category }) => category === "error")) return schedule(wait);
        seal();
        pump();
      }),
      delay,
    );
  }

  /** One request at a time: what is captured meanwhile goes together in the next one. */
  function pump(): void {
    if (!waiting[0]) for (const tell of watchers.splice(0)) tell();
    if (sending.size) return;
    const now = client.now();
    const open = waiting.filter((one) => blockedUntil(one) <= now);
    const next = open.find((one) => importance(one) === "error") || open[0];
    if (next) void post(next)?.then(pump);
    else if (waiting[0]) schedule(Math.min(...waiting.map(blockedUntil)) - now);
    if (failures) for (const envelope of waiting) persist(envelope);
  }

  /** Resolves when the request ended, whatever came of it; true when the envelope is done with. */
  const post = client.guard(async (envelope: Stored, last?: boolean): Promise<boolean> => {
    const state: Sending = { kept: 0, begun: false };
    sending.set(envelope, state);
    try {
      const text = stamped(envelope, client.now());
      let body = new Blob([text], { type: BEACON_TYPE });
      let to = url;
      if (!last && body.size > ZIP_FROM && typeof CompressionStream === "function") {
        body = await zip(body);
        if (sending.get(envelope) !== state) return false; // the page was hidden meanwhile, and it is on its way
        to += "&enc=gzip";
      }
      state.begun = true;
      if (body.size <= room()) state.kept = body.size;
      const answer = await request(to, body, state.kept > 0, last);
      return conclude(envelope, answer);
    } finally {
      if (sending.get(envelope) === state) sending.delete(envelope);
    }
  });

  function room(): number {
    let left = KEEPALIVE;
    for (const { kept } of sending.values()) left -= kept;
    return left;
  }

  function conclude(envelope: Stored, { status, retryAfter, categories }: Answer): boolean {
    if (status === 429) {
      const until = client.now() + (retryAfter || 60) * 1000;
      for (const name of categories?.[0] ? categories : ["all"]) limits[LIMITED[name] || (name as Category)] = until;
      persist(envelope);
      return false;
    }
    if (status >= 500 || status === 408 || status < 200) {
      failures++;
      retryAt = client.now() + Math.min(FIRST_RETRY * 2 ** failures, LAST_RETRY) * (0.5 + Math.random() / 2);
      client.log("not sent, will be tried again", status, envelope.id);
      persist(envelope);
      return false;
    }
    if (status >= 400) {
      client.log("refused for good", status, envelope.id);
      lose(envelope, status === 413 ? "too_large" : "send_error");
    } else {
      forget(envelope);
      const recovered = failures;
      failures = retryAt = 0;
      if (recovered) drain();
    }
    if (onDisk.delete(envelope.id)) void client.guard(() => queue?.delete(envelope.id))();
    return true;
  }

  // ── what outlives the page ──

  const persist = client.guard(async (envelope: Stored): Promise<void> => {
    if (!queue || onDisk.has(envelope.id)) return;
    onDisk.add(envelope.id);
    if (!(await queue.put(envelope))) onDisk.delete(envelope.id);
  });

  const drain = client.guard((): Promise<void> | undefined =>
    queue?.drain(async (envelope) => {
      if (waiting.some(({ id }) => id === envelope.id)) return true; // this tab's own, and tried by pump()
      if (blockedUntil(envelope) > client.now()) return false;
      onDisk.add(envelope.id);
      const done = await post(envelope);
      pump();
      return Boolean(done);
    }),
  );

  function hide(): void {
    seal();
    const errorsFirst = [...waiting].sort((a, b) => Number(importance(b) === "error") - Number(importance(a) === "error"));
    for (const envelope of errorsFirst) {
      const state = sending.get(envelope);
      // Nobody will be here to hear that it failed: an error is worth a second copy, which the server knows by its id.
      if (failures || importance(envelope) === "error" || envelope.body.length > room()) persist(envelope);
      const until = queue ? blockedUntil(envelope) : limitedUntil(envelope);
      if (!state?.begun && until <= client.now()) void post(envelope, true)?.then(pump);
    }
  }

  return {
    add,
    drop,
    seal,
    hide,
    lose,
    wake() {
      retryAt = 0;
      pump();
      drain();
    },
    use(opened) {
      queue = opened;
      pump();
      drain();
    },
    flush(timeout) {
      seal();
      retryAt = 0;
      return new Promise((resolve) => {
        const end = (done: boolean) => (): void => {
          clearTimeout(limit);
          resolve(done);
        };
        const limit = setTimeout(end(false), timeout);
        watchers.push(end(true));
        pump();
      });
    },
    discard() {
      clearTimeout(timer);
      timer = undefined;
      lines = [];
      waiting = [];
      sending.clear();
      void client.guard(() => queue?.clear())();
    },
  };
}

const zip = async (body: Blob): Promise<Blob> =>
  new Blob([await new Response(body.stream().pipeThrough(new CompressionStream("gzip"))).arrayBuffer()], { type: BEACON_TYPE });

async function request(url: string, body: Blob, keepalive: boolean, last?: boolean): Promise<Answer> {
  // Firefox had no keepalive until 2024.
  if (last && !("keepalive" in Request.prototype)) return { status: navigator.sendBeacon(url, body) ? 202 : 0 };
  try {
    const answer = await fetch(url, {
      method: "POST",
      body,
      keepalive,
      credentials: "omit",
      ...(AbortSignal.timeout && { signal: AbortSignal.timeout(TIMEOUT) }),
    });
    const { status } = answer;
    if (status !== 429) return { status };
    // The header is for those that the server lets read it; the body says the same.
    const said = (await answer.json().catch(() => ({}))) as { retry_after?: number; categories?: string[] };
    const retryAfter = said.retry_after || Number(answer.headers.get("Retry-After"));
    return { status, retryAfter, ...(said.categories && { categories: said.categories }) };
  } catch {
    return { status: 0 }; // no network, no answer in time, or no room for keepalive: told apart by nothing
  }
}

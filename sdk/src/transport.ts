/**
 * From captured items to accepted requests: errors at once, the rest in batches, again when it did not work. What
 * outlives the page, and what is given up, is the keeper's, which comes with a chunk (sdk/src/offline).
 */
import { categoryOf, type Line, lineOf, orderOf, pack, SDK } from "./envelope";
import type { Client, Item, Keeper, OutcomeItem, Sender, Stored } from "./types";

const BATCH_MS = 5000;
const BATCH_SIZE = 30_000; // characters: then a batch does not wait
const ZIP_FROM = 1500; // about one network packet; below it gzip saves no round trip
const TIMEOUT = 20_000;
const KEEPALIVE = 60_000; // browsers allow a page 65,536 bytes in all, and headers may count
const MAX_WAITING = 500_000; // characters in memory
const FIRST_RETRY = 1000;
const LAST_RETRY = 300_000;
const RATE_LIMIT = 60; // seconds, when the server says no number
const TYPE = "text/plain;charset=UTF-8"; // a content type that no CORS preflight asks about
/** The server's names for what it limits, where they are others. */
const LIMITED: Record<string, string> = { transaction: "span", session: "page_view" };

export interface Transport extends Sender {
  add(item: Item): void;
  /** Close what was gathered so far under the present page view, user and tags. */
  seal(): void;
  /** The page may be gone after this. */
  hide(): void;
  /** Try now what waits: the network, or the page, is back. */
  wake(): void;
  use(keeper: Keeper): void;
  flush(timeout: number): Promise<boolean>;
  /** Forget everything. */
  discard(): void;
}

export function createTransport(client: Client, endpoint: string): Transport {
  const url = `${endpoint}?sdk=${SDK.name}/${SDK.version}`;
  /** What is on its way: the bytes it takes of the keepalive budget, undefined while it is being compressed. */
  const sending = new Map<Stored, number | undefined>();
  const limits: Record<string, number> = {};
  let outcomes: Record<string, OutcomeItem> = {};
  let lines: Line[] = [];
  let size = 0;
  let waiting: Stored[] = [];
  let keeper: Keeper | undefined;
  let failures = 0;
  let retryAt = 0;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let due = 0; // when the timer fires
  let idle: (() => void)[] = [];

  const most = ({ numbers }: Stored): Item["type"] => Object.keys(numbers)[0] as Item["type"];
  const limitedUntil = (envelope: Stored): number => Math.max(limits[categoryOf(most(envelope))] || 0, limits["all"] || 0);
  const blockedUntil = (envelope: Stored): number => Math.max(limitedUntil(envelope), retryAt);

  const schedule = (delay: number): void => {
    const at = client.now() + delay;
    if (timer && at >= due) return;
    clearTimeout(timer);
    due = at;
    timer = setTimeout(tick, delay);
  };
  const tick = client.guard((): void => {
    timer = undefined;
    seal();
    pump();
  });

  const drop: Sender["drop"] = (reason, category, quantity, numbers = []) => {
    const outcome = (outcomes[reason + category] ||= { type: "outcome", at: client.now(), reason, category, quantity: 0, numbers: [] });
    outcome.quantity += quantity;
    outcome.numbers?.push(...numbers);
    schedule(BATCH_MS);
  };

  const seal = (): void => {
    lines.push(...Object.values(outcomes).map(lineOf));
    outcomes = {};
    waiting = [...waiting, ...pack(client, lines)].sort((a, b) => orderOf(most(a)) - orderOf(most(b)));
    lines = [];
    size = 0;
    if (waiting.reduce((sum, { body }) => sum + body.length, 0) > MAX_WAITING) keeper?.full();
  };

  /** One request at a time: what is captured meanwhile goes together in the next one. */
  const pump = (): void => {
    if (!waiting[0]) idle.splice(0).forEach((tell) => tell());
    if (failures) waiting.forEach((envelope) => keeper?.keep(envelope));
    if (sending.size || !waiting[0]) return;
    const now = client.now();
    const next = waiting.find((one) => blockedUntil(one) <= now);
    if (next) void post(next);
    else schedule(Math.min(...waiting.map(blockedUntil)) - now);
  };

  const post = client.guard(async (envelope: Stored, last?: boolean): Promise<boolean> => {
    const text = new Blob([envelope.body.replace(/"sent_at":\d+/, `"sent_at":${client.now()}`)], { type: TYPE });
    sending.set(envelope, undefined);
    const zipped = !last && text.size > ZIP_FROM ? await zip(text) : undefined;
    // The page was hidden meanwhile, and it is on its way.
    if (sending.get(envelope) !== undefined) return false;
    const body = zipped || text;
    const keepalive = body.size <= room();
    sending.set(envelope, keepalive ? body.size : 0);
    const answer = await request(zipped ? `${url}&enc=gzip` : url, body, keepalive, last);
    sending.delete(envelope);
    const done = conclude(envelope, answer);
    pump();
    return done;
  });

  const room = (): number => {
    let left = KEEPALIVE;
    sending.forEach((bytes = 0) => (left -= bytes));
    return left;
  };

  const conclude = (envelope: Stored, [status, retryAfter = RATE_LIMIT, categories = ["all"]]: Answer): boolean => {
    if (status > 299 || !status) client.log("not accepted", status, envelope.id);
    if (status === 429) {
      for (const name of categories) limits[LIMITED[name] || name] = client.now() + retryAfter * 1000;
      keeper?.keep(envelope);
      return false;
    }
    if (status > 499 || status === 408 || !status) {
      retryAt = client.now() + Math.min(FIRST_RETRY * 2 ** failures++, LAST_RETRY) * (0.5 + Math.random());
      return false;
    }
    waiting = waiting.filter((one) => one !== envelope);
    keeper?.done(envelope);
    if (status > 399) keeper?.lost(envelope, status === 413 ? "too_large" : "send_error");
    else if (failures) wake();
    return true;
  };

  const wake = (): void => {
    failures = retryAt = 0;
    pump();
    keeper?.drain();
  };

  return {
    add(item) {
      const line = lineOf(item);
      if (!line.text) return drop("too_large", "error", 1, [item.n as number]);
      lines.push(line);
      size += line.text.length;
      // In the next turn, so that a burst is one request; after the last turn, now.
      if (document.visibilityState === "hidden") queueMicrotask(client.guard(() => hide()));
      schedule(/event|replay/.test(line.type) || size > BATCH_SIZE ? 0 : BATCH_MS);
    },
    drop,
    seal,
    post,
    blockedUntil,
    waiting: () => waiting,
    push(envelope) {
      waiting.push(envelope);
      schedule(0);
    },
    hide,
    wake,
    use(found) {
      keeper = found;
      pump();
      found.drain();
    },
    flush(timeout) {
      seal();
      retryAt = 0;
      return new Promise((resolve) => {
        setTimeout(resolve, timeout, false);
        idle.push(() => resolve(true));
        pump();
      });
    },
    discard() {
      clearTimeout(timer);
      waiting = lines = [];
      keeper?.clear();
    },
  };

  function hide(): void {
    seal();
    for (const envelope of waiting) {
      // Nobody will be here to hear that it failed: an error is worth a second copy, which the server knows by its id.
      if (failures || most(envelope) === "event" || envelope.body.length > room()) keeper?.keep(envelope);
      const until = keeper ? blockedUntil(envelope) : limitedUntil(envelope);
      if (sending.get(envelope) === undefined && until <= client.now()) void post(envelope, true);
    }
  }
}

/** Undefined where the browser cannot. */
async function zip(body: Blob): Promise<Blob | undefined> {
  try {
    return await new Response(body.stream().pipeThrough(new CompressionStream("gzip")), { headers: { "Content-Type": TYPE } }).blob();
  } catch {
    return undefined;
  }
}

type Answer = [status: number, retryAfter?: number | undefined, categories?: string[] | undefined];

async function request(url: string, body: Blob, keepalive: boolean, last?: boolean): Promise<Answer> {
  // Firefox had no keepalive until 2024.
  if (last && !("keepalive" in Request.prototype)) return [navigator.sendBeacon(url, body) ? 202 : 0];
  try {
    const signal = AbortSignal.timeout?.(TIMEOUT) as AbortSignal; // none in browsers of before 2022
    const answer = await fetch(url, { method: "POST", body, keepalive, credentials: "omit", signal });
    if (answer.status !== 429) return [answer.status];
    // The body says what the header does, which a server need not let scripts read.
    const said = (await answer.json().catch(() => ({}))) as { retry_after?: number; categories?: string[] };
    return [429, said.retry_after || Number(answer.headers.get("Retry-After")) || undefined, said.categories];
  } catch {
    return [0]; // no network, no answer in time, or no room for keepalive: nothing tells them apart
  }
}

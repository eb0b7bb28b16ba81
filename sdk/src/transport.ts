/**
 * From captured items to accepted requests: errors at once, the rest in batches, all of it when the page goes. What is
 * done when a request fails is the keeper's, which comes with a chunk (sdk/src/offline); until then it waits.
 */
import { addressOf, categoryOf, type Line, lineOf, pack, TYPE } from "./envelope";
import type { Client, DropReason, Category, Item, Keeper, OutcomeItem, Sender, Stored } from "./types";

const BATCH_MS = 5000;
const BATCH_SIZE = 30_000; // characters: then a batch does not wait
const MAX_WAITING = 500_000; // characters that no request has taken; the keeper has a bound of its own
const TIMEOUT = 20_000;
const KEEPALIVE = 60_000; // browsers allow a page 65,536 bytes in all, and headers may count

export interface Transport extends Sender {
  add(item: Item): void;
  drop(reason: DropReason, category: Category, quantity?: number, numbers?: number[]): void;
  /** Close what was gathered so far: it is the present page view's. */
  seal(): void;
  /** The page may be gone after this. */
  hide(): void;
  /** Try now what waits: the network, the page or the keeper is there. */
  wake(found?: Keeper): void;
  flush(timeout: number): Promise<boolean>;
  /** Forget everything. */
  discard(): void;
}

export function createTransport(client: Client): Transport {
  /** What is on its way: the bytes it takes of the keepalive budget (1 for none), undefined while it is being compressed. */
  const sending = new Map<Stored, number | undefined>();
  let outcomes: Record<string, OutcomeItem> = {};
  let lines: Line[] = [];
  let size = 0;
  let waiting: Stored[] = [];
  let keeper: Keeper | undefined;
  let stalled = false; // by a failure, before there was a keeper: until the next wake all that comes is gathered
  let timer: ReturnType<typeof setTimeout> | undefined;
  let ripe = false; // what was gathered has waited long enough

  /** After the page's own code has run: a burst is one request. */
  const soon = (work: () => void): void => queueMicrotask(client.guard(work));
  const go = (): void => {
    ripe = true;
    pump();
  };
  const later = (): void => {
    timer ||= setTimeout(client.guard(go), BATCH_MS);
  };

  const seal = (): void => {
    lines.push(...Object.values(outcomes).map(lineOf));
    waiting.push(...pack(client, lines));
    waiting.sort((a, b) => +("event" in b.numbers) - +("event" in a.numbers));
    outcomes = {};
    lines = [];
    if (!stalled) size = 0; // what waits for the next wake is bounded, page views together
    ripe = false;
    timer = clearTimeout(timer) as undefined;
  };

  /** Two requests at a time, as one may hang: what is captured meanwhile goes together in the next one. */
  const pump = (): void => {
    if (sending.size > 1 || stalled) return;
    if (ripe) seal();
    const next = waiting.find((one) => !sending.has(one) && (!keeper || keeper.allows(one)));
    if (next) void post(next);
  };

  const post = client.guard(async (envelope: Stored, last?: boolean): Promise<boolean> => {
    const text = new Blob([envelope.body.replace(/"sent_at":\d+/, `"sent_at":${client.now()}`)], { type: TYPE });
    sending.set(envelope, undefined);
    const zipped = !last && (await keeper?.zips(text));
    // The page was hidden meanwhile, and it is on its way.
    if (sending.get(envelope)) return false;
    const body = zipped || text;
    const keepalive = body.size < room();
    sending.set(envelope, keepalive ? body.size : 1);
    let answer = Response.error();
    try {
      answer = await fetch(addressOf(client) + (zipped ? "&enc=gzip" : ""), {
        method: "POST",
        body,
        keepalive,
        credentials: "omit",
        signal: AbortSignal.timeout?.(TIMEOUT) as AbortSignal, // none in browsers of before 2022
      });
    } catch {
      // No network, no answer in time, or no room for keepalive: nothing tells them apart, and the answer has status 0.
    }
    sending.delete(envelope);
    const done = keeper ? await keeper.heeds(envelope, answer) : answer.ok;
    if (done) forget(envelope);
    else stalled = !keeper;
    pump();
    return done;
  });

  const forget = (envelope: Stored): void => {
    waiting = waiting.filter((one) => one !== envelope);
  };

  const room = (): number => {
    let left = KEEPALIVE;
    sending.forEach((bytes = 0) => (left -= bytes));
    return left;
  };

  const hide = (): void => {
    seal();
    for (const envelope of waiting) {
      // Asked first: the keeper keeps what is on its way, too.
      if ((!keeper || keeper.allows(envelope, envelope.body.length > room())) && !sending.get(envelope)) void post(envelope, true);
    }
  };

  const transport: Transport = {
    add(item) {
      const line = lineOf(item);
      const full = size > MAX_WAITING;
      if (!line.text || full) return transport.drop(full ? "queue_overflow" : "too_large", categoryOf(item.type), 1, [item.n as number]);
      lines.push(line);
      size += line.text.length;
      if (document.hidden && !stalled) soon(hide);
      else if (/^[er]/.test(item.type) || size > BATCH_SIZE) soon(go);
      else later();
    },
    drop(reason, category, quantity = 1, numbers = []) {
      const outcome = (outcomes[reason + category] ||= { type: "outcome", at: client.now(), reason, category, quantity: 0, numbers: [] });
      outcome.quantity += quantity;
      (outcome.numbers as number[]).push(...numbers);
      later();
    },
    seal,
    pump,
    post,
    waiting: () => waiting,
    forget,
    push(envelope) {
      waiting.push(envelope);
      soon(pump);
    },
    hide,
    wake(found) {
      keeper ||= found;
      stalled = false;
      keeper?.wakes();
      pump();
    },
    async flush(timeout) {
      seal();
      transport.wake();
      for (; waiting[0] && timeout > 0; timeout -= 50) await new Promise((resolve) => setTimeout(resolve, 50));
      return !waiting[0];
    },
    discard() {
      seal(); // what was gathered, too
      waiting = [];
      keeper?.clear();
    },
  };
  return transport;
}

/**
 * What is done when a request fails: when to try again, what is kept on disk until then, and what the server is told
 * of what is given up.
 */
import { addressOf, categoryOf, TYPE } from "../envelope";
import { newId } from "../ids";
import type { Category, Client, DropReason, Item, Keeper, OutcomeItem, Sender, Stored } from "../types";
import { openQueue } from "./queue";

const MAX_WAITING = 500_000; // characters in memory
const FIRST_RETRY = 1000;
const LAST_RETRY = 300_000;
const RATE_LIMIT = 60; // seconds, when the server says no number
const ALL = "all";
const IMPORTANCE: Item["type"][] = ["event", "page_view", "span", "measurement", "replay_segment"]; // as the server's
const ORDER = IMPORTANCE.map(categoryOf);
const ZIP_FROM = 1500; // about one network packet; below it gzip saves no round trip

/** `noReplays` is called when the server says that the project takes none. */
export function keepFor(client: Client, sender: Sender, noReplays: () => void): Keeper {
  const { offline } = client.options;
  const queue = offline === false ? undefined : openQueue(client.endpoint, typeof offline === "object" ? offline : {}, (stored, reason) => evicted(stored, reason));
  const onDisk = new Map<string, boolean>(); // id → whether it is there already
  const evictions = new Map<string, DropReason>(); // id → why it is on disk no more, of what this tab still tries to send
  const accepted = new Set<string>(); // ids, until they are off the disk
  const limits: Record<string, number> = {}; // category → when it may be sent again
  let failures = 0;
  let retryAt = 0;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let drainTimer: ReturnType<typeof setTimeout> | undefined;
  let drained = ""; // the id of the one that is being sent from disk
  let closed = false;

  const most = ({ numbers }: Stored): Category => categoryOf(IMPORTANCE.find((type) => type in numbers) || "outcome");
  const limitedUntil = (envelope: Stored): number => Math.max(limits[most(envelope)] || 0, limits[ALL] || 0);
  const blockedUntil = (envelope: Stored): number => Math.max(limitedUntil(envelope), retryAt);

  const keep = client.guard(async (envelope: Stored): Promise<void> => {
    if (!queue || onDisk.has(envelope.id) || evictions.has(envelope.id)) return;
    onDisk.set(envelope.id, false);
    if (await queue.put(envelope)) onDisk.set(envelope.id, true);
    else onDisk.delete(envelope.id);
  });

  const remove = client.guard(async (id: string): Promise<void> => {
    accepted.add(id);
    await queue?.delete(id);
    accepted.delete(id);
  });

  /** Tells the server what will not come. What only tells of drops is not mourned in turn. */
  const lose = (envelope: Stored, reason: DropReason): void => {
    if (most(envelope) === "outcome") return;
    const outcomes = outcomesOf(envelope, reason, client.now());
    const [header = ""] = envelope.body.split("\n");
    // Those of the present page view gather with all else that was dropped; an earlier one's need its header.
    if (header.includes(client.page.id)) outcomes.forEach((one) => client.drop(one.reason, one.category, one.quantity, one.numbers));
    else sender.push(obituary(envelope.id, header, outcomes, client.now()));
  };

  /** What this tab is still trying to send may yet be delivered: it is told of when that fails, if at all. */
  const evicted = (stored: Stored, reason: DropReason): void => {
    onDisk.delete(stored.id);
    if (accepted.has(stored.id)) return;
    if (stored.id === drained || isOwn(stored)) evictions.set(stored.id, reason);
    else lose(stored, reason);
  };

  const isOwn = ({ id }: Stored): boolean => sender.waiting().some((one) => one.id === id);

  /** What is on its way is not waited for: its answer goes on. */
  const again = (): void => {
    const now = client.now();
    const next = Math.min(...sender.waiting().map(blockedUntil).filter((at) => at > now));
    clearTimeout(timer);
    if (next < Infinity) timer = setTimeout(client.guard(() => sender.pump()), next - now);
  };

  /** Bounds what waits in memory. What is on disk is only forgotten there. */
  const shed = (): void => {
    const waiting = sender.waiting();
    let size = waiting.reduce((sum, { body }) => sum + body.length, 0);
    const rank = (envelope: Stored): number => ORDER.indexOf(most(envelope));
    for (const envelope of [...waiting].sort((a, b) => rank(b) - rank(a))) {
      if (size <= MAX_WAITING) return;
      if (most(envelope) === "outcome") continue;
      size -= envelope.body.length;
      sender.forget(envelope);
      queue?.release(envelope.id);
      if (!onDisk.get(envelope.id)) lose(envelope, limitedUntil(envelope) > client.now() ? "ratelimit_backoff" : "queue_overflow");
    }
  };

  const drain = client.guard(async (): Promise<void> => {
    let next = Infinity;
    await queue?.drain(async (envelope) => {
      if (closed) return false;
      if (isOwn(envelope)) return true; // which this tab tries by itself
      if (blockedUntil(envelope) <= client.now()) await send(envelope);
      const until = blockedUntil(envelope);
      if (until > client.now()) next = Math.min(next, until);
      return retryAt <= client.now(); // a limit is of its category alone
    });
    if (closed || next === Infinity) return;
    clearTimeout(drainTimer);
    drainTimer = setTimeout(drain, next - client.now());
  });

  const send = async (envelope: Stored): Promise<void> => {
    const { id } = envelope;
    onDisk.set(id, true);
    drained = id;
    queue?.hold(id);
    const done = await sender.post(envelope);
    queue?.release(id);
    drained = "";
    const reason = evictions.get(id);
    if (!done && reason) lose(envelope, reason);
    evictions.delete(id);
  };

  async function limit(response: Response): Promise<void> {
    // The body says what the header does, which a server need not let scripts read.
    const { retry_after, categories } = await said<{ retry_after?: number; categories?: string[] }>(response);
    const seconds = retry_after || Number(response.headers.get("Retry-After")) || RATE_LIMIT;
    for (const name of categories?.[0] ? categories : [ALL]) limits[name] = client.now() + seconds * 1000;
  }

  /** Firefox had no keepalive until 2024. Whether a beacon arrives nobody hears. */
  const beacon = (envelope: Stored): boolean => {
    if ("keepalive" in Request.prototype || !navigator.sendBeacon(addressOf(client), new Blob([envelope.body], { type: TYPE }))) return false;
    sender.forget(envelope);
    queue?.release(envelope.id);
    return true;
  };

  return {
    async zips(body) {
      if (closed) return never();
      if (body.size < ZIP_FROM || typeof CompressionStream === "undefined") return undefined;
      const zipped = await new Response(body.stream().pipeThrough(new CompressionStream("gzip")), { headers: { "Content-Type": TYPE } }).blob();
      return closed ? never() : zipped; // set meanwhile
    },

    allows(envelope, last) {
      if (closed) return false;
      const allowed = blockedUntil(envelope) <= client.now();
      if (last === undefined) {
        if (evictions.get(envelope.id) === "too_old") {
          sender.forget(envelope);
          evictions.delete(envelope.id);
          lose(envelope, "too_old");
          return false;
        }
        if (!allowed) {
          void keep(envelope);
          shed();
          again();
        }
        return allowed;
      }
      // The page goes, and nobody will be here to hear that it failed: an error is worth a second copy, which the server
      // knows by its id; so is what may not fit.
      if (!allowed || last || "event" in envelope.numbers) void keep(envelope);
      return (allowed || (!onDisk.has(envelope.id) && limitedUntil(envelope) <= client.now())) && !beacon(envelope);
    },

    async heeds(envelope, response) {
      const { ok, status } = response;
      if (!ok) client.log("not accepted", status, envelope.id);
      if (status === 429) {
        await limit(response);
        return false;
      }
      if (status > 499 || status === 408 || !status) {
        // Of two that fail together one counts.
        if (retryAt <= client.now()) retryAt = client.now() + Math.min(FIRST_RETRY * 2 ** failures++, LAST_RETRY) * (0.5 + Math.random());
        return false;
      }
      if (!ok) lose(envelope, status === 413 ? "too_large" : "send_error");
      else if (most(envelope) === "replay" && (await said<{ skipped?: boolean }>(response)).skipped) {
        lose(envelope, "opt_out");
        noReplays();
      }
      evictions.delete(envelope.id);
      if (onDisk.delete(envelope.id)) void remove(envelope.id);
      const recovered = ok && failures;
      if (recovered) {
        failures = retryAt = 0;
        void drain();
      }
      return true;
    },

    wakes() {
      failures = retryAt = 0; // a network that has just come back may fail once more
      void drain();
    },

    clear: client.guard(() => {
      closed = true;
      clearTimeout(timer);
      clearTimeout(drainTimer);
      return queue?.clear();
    }),
  };
}

/** What waits for the body waits for ever, once consent was taken back: nothing is sent after that. */
const never = (): Promise<undefined> => new Promise(() => {});

/** What the answer says; nothing when it is not ours. */
const said = <T extends object>(response: Response): Promise<Partial<T>> => response.json().catch(() => ({})) as Promise<Partial<T>>;

/** What was in it, and the drops that it told of. */
function outcomesOf({ body, numbers }: Stored, reason: DropReason, at: number): OutcomeItem[] {
  const told = body.split("\n").filter((line) => line.startsWith('{"type":"outcome"'));
  const lost = Object.entries(numbers).filter(([type]) => type !== "outcome");
  return [
    ...told.map((line) => JSON.parse(line) as OutcomeItem),
    ...lost.map(([type, given]): OutcomeItem => ({ type: "outcome", at, reason, category: categoryOf(type as Item["type"]), quantity: given.length, numbers: given })),
  ];
}

/** An envelope of the same page view that says so. */
function obituary(lost: string, header: string, outcomes: OutcomeItem[], at: number): Stored {
  const id = newId();
  const own = header.replace(lost, id).replace(/"has":\[[^\]]*\]/, '"has":["outcome"]');
  return { id, at, body: [own, ...outcomes.map((one) => JSON.stringify(one))].join("\n"), numbers: { outcome: [] } };
}

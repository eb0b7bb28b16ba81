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

export function keepFor(client: Client, sender: Sender): Keeper {
  const { offline } = client.options;
  const queue = offline === false ? undefined : openQueue(client.endpoint, typeof offline === "object" ? offline : {}, (stored, reason) => lose(stored, reason));
  const onDisk = new Map<string, boolean>(); // id → whether it is there already
  const limits: Record<string, number> = {}; // category → when it may be sent again
  let failures = 0;
  let retryAt = 0;
  let timer: ReturnType<typeof setTimeout> | undefined;

  const most = ({ numbers }: Stored): Category => categoryOf(IMPORTANCE.find((type) => type in numbers) || "outcome");
  const limitedUntil = (envelope: Stored): number => Math.max(limits[most(envelope)] || 0, limits[ALL] || 0);
  const blockedUntil = (envelope: Stored): number => Math.max(limitedUntil(envelope), retryAt);

  const keep = client.guard(async (envelope: Stored): Promise<void> => {
    if (!queue || onDisk.has(envelope.id)) return;
    onDisk.set(envelope.id, false);
    if (await queue.put(envelope)) onDisk.set(envelope.id, true);
    else onDisk.delete(envelope.id);
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

  const again = (): void => {
    const next = Math.min(...sender.waiting().map(blockedUntil));
    clearTimeout(timer);
    if (next < Infinity) timer = setTimeout(client.guard(() => sender.pump()), Math.max(0, next - client.now()));
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
      if (!onDisk.get(envelope.id)) lose(envelope, limitedUntil(envelope) > client.now() ? "ratelimit_backoff" : "queue_overflow");
    }
  };

  const drain = client.guard((): Promise<void> | undefined =>
    queue?.drain(async (envelope) => {
      if (sender.waiting().some(({ id }) => id === envelope.id)) return true; // this tab's own, which it tries by itself
      if (blockedUntil(envelope) > client.now()) return false;
      onDisk.set(envelope.id, true);
      return Boolean(await sender.post(envelope));
    }),
  );

  async function limit(response: Response): Promise<void> {
    // The body says what the header does, which a server need not let scripts read.
    const said = (await response.json().catch(() => ({}))) as { retry_after?: number; categories?: string[] };
    const seconds = said.retry_after || Number(response.headers.get("Retry-After")) || RATE_LIMIT;
    for (const name of said.categories?.[0] ? said.categories : [ALL]) limits[name] = client.now() + seconds * 1000;
  }

  /** Firefox had no keepalive until 2024. Whether a beacon arrives nobody hears. */
  const beacon = (envelope: Stored): boolean => {
    if ("keepalive" in Request.prototype || !navigator.sendBeacon(addressOf(client), new Blob([envelope.body], { type: TYPE }))) return false;
    sender.forget(envelope);
    return true;
  };

  return {
    async zips(body) {
      if (body.size < ZIP_FROM || typeof CompressionStream === "undefined") return undefined;
      return new Response(body.stream().pipeThrough(new CompressionStream("gzip")), { headers: { "Content-Type": TYPE } }).blob();
    },

    allows(envelope, last) {
      const allowed = blockedUntil(envelope) <= client.now();
      if (last === undefined) {
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
        retryAt = client.now() + Math.min(FIRST_RETRY * 2 ** failures++, LAST_RETRY) * (0.5 + Math.random());
        return false;
      }
      if (!ok) lose(envelope, status === 413 ? "too_large" : "send_error");
      if (onDisk.delete(envelope.id)) void client.guard(async () => queue?.delete(envelope.id))();
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
      clearTimeout(timer);
      return queue?.clear();
    }),
  };
}

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

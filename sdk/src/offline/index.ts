/**
 * What could not be sent at once: kept on disk where there is one, sent later, and told of when it is given up.
 */
import { categoryOf } from "../envelope";
import { newId } from "../ids";
import type { Client, DropReason, Item, Keeper, OutcomeItem, Sender, Stored } from "../types";
import { openQueue } from "./queue";

const MAX_WAITING = 250_000; // characters in memory, after there were twice as many

export function keepFor(client: Client, sender: Sender): Keeper {
  const { offline } = client.options;
  const queue = openQueue(client.endpoint, typeof offline === "object" ? offline : {}, (stored, reason) => keeper.lost(stored, reason));
  const onDisk = new Set<string>();

  const keeper: Keeper = {
    keep: client.guard(async (envelope): Promise<void> => {
      if (onDisk.has(envelope.id) || offline === false) return;
      onDisk.add(envelope.id);
      if (!(await queue.put(envelope))) onDisk.delete(envelope.id);
    }),

    done: client.guard(async ({ id }): Promise<void> => {
      if (onDisk.delete(id)) await queue.delete(id);
    }),

    lost(envelope, reason) {
      // What only tells of drops is not mourned in turn.
      if (!("outcome" in envelope.numbers) || Object.keys(envelope.numbers).length > 1) sender.push(obituary(envelope, reason, client.now()));
    },

    full() {
      const waiting = sender.waiting();
      let size = waiting.reduce((sum, { body }) => sum + body.length, 0);
      const errorsLast = [...waiting].sort((a, b) => Number("event" in a.numbers) - Number("event" in b.numbers));
      for (const envelope of errorsLast) {
        if (size <= MAX_WAITING) return;
        size -= envelope.body.length;
        waiting.splice(waiting.indexOf(envelope), 1);
        // What is on disk is only forgotten here.
        if (!onDisk.has(envelope.id)) keeper.lost(envelope, sender.blockedUntil(envelope) > client.now() ? "ratelimit_backoff" : "queue_overflow");
      }
    },

    drain: client.guard((): Promise<void> | undefined => {
      if (offline === false) return undefined;
      return queue.drain(async (envelope) => {
        if (sender.waiting().some(({ id }) => id === envelope.id)) return true; // this tab's own, which it tries by itself
        if (sender.blockedUntil(envelope) > client.now()) return false;
        onDisk.add(envelope.id);
        return Boolean(await sender.post(envelope));
      });
    }),

    clear: client.guard(() => queue.clear()),
  };
  return keeper;
}

/** An envelope of the same page view that says what was not sent of it. */
function obituary({ id: lostId, body, numbers }: Stored, reason: DropReason, at: number): Stored {
  const [header = "", ...items] = body.split("\n");
  const id = newId();
  const lines = [header.replace(lostId, id).replace(/"has":\[[^\]]*\]/, '"has":["outcome"]')];
  for (const [type, given] of Object.entries(numbers)) {
    if (type === "outcome") continue;
    const outcome: OutcomeItem = { type: "outcome", at, reason, category: categoryOf(type as Item["type"]), quantity: given.length, numbers: given };
    lines.push(JSON.stringify(outcome));
  }
  lines.push(...items.filter((item) => item.startsWith('{"type":"outcome"')));
  return { id, at, body: lines.join("\n"), numbers: { outcome: [] } };
}

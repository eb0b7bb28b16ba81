/**
 * Keeps a loop from filling the network and the store. What it holds back is counted: the number goes with the next
 * event of its kind, or as an outcome when the page is hidden or the client ends.
 */
import type { Client, EventItem, FloodOptions } from "./types";

const MINUTE = 60_000;
const MAX_HELD = 100; // different ones remembered until their next time
const MAX_KEY = 4000; // characters of what makes two events the same one: a message of full length and some frames

/** True for events that may be sent; those get their `count`. Asked once an event, before it has its number. */
export function floodGuard(client: Client): (event: EventItem) => boolean {
  const { same = 5, perMinute = 60 } = Object(client.options.flood) as FloodOptions;
  // Of the minute that began at `since`.
  let since = 0;
  let total = 0;
  const sent = new Map<string, number>();
  const held = new Map<string, number>();

  const report = (): void => {
    held.forEach((count) => client.drop("flood", "error", count));
    held.clear();
  };
  client.on("hide", report);
  client.on("close", report);

  return (event) => {
    const { kind, message, fingerprint, exceptions } = event;
    // One a view, and a person's own words.
    if (/white|feed/.test(kind)) return true;
    const now = client.now();
    if (Math.abs(now - since) >= MINUTE) {
      since = now;
      total = 0;
      sent.clear();
    }
    const key = [kind, message, fingerprint, ...Object.values(exceptions?.at(-1) || [])].join().slice(0, MAX_KEY);
    const before = sent.get(key) || 0;
    const count = (held.get(key) || 0) + 1;
    // Custom events are facts that the page counts on, not faults.
    if (total >= perMinute || (before >= same && kind !== "custom")) {
      held.set(key, count);
      if (held.size > MAX_HELD) report();
      return false;
    }
    total++;
    sent.set(key, before + 1);
    if (held.delete(key)) event.count = count;
    return true;
  };
}

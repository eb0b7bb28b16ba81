/**
 * Keeps a loop from filling the network and the store. What it holds back is counted: the number goes with the next
 * event of its kind, or as an outcome when the page is hidden or the client ends.
 */
import type { Client, EventItem } from "./types";

const MINUTE = 60_000;
const MAX_HELD = 100; // different ones remembered until their next time

/** True for events that may be sent; those get their `count`. Asked once an event, before it has its number. */
export function floodGuard(client: Client): (event: EventItem) => boolean {
  const { same = 5, perMinute = 60 } = client.options.flood || {};
  /** Of this minute, which ends at `end`. */
  let end = 0;
  let total = 0;
  const sent = new Map<string, number>();
  const held = new Map<string, number>();

  const report = (): void => {
    let quantity = 0;
    for (const count of held.values()) quantity += count;
    held.clear();
    if (quantity) client.drop("flood", "error", quantity);
  };
  client.on("hide", report);
  client.on("close", report);

  return (event) => {
    const { kind } = event;
    // One a view, and a person's own words.
    if (kind === "white_screen" || kind === "feedback") return true;
    const now = client.now();
    if (now >= end || now < end - MINUTE) {
      end = now + MINUTE;
      total = 0;
      sent.clear();
    }
    const key = keyOf(event);
    const before = sent.get(key) || 0;
    const waiting = (held.get(key) || 0) + 1;
    // Custom events are facts that the page counts on, not faults.
    if (total >= perMinute || (before >= same && kind !== "custom")) {
      held.set(key, waiting);
      if (held.size > MAX_HELD) report();
      return false;
    }
    total++;
    sent.set(key, before + 1);
    if (held.delete(key)) event.count = waiting;
    return true;
  };
}

/** What makes two events the same one. */
function keyOf({ kind, message, fingerprint, exceptions }: EventItem): string {
  const { type, value, stack } = exceptions?.at(-1) || {};
  return [kind, fingerprint, message, type, value, stack].join().slice(0, 1000);
}

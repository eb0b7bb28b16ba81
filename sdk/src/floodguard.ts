/**
 * Keeps a loop from filling the network and the store. What it holds back is counted: the number goes with the next
 * event of its kind, or as an outcome when the page is hidden or the client ends.
 */
import type { Client, EventItem } from "./types";

const MINUTE = 60_000;
const MAX_KEYS = 100; // different errors remembered; the oldest goes first

interface Seen {
  /** When its minute began. */
  since: number;
  sent: number;
  held: number;
}

/** True for events that may be sent; those get their `count`. Asked once an event, before it has its number. */
export function floodGuard(client: Client): (event: EventItem) => boolean {
  const { same = 5, perMinute = 60 } = client.options.flood || {};
  const known = new Map<string, Seen>();
  const all: Seen = { since: 0, sent: 0, held: 0 };

  const report = (seen: Seen): void => {
    if (seen.held) client.drop("flood", "error", seen.held);
    seen.held = 0;
  };
  const reportAll = (): void => known.forEach(report);
  client.on("hide", reportAll);
  client.on("close", reportAll);

  return (event) => {
    const { kind } = event;
    // One a view, and a person's own words.
    if (kind === "white_screen" || kind === "feedback") return true;
    const now = client.now();
    const key = keyOf(event);
    const seen = known.get(key) || { since: now, sent: 0, held: 0 };
    known.delete(key); // to the end: the map is ordered by last use
    known.set(key, seen);
    if (known.size > MAX_KEYS) {
      const [oldest, forgotten] = known.entries().next().value as [string, Seen];
      report(forgotten);
      known.delete(oldest);
    }
    for (const one of [seen, all]) {
      if (now - one.since >= MINUTE) Object.assign(one, { since: now, sent: 0 });
    }
    // Custom events are facts that the page counts on, not faults.
    if (all.sent >= perMinute || (kind !== "custom" && seen.sent >= same)) {
      seen.held++;
      return false;
    }
    seen.sent++;
    all.sent++;
    if (seen.held) event.count = seen.held + 1;
    seen.held = 0;
    return true;
  };
}

function keyOf({ kind, message, fingerprint, exceptions }: EventItem): string {
  const thrown = exceptions?.at(-1);
  return [kind, fingerprint, message, thrown && [thrown.type, thrown.value, thrown.stack]].join().slice(0, 1000);
}

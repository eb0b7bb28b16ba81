/** A client that keeps what integrations give it, for tests of one integration at a time. */
import { errorEvent } from "../src/exceptions";
import type { Breadcrumb, Category, Client, ClientEvents, EventItem, Hint, Item, Options } from "../src/types";

export const KEY = "f".repeat(32);

export interface Recorder extends Client {
  events: Partial<EventItem>[];
  hints: Hint[];
  crumbs: Breadcrumb[];
  items: Item[];
  drops: [reason: string, category: Category, quantity: number][];
  views: [url: string, route: string | undefined][];
  /** What guarded functions threw. */
  failures: unknown[];
  time: number;
  emit(name: keyof ClientEvents): void;
}

export function recorder(options: Partial<Options> = {}): Recorder {
  const listeners: [string, () => void][] = [];
  const events: Partial<EventItem>[] = [];
  const hints: Hint[] = [];
  const failures: unknown[] = [];
  const crumbs: Breadcrumb[] = [];
  const items: Item[] = [];
  const drops: Recorder["drops"] = [];
  const views: Recorder["views"] = [];
  const found = {
    options: { dsn: `https://${KEY}@monitor.test/1`, ...options },
    endpoint: `https://monitor.test/v2/${KEY}`,
    page: { id: "a".repeat(32), traceId: "b".repeat(32), url: location.href, route: undefined, started: 0, referrer: "", title: "", sequence: 0 },
    scope: { user: undefined, tags: {}, contexts: {}, breadcrumbs: crumbs },
    activeSpan: undefined,
    events,
    hints,
    failures,
    crumbs,
    items,
    drops,
    views,
    time: 1_000_000,
    now: () => found.time,
    captureEvent(event: Partial<EventItem>, hint: Hint = {}) {
      events.push(event);
      hints.push(hint);
      return "c".repeat(32);
    },
    captureException: (error: unknown, hint: Hint = {}): string =>
      found.captureEvent({ ...errorEvent(error, hint), ...(hint.level && { level: hint.level }) }, { originalException: error, ...hint }),
    captureMessage: (message: string, level = "info" as const, hint: Hint = {}): string =>
      found.captureEvent({ kind: "message", message, level }, hint),
    capture: (item: Item) => items.push(item),
    addBreadcrumb: (crumb: Breadcrumb) => crumbs.push(crumb),
    drop: (reason: string, category: Category, quantity = 1) => drops.push([reason, category, quantity]),
    startPageView: (url: string, route?: string) => views.push([url, route]),
    on(name: string, listener: () => void) {
      listeners.push([name, listener]);
      return () => {};
    },
    emit: (name: string) => listeners.forEach(([one, listener]) => one === name && listener()),
    guard:
      <A extends unknown[], R>(fn: (...args: A) => R) =>
      (...args: A): R | undefined => {
        try {
          const result = fn(...args);
          if (result instanceof Promise) result.catch((error: unknown) => failures.push(error));
          return result;
        } catch (error) {
          failures.push(error);
          return undefined;
        }
      },
  };
  return found as unknown as Recorder;
}

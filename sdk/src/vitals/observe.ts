/** Entries of the browser's timeline, those from before included. */
import type { Cleanup, Client } from "../types";

/** Nothing where the browser does not know the type. */
export function observe(client: Client, type: string, each: (entry: PerformanceEntry) => void): Cleanup {
  if (!PerformanceObserver.supportedEntryTypes.includes(type)) return () => {};
  const observer = new PerformanceObserver(client.guard((list: PerformanceObserverEntryList) => list.getEntries().forEach(each)));
  observer.observe({ type, buffered: true });
  return () => observer.disconnect();
}

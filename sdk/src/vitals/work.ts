/**
 * What the browser tells of the page's work beside the web vitals: its loading, long animation frames (or long tasks),
 * slow resources, and the page's own marks and measures. Bounded: frames go out as one figure, the rest up to a number.
 */
import { all } from "../patch";
import { matches } from "../patterns";
import type { Cleanup, Client, Data } from "../types";
import { address, rounded } from "./words";

const SLOW_RESOURCE_MS = 2000;
const MAX_SINGLE = 30; // resources and marks that a page view reports one by one
const TOLERABLE_MS = 50; // of a long task nobody feels the first 50 ms
const LOAF = "long-animation-frame";

type Work = PerformanceEntry & Partial<PerformanceLongAnimationFrameTiming>;
type Report = (metric: string, value: number, attributes: Data, element?: string) => void;

export function watchWork(client: Client): Cleanup {
  const { performance: option } = client.options;
  const { longTasks = true, slowResource = SLOW_RESOURCE_MS, marks } = typeof option === "object" ? option : {};
  const known = PerformanceObserver.supportedEntryTypes;
  const off: Cleanup[] = [];
  let singles = 0;

  const report: Report = (metric, value, attributes, element) =>
    client.capture({ type: "measurement", metric, value: rounded(value), unit: "millisecond", attributes, ...(element && { element }) });
  const single: Report = (...item) => {
    if (singles++ < MAX_SINGLE) report(...item);
  };
  const observe = (type: string, each: (entry: PerformanceEntry) => void): void => {
    if (!known.includes(type)) return;
    const observer = new PerformanceObserver(client.guard((list: PerformanceObserverEntryList) => list.getEntries().forEach(each)));
    observer.observe({ type, buffered: true });
    off.push(() => observer.disconnect());
  };

  const [entry] = performance.getEntriesByType("navigation") as PerformanceNavigationTiming[];
  if (entry?.loadEventEnd) {
    const since = entry.activationStart || 0;
    report("load", entry.loadEventEnd - since, {
      dom_interactive: rounded(entry.domInteractive - since),
      dom_content_loaded: rounded(entry.domContentLoadedEventEnd - since),
      bytes: entry.transferSize,
      protocol: entry.nextHopProtocol,
    });
  }
  if (longTasks) {
    const loaf = known.includes(LOAF);
    let longest: Work | undefined;
    let count = 0;
    let total = 0;
    let blocking = 0;
    observe(loaf ? LOAF : "longtask", (entry: Work) => {
      count += 1;
      total += entry.duration;
      blocking += entry.blockingDuration ?? entry.duration - TOLERABLE_MS;
      if (!longest || entry.duration > longest.duration) longest = entry;
    });
    const deliver = (): void => {
      if (!longest) return;
      const [script] = [...(longest.scripts ?? [])].sort((a, b) => b.duration - a.duration);
      const { sourceURL = "", sourceFunctionName, invoker } = script ?? {};
      const sums = { count, total: rounded(total), blocking: rounded(blocking) };
      report(loaf ? "long_frame" : "long_task", longest.duration, { ...sums, function: sourceFunctionName, invoker }, address(sourceURL));
      longest = undefined;
      count = total = blocking = 0;
    };
    off.push(client.on("leave", deliver), client.on("hide", deliver));
  }
  if (slowResource) {
    observe("resource", (entry) => {
      const { name, duration, initiatorType, transferSize, responseStatus } = entry as PerformanceResourceTiming;
      // What scripts ask for is the requests integration's.
      if (duration < slowResource || /^(fetch|xml|beacon)/.test(initiatorType)) return;
      single("resource_slow", duration, { kind: initiatorType, bytes: transferSize, status: responseStatus }, address(name));
    });
  }
  if (marks) {
    for (const kind of ["mark", "measure"]) {
      observe(kind, ({ name, duration, startTime }) => {
        if (marks === true || matches(name, marks)) single(name.slice(0, 100), kind === "mark" ? startTime : duration, { kind });
      });
    }
  }
  return all(
    ...off,
    client.on("pageview", () => (singles = 0)),
  );
}

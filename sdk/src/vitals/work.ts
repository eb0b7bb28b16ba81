/**
 * What the browser tells of the page's work beside the web vitals: its loading, long animation frames (or long tasks)
 * and slow resources. Bounded: frames go out as one figure, resources up to a number.
 */
import { all } from "../patch";
import type { Cleanup, Client, Data } from "../types";
import { observe } from "./observe";
import { address, rounded } from "./words";

const SLOW_RESOURCE_MS = 2000;
const MAX_RESOURCES = 30; // that a page view reports
const TOLERABLE_MS = 50; // of a long task nobody feels the first 50 ms
const LOAF = "long-animation-frame";

type Work = PerformanceEntry & Partial<PerformanceLongAnimationFrameTiming>;
type Report = (metric: string, value: number, attributes: Data, element?: string) => void;

export function watchWork(client: Client): Cleanup {
  const { performance: option } = client.options;
  const { longTasks = true, slowResource = SLOW_RESOURCE_MS } = typeof option === "object" ? option : {};
  const known = PerformanceObserver.supportedEntryTypes;
  const off: Cleanup[] = [];

  const report: Report = (metric, value, attributes, element) =>
    client.capture({ type: "measurement", metric, value: rounded(value), unit: "millisecond", attributes, ...(element && { element }) });

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
    const each = (entry: Work): void => {
      count += 1;
      total += entry.duration;
      blocking += entry.blockingDuration ?? entry.duration - TOLERABLE_MS;
      if (!longest || entry.duration > longest.duration) longest = entry;
    };
    off.push(observe(client, loaf ? LOAF : "longtask", each));
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
    let count = 0;
    off.push(
      client.on("pageview", () => (count = 0)),
      observe(client, "resource", (entry) => {
        const { name, duration, initiatorType, transferSize, responseStatus } = entry as PerformanceResourceTiming;
        // What scripts ask for is the requests integration's.
        if (duration < slowResource || /^(fetch|xml|beacon)/.test(initiatorType) || count++ >= MAX_RESOURCES) return;
        report("resource_slow", duration, { kind: initiatorType, bytes: transferSize, status: responseStatus }, address(name));
      }),
    );
  }
  return all(...off);
}

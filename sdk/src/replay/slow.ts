/** Tells when the page has become so slow that recording it would be felt. Free where the browser counts long tasks. */
import type { Cleanup } from "../types";

const WINDOW = 10_000; // ms
const BUSY = 0.5; // share of a window in long tasks
const TIMES = 2; // windows in a row: a page may be busy once

export function watchSlow(tell: (reason: string) => void): Cleanup {
  if (typeof PerformanceObserver !== "function" || !PerformanceObserver.supportedEntryTypes?.includes("longtask")) return () => {};
  let start = 0;
  let busy = 0;
  let times = 0;
  const observer = new PerformanceObserver((list) => {
    for (const { startTime, duration } of list.getEntries()) {
      if (startTime - start > WINDOW) {
        // The windows in between had no long task at all.
        times = busy > WINDOW * BUSY && startTime - start < 2 * WINDOW ? times : 0;
        start = startTime;
        busy = 0;
      }
      const before = busy;
      busy += duration;
      if (before <= WINDOW * BUSY && busy > WINDOW * BUSY && ++times >= TIMES) tell("the page is busy");
    }
  });
  observer.observe({ type: "longtask" });
  return () => observer.disconnect();
}

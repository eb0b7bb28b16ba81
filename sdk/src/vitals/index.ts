/**
 * The web vitals chunk, loaded when the page is idle. What happened before is not lost: the browser buffers it.
 *
 * FCP and TTFB are final once they are known. LCP, CLS and INP change while the page lives: their values so far go out
 * when the page has settled, when its route changes and when it is hidden; a later value takes an earlier one's place
 * by its id. Where the browser tells of soft navigations, each has metrics of its own.
 */
import { type MetricWithAttribution, onCLS, onFCP, onINP, onLCP, onTTFB } from "web-vitals/attribution";
import { all } from "../patch";
import type { Cleanup, Client, Data, Measurement, Page, PerformanceOptions } from "../types";
import { watchFrames } from "./frames";
import { watchMarks } from "./marks";
import { address, rounded } from "./words";

const SETTLED_MS = 10_000; // a tab that the system kills later has said this much

let receive: ((metric: MetricWithAttribution) => void) | undefined;

export function startVitals(client: Client): Cleanup {
  const latest = new Map<string, MetricWithAttribution>(); // by name: known, and not sent
  const sent = new WeakMap<MetricWithAttribution, Page>(); // the page that it belongs to
  let { page } = client;
  let { href } = location;
  let before = { page, href }; // the page before this one

  const send = (metric: MetricWithAttribution): void => {
    const { id, name, value, rating, navigationType, navigationURL } = metric;
    const attributes: Data = { navigation_type: navigationType };
    const item: Measurement = {
      type: "measurement",
      id: id.replace(/\D/g, "").padStart(32, "0"),
      metric: name,
      value: rounded(value, name),
      unit: name === "CLS" ? "none" : "millisecond",
      rating,
      attributes,
    };
    for (const [given, found] of Object.entries(metric.attribution) as [string, unknown][]) {
      const key = given.replace(/[A-Z]+/g, "_$&").toLowerCase(); // largestShiftTime → largest_shift_time
      if (/target/.test(key)) item.element = found as string;
      else if (typeof found === "number") attributes[key] = rounded(found, name);
      else if (typeof found === "string") attributes[key] = key === "url" ? address(found) : found;
      else if (key === "longest_script" && found) {
        const { entry } = found as { entry: PerformanceScriptTiming };
        attributes["script"] = `${address(entry.sourceURL)} ${entry.sourceFunctionName || entry.invoker}`;
      }
    }
    // The click that changes the route belongs to the page where it was made, and is known when that has gone.
    const earlier = sent.get(metric);
    const home = earlier ?? (before.href === navigationURL ? before.page : page);
    if (home !== page) {
      item.started = home.started;
      item.url = home.url;
      if (home.route) item.route = home.route;
    }
    if (earlier) item.replaces = true;
    sent.set(metric, home);
    latest.delete(name);
    client.capture(item);
  };
  const deliver = (): void => latest.forEach(send);

  const listening = receive;
  receive = client.guard((metric) => {
    const older = latest.get(metric.name);
    if (older && older !== metric) send(older); // the page's before this one
    latest.set(metric.name, metric);
    if (/FCP|TTFB/.test(metric.name)) send(metric);
  });
  if (!listening) {
    // The library cannot be told to stop: a client that comes later takes over.
    const listen = (metric: MetricWithAttribution): void => receive?.(metric);
    const options = { reportAllChanges: true, reportSoftNavs: true };
    onTTFB(listen); // of a soft navigation it would be 0
    onFCP(listen, options);
    onLCP(listen, options);
    onCLS(listen, options);
    onINP(listen, options);
  }
  const timer = setTimeout(client.guard(deliver), SETTLED_MS);
  const options = Object(client.options.performance) as PerformanceOptions;
  return all(
    ...watchMarks(client, options),
    options.jank ? watchFrames(client) : () => {},
    client.on("leave", deliver),
    client.on("hide", deliver),
    client.on("pageview", (next) => {
      before = { page, href };
      page = next;
      href = location.href;
    }),
    () => {
      clearTimeout(timer);
      receive = () => {};
    },
  );
}

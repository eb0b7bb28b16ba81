/** The page's own marks and measures, when asked: each is a measurement, up to a number a page view. */
import { matches } from "../patterns";
import type { Cleanup, Client, PerformanceOptions } from "../types";
import { observe } from "./observe";
import { rounded } from "./words";

const MAX = 30;

export function watchMarks(client: Client, { marks }: PerformanceOptions): Cleanup[] {
  if (!marks) return [];
  let count = 0;
  const watched = ["mark", "measure"].map((kind) =>
    observe(client, kind, ({ name, duration, startTime }) => {
      if ((marks !== true && !matches(name, marks)) || count++ >= MAX) return;
      client.capture({ type: "measurement", metric: name.slice(0, 100), value: rounded(kind === "mark" ? startTime : duration), unit: "millisecond", attributes: { kind } });
    }),
  );
  return [...watched, client.on("pageview", () => (count = 0))];
}

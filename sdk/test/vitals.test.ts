// @vitest-environment jsdom
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { ClientEvents, Measurement } from "../src/types";
import { recorder, type Recorder } from "./recorder";

// jsdom measures nothing: what the library and the browser report is said by the test; Chromium's are tested end to end.
const report = vi.hoisted(() => new Map<string, (metric: unknown) => void>());
vi.mock("web-vitals/attribution", () =>
  Object.fromEntries(["CLS", "FCP", "INP", "LCP", "TTFB"].map((name) => [`on${name}`, (callback: (metric: unknown) => void) => report.set(name, callback)])),
);
const { startVitals } = await import("../src/vitals");
const { watchWork } = await import("../src/vitals/work");

type Listeners = { [Name in keyof ClientEvents]?: ((...args: ClientEvents[Name]) => void)[] };
let client: Recorder;
let listeners: Listeners;
let stop: () => void = () => {};

const measured = (): Measurement[] => client.items as Measurement[];
const metric = (name: string, value: number, more: object = {}): object => ({
  name, value, id: `v6-1795400470585-${name.length}123`, rating: "good", navigationType: "navigate", navigationURL: location.href, entries: [], attribution: {}, ...more,
});
const emit = (name: keyof ClientEvents, ...args: unknown[]): void => listeners[name]?.forEach((listener) => (listener as (...args: unknown[]) => void)(...args));

function listening(options: object = {}): Recorder {
  const made = recorder({ performance: options });
  listeners = {};
  made.on = (name, listener) => {
    ((listeners[name] ||= []) as (typeof listener)[]).push(listener);
    return () => {};
  };
  return made;
}

beforeEach(() => {
  vi.useFakeTimers();
  client = listening();
});
afterEach(() => {
  stop();
  vi.unstubAllGlobals();
  vi.useRealTimers();
  history.replaceState(null, "", "/");
});

describe("web vitals", () => {
  it("are sent at once where they are final, with what the library found", () => {
    stop = startVitals(client);
    report.get("TTFB")?.(metric("TTFB", 123.456, { attribution: { waitingDuration: 1.26, navigationEntry: {} } }));
    expect(measured()).toEqual([
      {
        type: "measurement", metric: "TTFB", value: 123.5, unit: "millisecond", rating: "good",
        id: "617954004705854123".padStart(32, "0"),
        attributes: { navigation_type: "navigate", waiting_duration: 1.3 },
      },
    ]);
    expect(measured()[0]?.id).toMatch(/^[0-9a-f]{32}$/);
  });

  it("that may change are sent when the page hides, and again with the same id only when they have changed", () => {
    stop = startVitals(client);
    const cls = metric("CLS", 0.02345678, { attribution: { largestShiftTarget: "div#ad", largestShiftValue: 0.02345678, loadState: "complete" } }) as { value: number };
    report.get("CLS")?.(cls);
    expect(measured()).toEqual([]);
    emit("hide");
    emit("hide");
    expect(measured()).toHaveLength(1);
    cls.value = 0.2;
    report.get("CLS")?.(cls);
    emit("hide");
    const [first, second] = measured();
    expect(first).toMatchObject({ value: 0.0235, unit: "none", element: "div#ad", attributes: { largest_shift_value: 0.0235, load_state: "complete" } });
    expect(first?.replaces).toBeUndefined();
    expect(second).toMatchObject({ id: first?.id, value: 0.2, replaces: true });
  });

  it("are sent once the page has settled, for tabs that are killed", () => {
    stop = startVitals(client);
    report.get("LCP")?.(metric("LCP", 900, { attribution: { target: "img", url: "https://cdn.test/a.png?sig=secret" } }));
    vi.advanceTimersByTime(10_000);
    expect(measured()[0]).toMatchObject({ metric: "LCP", value: 900, element: "img", attributes: { url: "https://cdn.test/a.png" } });
    expect(vi.getTimerCount()).toBe(0);
  });

  it("of a page that was left belong to its route, also when they come later", () => {
    stop = startVitals(client);
    const first = location.href;
    emit("leave", client.page);
    history.pushState(null, "", "/next");
    const page = { ...client.page, id: "d".repeat(32), url: location.href };
    Object.assign(client, { page });
    emit("pageview", page);
    report.get("INP")?.(metric("INP", 320, { navigationURL: first, attribution: { interactionTarget: "button.pay" } }));
    report.get("INP")?.(metric("INP", 48, { id: "v6-1795400470999-1", navigationURL: location.href }));
    emit("hide");
    expect(measured().map(({ value, url }) => [value, url])).toEqual([[320, first], [48, undefined]]);
  });

  it("stay with the page that they began on, where the browser knows no soft navigations", () => {
    stop = startVitals(client);
    const first = client.page;
    const cls = metric("CLS", 0.1) as { value: number };
    report.get("CLS")?.(cls);
    emit("leave", first);
    for (const path of ["/two", "/three"]) {
      history.pushState(null, "", path);
      emit("pageview", { ...first, id: path, started: first.started + 9, url: location.href });
    }
    cls.value = 0.3;
    report.get("CLS")?.(cls);
    emit("hide");
    expect(measured()[1]).toMatchObject({ value: 0.3, replaces: true, url: first.url, started: first.started });
  });

  it("go to the client that came last, and to none after its end", () => {
    const before = client;
    startVitals(client)();
    client = listening();
    stop = startVitals(client);
    report.get("FCP")?.(metric("FCP", 500));
    expect(before.items).toEqual([]);
    expect(measured()).toHaveLength(1);
    stop();
    report.get("FCP")?.(metric("FCP", 600));
    expect(measured()).toHaveLength(1);
  });
});

describe("the page's work", () => {
  let observed: Map<string, (entries: object[]) => void>;
  let disconnected: number;

  function browser(...types: string[]): void {
    observed = new Map();
    disconnected = 0;
    class Observer {
      static supportedEntryTypes = types;
      constructor(private callback: (list: { getEntries(): object[] }) => void) {}
      observe({ type }: { type: string }): void {
        observed.set(type, (entries) => this.callback({ getEntries: () => entries }));
      }
      disconnect(): void {
        disconnected += 1;
      }
    }
    vi.stubGlobal("PerformanceObserver", Observer);
  }

  it("goes out as one figure of all long frames, with the script that took longest", () => {
    browser("long-animation-frame", "longtask");
    stop = watchWork(client);
    const scripts = [{ duration: 5, sourceURL: "/a.js" }, { duration: 90, sourceURL: "https://x.test/b.js?v=2", sourceFunctionName: "sort", invoker: "BUTTON.onclick" }];
    observed.get("long-animation-frame")?.([{ startTime: 10, duration: 60, blockingDuration: 5 }, { startTime: 99, duration: 120.04, blockingDuration: 70, scripts }]);
    expect(observed.has("longtask")).toBe(false);
    emit("hide");
    emit("hide");
    expect(measured()).toEqual([
      {
        type: "measurement", metric: "long_frame", value: 120, unit: "millisecond", element: "https://x.test/b.js",
        attributes: { count: 2, total: 180, blocking: 75, function: "sort", invoker: "BUTTON.onclick" },
      },
    ]);
  });

  it("is known by long tasks where the browser has no frames", () => {
    browser("longtask");
    stop = watchWork(client);
    observed.get("longtask")?.([{ startTime: 1, duration: 80 }]);
    emit("leave");
    expect(measured()[0]).toMatchObject({ metric: "long_task", value: 80, attributes: { count: 1, blocking: 30 } });
  });

  it("names slow resources, but not requests of scripts, and up to a number in a page view", () => {
    browser("resource");
    stop = watchWork(client);
    const slow = { initiatorType: "img", duration: 2500, name: "https://cdn.test/big.png?token=1", transferSize: 9, responseStatus: 200 };
    observed.get("resource")?.([{ ...slow, duration: 1999 }, { ...slow, initiatorType: "fetch" }, slow]);
    expect(measured()).toHaveLength(1);
    expect(measured()[0]).toMatchObject({ metric: "resource_slow", value: 2500, element: "https://cdn.test/big.png", attributes: { kind: "img", bytes: 9, status: 200 } });
    observed.get("resource")?.(Array.from({ length: 100 }, () => slow));
    expect(measured()).toHaveLength(30);
    emit("pageview");
    observed.get("resource")?.([slow]);
    expect(measured()).toHaveLength(31);
  });

  it("has the page's own marks and measures only when asked", () => {
    browser("mark", "measure");
    startVitals(client)();
    expect(observed.has("mark")).toBe(false);
    client = listening({ marks: ["shop.", /^cart/] });
    stop = startVitals(client);
    observed.get("measure")?.([{ name: "shop.search", duration: 12.34, startTime: 5 }, { name: "react-render", duration: 1 }]);
    observed.get("mark")?.([{ name: "cart-ready", duration: 0, startTime: 777 }]);
    expect(measured()).toMatchObject([
      { metric: "shop.search", value: 12.3, attributes: { kind: "measure" } },
      { metric: "cart-ready", value: 777, attributes: { kind: "mark" } },
    ]);
  });

  it("counts frames only when asked, only for a second after input, and not while nothing happens", () => {
    let asked: ((now: number) => void) | undefined;
    vi.stubGlobal("requestAnimationFrame", (step: (now: number) => void) => ((asked = step), 1));
    vi.stubGlobal("cancelAnimationFrame", () => (asked = undefined));
    stop = startVitals(client);
    expect(asked).toBeUndefined();
    stop();
    client = listening({ jank: true });
    stop = startVitals(client);
    const draw = (every: number, until: number): void => {
      for (let now = every; asked && now <= until; now += every) {
        const step = asked;
        asked = undefined;
        step(now);
      }
    };
    draw(50, 5000);
    expect(asked).toBeUndefined(); // the window is over
    dispatchEvent(new Event("scroll"));
    expect(asked).toBeDefined();
    draw(250, 5000);
    emit("hide");
    expect(measured()).toMatchObject([
      { metric: "low_fps", unit: "fps", value: 4, attributes: { windows: 2, slow: 2 } },
      { metric: "jank", value: 250, attributes: { count: 4 } },
    ]);
  });

  it("ends with its observers", () => {
    browser("resource", "longtask");
    watchWork(client)();
    startVitals(client)();
    expect(disconnected).toBe(2);
  });
});

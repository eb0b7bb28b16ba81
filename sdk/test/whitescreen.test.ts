// @vitest-environment jsdom
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { ClientEvents, EventItem } from "../src/types";
import { recorder } from "./recorder";

// jsdom has no layout: what a look sees is said by the test; the looks themselves are tested in Chromium.
const sight = vi.hoisted(() => ({ reason: "", waiting: "", looks: 0 }));
vi.mock("../src/integrations/whitescreen/look", () => ({
  look: () => {
    sight.looks += 1;
    return { reason: sight.reason, waiting: sight.waiting, points: [], empty: 25, root: null };
  },
}));
const { checkWhiteScreen, whiteScreen } = await import("../src/integrations/whitescreen");

const OPTIONS = { delay: 100, interval: 100, retries: 2 };

function watching() {
  const client = recorder({ whiteScreen: OPTIONS });
  const listeners: { [Name in keyof ClientEvents]?: (...args: ClientEvents[Name]) => void } = {};
  client.on = (name, listener) => {
    listeners[name] = listener as never;
    return () => delete listeners[name];
  };
  const stop = whiteScreen.setup(client) as () => void;
  const error = (event: Partial<EventItem>): void => listeners.event?.({ type: "event", kind: "error", ...event }, {});
  return { client, listeners, stop, error };
}

let hidden = false;
let media = false;
let stop: () => void = () => {};

beforeEach(() => {
  vi.useFakeTimers();
  Object.assign(sight, { reason: "", waiting: "", looks: 0 });
  hidden = media = false;
  vi.spyOn(document, "hidden", "get").mockImplementation(() => hidden);
  vi.stubGlobal("matchMedia", () => ({ matches: media }));
});
afterEach(() => {
  stop();
  vi.restoreAllMocks();
  vi.unstubAllGlobals();
  vi.useRealTimers();
  document.body.replaceChildren();
});

describe("rounds of looks", () => {
  it("end at the first one that sees content, and leave no timer", () => {
    const { client, stop: end } = watching();
    stop = end;
    vi.advanceTimersByTime(5000);
    expect(sight.looks).toBe(1);
    expect(vi.getTimerCount()).toBe(0);
    expect(client.events).toEqual([]);
  });

  it("report an empty page after it was white at each look, once", () => {
    sight.reason = "empty_root";
    const { client, stop: end } = watching();
    stop = end;
    vi.advanceTimersByTime(299);
    expect(client.events).toEqual([]);
    vi.advanceTimersByTime(60_000);
    expect(client.events).toHaveLength(1);
    expect(client.events[0]).toMatchObject({ kind: "white_screen", white_screen: { reason: "empty_root", trigger: "load", looks: 3 } });
    expect(vi.getTimerCount()).toBe(0);
  });

  it("wait longer for what says that it is loading", () => {
    Object.assign(sight, { reason: "skeleton", waiting: "div.skeleton" });
    const { client, stop: end } = watching();
    stop = end;
    vi.advanceTimersByTime(800);
    expect(client.events).toEqual([]);
    vi.advanceTimersByTime(100);
    expect(client.events[0]).toMatchObject({ white_screen: { reason: "skeleton", looks: 9 } });
  });

  it("forgive a page that fills before the last look", () => {
    sight.reason = "empty_root";
    const { client, stop: end } = watching();
    stop = end;
    vi.advanceTimersByTime(250);
    sight.reason = "";
    vi.advanceTimersByTime(60_000);
    expect(client.events).toEqual([]);
  });

  it("begin again with each page view", () => {
    sight.reason = "empty_root";
    const { client, listeners, stop: end } = watching();
    stop = end;
    vi.advanceTimersByTime(1000);
    listeners.pageview?.(client.page);
    vi.advanceTimersByTime(1000);
    expect(client.events.map(({ white_screen }) => white_screen?.["trigger"])).toEqual(["load", "route"]);
  });

  it("do not look at a hidden or printed page, and look when it is shown", () => {
    sight.reason = "empty_root";
    hidden = true;
    const { client, listeners, stop: end } = watching();
    stop = end;
    vi.advanceTimersByTime(5000);
    expect(sight.looks).toBe(0);
    hidden = false;
    media = true;
    listeners.show?.();
    vi.advanceTimersByTime(5000);
    expect(sight.looks).toBe(0);
    media = false;
    listeners.show?.();
    vi.advanceTimersByTime(5000);
    expect(client.events).toHaveLength(1);
  });

  it("begin when something lost all of its children", async () => {
    document.body.innerHTML = "<div id=root><p>text</p></div><ul><li>1</li><li>2</li></ul>";
    const { client, stop: end } = watching();
    stop = end;
    vi.advanceTimersByTime(1000);
    sight.reason = "empty_root";
    document.querySelector("li")?.remove();
    await Promise.resolve();
    expect(vi.getTimerCount()).toBe(0);
    document.querySelector("#root")?.replaceChildren();
    await Promise.resolve();
    vi.advanceTimersByTime(1000);
    expect(client.events[0]).toMatchObject({ white_screen: { trigger: "removal" } });
  });
});

describe("the report", () => {
  it("has the last errors and the resources that failed, bounded", () => {
    const { client, error, stop: end } = watching();
    stop = end;
    vi.advanceTimersByTime(1000);
    sight.reason = "hidden";
    for (let n = 0; n < 9; n += 1) error({ id: String(n), exceptions: [{ type: "TypeError", value: `no ${n}` }] });
    error({ kind: "resource_error", contexts: { resource: { tag: "script", url: "/app.js" } } });
    error({ kind: "message", message: "not an error" });
    client.refused = () => [{ url: "https://shop.example.com/main.js", status: 404 }]; // as idle.ts does
    vi.advanceTimersByTime(1000);
    const found = client.events[0]?.white_screen;
    expect(found?.["trigger"]).toBe("error");
    expect(found?.["last_errors"]).toEqual([4, 5, 6, 7, 8].map((n) => ({ id: String(n), type: "TypeError", value: `no ${n}` })));
    expect(found?.["failed_resources"]).toEqual([{ tag: "script", url: "/app.js" }, { url: "https://shop.example.com/main.js", status: 404 }]);
  });

  it("comes early when somebody leaves a page that failed, and not without a failure", () => {
    sight.reason = "empty_root";
    const { client, error, listeners, stop: end } = watching();
    stop = end;
    vi.advanceTimersByTime(100);
    listeners.hide?.();
    expect(client.events).toEqual([]);
    error({ exceptions: [{ type: "Error", value: "boom" }] });
    hidden = true;
    listeners.hide?.();
    expect(client.events).toHaveLength(1);
    listeners.hide?.();
    expect(client.events).toHaveLength(1);
  });
});

describe("checkWhiteScreen", () => {
  it("says what is seen now, and reports it when it stays", () => {
    const { client, stop: end } = watching();
    vi.advanceTimersByTime(1000);
    expect(checkWhiteScreen()?.reason).toBe("");
    sight.reason = "background";
    expect(checkWhiteScreen()?.reason).toBe("background");
    vi.advanceTimersByTime(1000);
    expect(client.events[0]).toMatchObject({ white_screen: { trigger: "manual" } });
    end();
    expect(checkWhiteScreen()).toBeUndefined();
    expect(vi.getTimerCount()).toBe(0);
  });
});

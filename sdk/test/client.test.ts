import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { defaultIntegrations } from "../src/defaults";
import { endpointOf, parseDsn } from "../src/dsn";
import { pack } from "../src/envelope";
import type { Hint } from "../src/types";
import { begin, chunks, DSN, finish, KEY, page, pass, type Server, visibility } from "./world";

let server: Server;

beforeEach(() => {
  server = begin();
});
afterEach(finish);

describe("a DSN", () => {
  test.each([
    [`https://${KEY}@monitor.example.com/7`, "https://monitor.example.com"],
    [`https://${KEY}@monitor.example.com/7/`, "https://monitor.example.com"],
    [`http://${KEY}@localhost:8000/under/here/7`, "http://localhost:8000/under/here"],
    [`https://monitor.example.com/tracking/${KEY}`, "https://monitor.example.com"],
    [`https://monitor.example.com/dsn-api/tracking/${KEY}/`, "https://monitor.example.com/dsn-api"],
    [`https://monitor.example.com/under/v2/${KEY}`, "https://monitor.example.com/under"],
  ])("%s", (dsn, base) => {
    expect(parseDsn(dsn)).toEqual({ key: KEY, base, endpoint: `${base}/v2/${KEY}` });
  });

  test("has the endpoint's name from the options where the server's is another", () => {
    expect(endpointOf(DSN, "collect")).toBe(`https://monitor.example.com/collect/${KEY}`);
  });

  test.each(["", "monitor.example.com", "https://monitor.example.com/", "ftp://a@b.c/1", "javascript:alert(1)"])("is not %o", (dsn) => {
    expect(parseDsn(dsn)).toBeUndefined();
    expect(() => endpointOf(dsn)).toThrow(/is no DSN/);
    const client = page({ dsn });
    expect(client.captureException(new Error("into the void"))).toBe("");
    expect(fetch).not.toHaveBeenCalled();
  });
});

test("a routeName that throws costs the route alone, at the start, at enable() and at a page view", async () => {
  const setup = vi.fn();
  const routeName = (): string => {
    throw new Error("the page's own fault");
  };
  const client = page({ routeName, enabled: false }, [{ name: "one", setup }]);
  expect(() => client.enable()).not.toThrow();
  expect(setup).toHaveBeenCalledTimes(1);
  expect(() => client.startPageView("/next")).not.toThrow();
  client.captureMessage("alive");
  await pass(10);
  expect(server.events.map(({ message, route }) => [message, route])).toEqual([["alive", undefined]]);
});

test("a replay segment travels alone, also before a span", () => {
  const lines = (["span", "replay_segment", "event", "replay_segment", "span"] as const).map((type, n) => ({ type, n, text: "{}" }));
  expect(pack(page(), lines).map(({ numbers }) => numbers)).toEqual([
    { event: [2] },
    { replay_segment: [1] },
    { replay_segment: [3] },
    { span: [0, 4] },
  ]);
});

describe("an event", () => {
  test("carries what was captured: the error is not lost", async () => {
    const client = page({ release: "shop@1", environment: "test", dist: "7", user: { id: 42 }, tags: { plan: "free" } });
    client.addBreadcrumb({ category: "cart", message: "two apples" });
    client.setTag("page", "cart");
    client.setContext("cart", { items: 2 });
    const id = client.captureException(new TypeError("x is not a function"), { tags: { where: "checkout" }, extra: { step: 3 }, level: "warning" });
    await pass(1);
    expect(server.events).toHaveLength(1);
    expect(server.events[0]).toMatchObject({
      id,
      kind: "error",
      level: "warning",
      url: "https://shop.example.com/cart?coupon=*",
      user: { id: 42 },
      tags: { plan: "free", page: "cart", where: "checkout" },
      contexts: { cart: { items: 2 } },
      extra: { step: 3 },
      breadcrumbs: [{ category: "cart", message: "two apples", at: expect.any(Number) as number }],
      trace_id: client.page.traceId,
      exceptions: [{ type: "TypeError", value: "x is not a function", handled: true, stack: expect.stringContaining("client.test.ts") as string }],
    });
    expect(server.sent[0]?.header).toMatchObject({ release: "shop@1", environment: "test", dist: "7", user: { id: 42 }, viewport: [1024, 768], language: "en-US" });
  });

  test("keeps what was true when it was captured", async () => {
    const client = page();
    client.setUser({ id: 1 });
    client.captureMessage("of one");
    client.setUser({ id: 2 });
    client.setTag("late", true);
    client.captureMessage("of two");
    await pass(1);
    expect(server.events.map(({ message, user, tags }) => [message, user?.id, tags])).toEqual([
      ["of one", 1, {}],
      ["of two", 2, { late: true }],
    ]);
  });

  test("may hold what JSON cannot say", async () => {
    const circle: Record<string, unknown> = { name: "circle", big: 12n, node: document.body };
    circle["self"] = circle;
    page().captureException(new Error("x"), { extra: { circle, deep: Array.from({ length: 1500 }, () => ({})) } });
    await pass(1);
    expect(server.events[0]?.extra?.["circle"]).toMatchObject({ name: "circle", big: "12", self: "[object Object]" });
    expect(JSON.stringify(server.events[0]).length).toBeLessThan(90_000);
  });

  test("whose data throw when they are read comes without them", async () => {
    const trap = {
      get secret(): string {
        throw new Error("not for you");
      },
    };
    page().captureException(new Error("x"), { extra: { trap } });
    await pass(1);
    expect(server.events[0]).toMatchObject({ exceptions: [{ value: "x" }], tags: { "condev.cut": true } });
    expect(server.events[0]).not.toHaveProperty("extra");
  });

  test("that is too large comes without its context", async () => {
    page().captureException(new Error("x"), { extra: Object.fromEntries(Array.from({ length: 10 }, (_, index) => [index, "y".repeat(10_000)])) });
    await pass(1);
    expect(server.events[0]).toMatchObject({ tags: { "condev.cut": true } });
  });

  test("that is too large all the same is a counted drop, and no gap", async () => {
    const client = page();
    client.captureEvent({ kind: "custom", message: "m".repeat(15_000), fingerprint: Array.from({ length: 4 }, () => "f".repeat(15_000)) });
    await pass(10_000);
    expect(server.events).toEqual([]);
    expect(server.outcomes).toEqual([["too_large", "error", 1]]);
    expect(server.accounted(client.page.id)).toEqual([1, 2]);
  });

  test("of one thrown thing is one, whoever reports it", async () => {
    const client = page();
    const error = new Error("boundary, then window");
    expect(client.captureException(error)).toBe(client.captureException(error, { mechanism: "onerror", handled: false }));
    client.captureException("a text");
    client.captureException("a text");
    await pass(1);
    expect(server.events).toHaveLength(3);
  });

  test("of an error that is thrown again is another one; what is captured again is counted", async () => {
    const client = page();
    const error = new Error("one object for all");
    const thrown = (): string => client.captureException(error, { mechanism: "onerror", handled: false });
    const first = thrown();
    const second = thrown();
    expect(second).not.toBe(first);
    expect(client.captureException(error)).toBe(second); // as of an error page, of the same throw
    const other = new Error("caught at two levels");
    expect(client.captureException(other)).toBe(client.captureException(other));
    await pass(6000);
    expect(server.events.map(({ id }) => id)).toEqual([first, second, expect.any(String)]);
    expect(server.outcomes).toEqual([["duplicate", "error", 1]]);
  });

  test("is seen by listeners before it is sent, who may add to it", async () => {
    const client = page();
    client.on("event", (event) => (event.replay_id = "r".repeat(32)));
    const off = client.on("event", () => {
      throw new Error("of a plugin");
    });
    client.captureMessage("one");
    off();
    client.captureMessage("two");
    await pass(10_000);
    expect(server.events.map(({ replay_id }) => replay_id)).toEqual(["r".repeat(32), "r".repeat(32)]);
    expect(server.outcomes).toEqual([["sdk_error", "error", 1]]);
  });
});

describe("what the page does not want", () => {
  const hints: Hint[] = [];
  test("beforeSend changes or drops, before the event has a number", async () => {
    const client = page({
      beforeSend(event, hint) {
        hints.push(hint);
        return event.message === "drop" ? null : { ...event, message: "changed" };
      },
    });
    client.captureMessage("drop");
    client.captureMessage("keep");
    await pass(10_000);
    expect(server.events.map(({ message, n }) => [message, n])).toEqual([["changed", 2]]);
    expect(server.outcomes).toEqual([["before_send", "error", 1]]);
  });

  test("a beforeSend that throws sends nothing: it may be what keeps secrets back", async () => {
    const client = page({
      beforeSend() {
        throw new Error("of the page");
      },
    });
    expect(() => client.captureMessage("secret")).not.toThrow();
    await pass(10_000);
    expect(server.events).toEqual([]);
    expect(server.outcomes).toContainEqual(["before_send", "error", 1]);
  });

  test("ignoreErrors, by the page's options and the server's settings", async () => {
    server.settings = { ignoreErrors: ["of the server"] };
    const client = page({ ignoreErrors: ["ResizeObserver", /^TypeError: Load failed$/] });
    await pass(1);
    await pass(1000);
    client.captureException(new Error("ResizeObserver loop"));
    client.captureException(new TypeError("Load failed"));
    client.captureException(new TypeError("Load failed again"));
    client.captureMessage("a word of the server's");
    client.captureMessage("of the server");
    await pass(10_000);
    expect(server.events.map(({ exceptions, message }) => exceptions?.[0]?.value || message)).toEqual(["Load failed again", "a word of the server's"].slice(0, 1));
    expect(server.outcomes).toEqual([["ignored", "error", 4]]);
  });

  test.each([
    [{ denyUrls: ["cdn.ads.com"] }, ["own", "unknown"]],
    [{ allowUrls: [/^https:\/\/shop\./] }, ["own", "unknown"]],
  ])("errors of other scripts, by %o", async (options, left) => {
    const client = page(options);
    const thrown = (name: string, file: string): Error => Object.assign(new Error(name), { stack: file && `Error: ${name}\n    at f (${file}:3:7)\n    at https://shop.example.com/a.js:1:1` });
    client.captureException(thrown("own", "https://shop.example.com/app.js"));
    client.captureException(thrown("foreign", "https://cdn.ads.com/track.js"));
    client.captureException(thrown("unknown", ""));
    await pass(1);
    expect(server.events.map(({ exceptions }) => exceptions?.[0]?.value)).toEqual(left);
  });

  test("sampling: errors one by one, the rest by page view; all of it counted", async () => {
    const random = vi.spyOn(Math, "random");
    const client = page({ sampleRates: { error: 0.5, measurement: 0, span: 0 } });
    for (const [value, name] of [[0.4, "in"], [0.6, "out"]] as const) {
      random.mockReturnValue(value);
      client.captureMessage(name);
    }
    for (let index = 0; index < 3; index++) client.capture({ type: "measurement", metric: "LCP", value: 1 });
    await pass(10_000);
    expect(server.events.map(({ message }) => message)).toEqual(["in"]);
    expect(server.outcomes).toEqual([["sample_rate", "error", 1], ["sample_rate", "measurement", 3]]);
    expect(server.accounted(client.page.id)).toEqual([1, 2]);
  });
});

describe("consent", () => {
  const storage = (): string[] => Object.keys(localStorage);

  test("nothing is read, kept or sent before enable()", async () => {
    const setup = vi.fn();
    const client = page({ enabled: false }, [{ name: "mine", setup }]);
    client.captureException(new Error("before"));
    client.capture({ type: "measurement", metric: "LCP", value: 1 });
    client.addBreadcrumb({ message: "before" });
    await pass(10_000);
    expect(setup).not.toHaveBeenCalled();
    expect(fetch).not.toHaveBeenCalled();
    expect(storage()).toEqual([]);
    client.enable();
    client.captureException(new Error("after"));
    await pass(10_000);
    expect(setup).toHaveBeenCalledOnce();
    expect(server.events.map(({ exceptions, breadcrumbs }) => [exceptions?.[0]?.value, breadcrumbs])).toEqual([["after", []]]);
  });

  test("reads and writes nothing that is kept before it is needed: that would hold the page up while it loads", async () => {
    const used = vi.spyOn(globalThis, "localStorage", "get");
    const client = page();
    client.addBreadcrumb({ message: "early" });
    expect(client.page.url).toBe("https://shop.example.com/cart?coupon=*"); // which requests ask for
    expect(used).not.toHaveBeenCalled();
    client.captureMessage("the first");
    expect(used).toHaveBeenCalled();
    await pass(1);
    expect(server.sent[0]?.items.map(({ type, n }) => [type, n])).toEqual([["event", 2], ["page_view", 1]]);
  });

  test("that nothing needs tells its page view when the page has settled, or is left before that", async () => {
    page();
    await pass(6000);
    expect(server.sent.map(({ header }) => header.has)).toEqual([["page_view"]]);
    page();
    visibility("hidden");
    await pass(1);
    expect(server.sent.filter(({ header }) => header.has.includes("page_view"))).toHaveLength(2);
  });

  test("disable() before anything was loaded forgets what earlier pages could not send", async () => {
    server.answer = () => "down";
    const first = page();
    await pass(1000);
    first.captureException(new Error("of the page before"));
    await pass(1000);
    first.flush = () => Promise.resolve(false);
    vi.clearAllTimers(); // its process ends
    chunks.failing = true;
    page({ enabled: false }).disable();
    await pass(1000);
    chunks.failing = false;
    server.answer = () => new Response("{}");
    page();
    await pass(10_000);
    expect(server.events).toEqual([]);
  });

  test("disable() ends it, drops what was gathered, and forgets what was stored", async () => {
    const end = vi.fn();
    const client = page({}, [{ name: "mine", setup: () => end }]);
    await pass(10_000);
    const before = server.sent.length;
    expect(storage().length).toBeGreaterThan(0);
    client.captureMessage("gathered");
    client.disable();
    client.captureMessage("later");
    await pass(10_000);
    expect(end).toHaveBeenCalledOnce();
    expect(server.sent).toHaveLength(before);
    expect(storage()).toEqual([]);
    client.enable();
    client.captureMessage("again");
    await pass(10_000);
    expect(server.events.map(({ message }) => message)).toEqual(["again"]);
  });

  test.each([
    ["doNotTrack", "1", { respectDoNotTrack: true }],
    ["globalPrivacyControl", true, { respectGlobalPrivacyControl: true }],
  ])("%s is heeded on request, and a consent stands above it", async (name, value, option) => {
    Object.defineProperty(navigator, name, { value, configurable: true });
    page(option).captureMessage("objected");
    page().captureMessage("not asked to heed it");
    const client = page(option);
    client.enable();
    client.captureMessage("consented");
    await pass(10_000);
    Reflect.deleteProperty(navigator, name);
    expect(server.events.map(({ message }) => message).sort()).toEqual(["consented", "not asked to heed it"]);
  });
});

test("a start has the browser make nothing that it can do without: not yet its navigator, nor a MutationObserver", () => {
  vi.spyOn(document, "readyState", "get").mockReturnValue("interactive");
  const observer = vi.spyOn(globalThis, "MutationObserver");
  const browser = vi.spyOn(globalThis, "navigator", "get");
  page({}, defaultIntegrations({ dsn: DSN }));
  expect(observer).not.toHaveBeenCalled();
  expect(browser).not.toHaveBeenCalled();
  window.dispatchEvent(new Event("load"));
  window.dispatchEvent(new Event("load")); // one that began between "complete" and "load" hears of both
  expect(observer).toHaveBeenCalledOnce();
});

test("a page that is loaded in advance is none until it is shown", async () => {
  Object.defineProperty(document, "prerendering", { value: true, configurable: true });
  const client = page();
  client.captureMessage("to nobody");
  await pass(10_000);
  expect(fetch).not.toHaveBeenCalled();
  Reflect.deleteProperty(document, "prerendering");
  document.dispatchEvent(new Event("prerenderingchange"));
  client.captureMessage("to somebody");
  await pass(10);
  expect(server.items.map((item) => (item.type === "event" ? item.message : item.type))).toEqual(["to somebody", "page_view"]);
});

import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { defaultIntegrations } from "../src/defaults";
import { consoleErrors } from "../src/integrations/console";
import { consoleTrail } from "../src/integrations/trail";
import { all } from "../src/patch";
import type { Cleanup, Options } from "../src/types";
import { type Recorder, recorder } from "./recorder";
import { chunks, leave, page, Server, turns, visibility } from "./world";

let client: Recorder;
let cleanup: Cleanup | void;
const METHODS = ["debug", "log", "info", "warn", "error"] as const;

function start(options: Partial<Options> = {}): void {
  client = recorder(options);
  const ends = [consoleErrors, consoleTrail].map((one) => one.setup(client));
  cleanup = all(...ends.filter((end) => typeof end === "function"));
}

beforeEach(() => METHODS.forEach((method) => vi.spyOn(console, method).mockImplementation(() => {})));
afterEach(() => {
  cleanup?.();
  vi.restoreAllMocks();
});

test("calls become breadcrumbs, and reach the console with what they were given", () => {
  const spy = console.warn;
  start();
  const state = { user: { token: "secret" } };
  console.warn("stock", 3, state, undefined, new TypeError("low"));
  expect(client.crumbs).toEqual([{ category: "console", level: "warning", message: "stock 3 Object undefined TypeError: low" }]);
  expect(spy).toHaveBeenCalledWith("stock", 3, state, undefined, expect.any(TypeError));
  expect(client.events).toEqual([]);
});

test("levels are the console's", () => {
  start();
  METHODS.forEach((method) => console[method](method));
  expect(client.crumbs.map((crumb) => crumb.level)).toEqual(["debug", "info", "info", "warning", "error"]);
});

test("texts are bounded", () => {
  start();
  console.log("x".repeat(100_000), 1, 2, 3, 4, 5, 6);
  expect(client.crumbs[0]?.message?.length).toBe(300);
});

test("on request console.error is an event: a message, or the error that it was given", () => {
  start({ consoleErrors: true });
  console.error("could not save", 3);
  const error = new RangeError("too far");
  console.error("failed:", error);
  console.warn("no event");
  expect(client.events).toMatchObject([
    { kind: "message", level: "error", message: "could not save 3" },
    { kind: "error", level: "error", exceptions: [{ type: "RangeError", mechanism: "console" }] },
  ]);
  expect(client.hints[1]).toMatchObject({ originalException: error });
});

test("other methods on request", () => {
  start({ consoleErrors: ["warn"], breadcrumbs: false });
  const untouched = console.log;
  console.error("no");
  console.warn("yes");
  expect(client.events).toMatchObject([{ kind: "message", level: "warning", message: "yes" }]);
  expect(client.crumbs).toEqual([]);
  cleanup?.();
  expect(console.log).toBe(untouched);
});

test("a hook that logs while a log is captured makes no loop", () => {
  start({ consoleErrors: true });
  client.captureMessage = () => {
    console.error("from beforeSend");
    return "";
  };
  console.error("first");
  expect(client.crumbs.map((crumb) => crumb.message)).toEqual(["first"]);
});

test("nothing is wrapped when nothing of it is wanted, and everything is given back at the end", () => {
  const before = METHODS.map((method) => console[method]);
  start({ breadcrumbs: { console: false } });
  expect(METHODS.map((method) => console[method])).toEqual(before);
  start();
  expect(console.log).not.toBe(before[1]);
  cleanup?.();
  METHODS.forEach((method, index) => expect(console[method]).toBe(before[index]));
});

test("what cannot be read does not reach the page", () => {
  start();
  const odd = Object.create(null) as object;
  expect(() => console.log(odd, Symbol("s"), { toString: () => { throw new Error("no"); } })).not.toThrow();
  const error = new Error("x");
  Object.defineProperty(error, "message", { get: () => { throw new Error("no"); } });
  expect(() => console.log(error)).not.toThrow();
  expect(client.failures).toHaveLength(1);
  console.log("and goes on");
  expect(client.crumbs.at(-1)?.message).toBe("and goes on");
});

test("each method is watched once, whoever else wants to hear of it; what is captured is seen before it is in the trail", () => {
  const set = vi.fn();
  for (const method of METHODS) {
    const original = console[method];
    let present = original;
    Object.defineProperty(console, method, {
      configurable: true,
      get: () => present,
      set(value: typeof original) {
        set(method);
        present = value;
      },
    });
  }
  start({ consoleErrors: ["error", "warn"] });
  expect(set.mock.calls.flat().sort()).toEqual([...METHODS].sort());
  let before = -1;
  client.captureMessage = () => String((before = client.crumbs.length));
  console.error("once");
  expect([before, client.crumbs.length]).toEqual([0, 1]);
  cleanup?.();
  console.error("after the end");
  expect(client.crumbs).toHaveLength(1);
  for (const method of METHODS) Reflect.deleteProperty(console, method);
});

describe("before the idle chunk is there", () => {
  let server: Server;
  beforeEach(() => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "Date"] });
    localStorage.clear();
    server = new Server();
    server.install();
    chunks.failing = true;
  });
  afterEach(async () => {
    chunks.failing = false;
    await leave();
    vi.useRealTimers();
  });
  const events = (): unknown[] => server.items.filter(({ type }) => type === "event");
  const settled = async (): Promise<void> => {
    await vi.advanceTimersByTimeAsync(10);
    await turns();
  };

  test("what is logged is an event at once, with the time and the page view that it belongs to", async () => {
    const client = page({ consoleErrors: true }, [consoleErrors]);
    const at = Date.now();
    const error = new RangeError("too far");
    console.error("failed:", error);
    console.error("no stock", 3);
    console.warn("no event");
    const view = client.page.id;
    client.startPageView("/later");
    await settled();
    expect(events()).toMatchObject([
      { kind: "error", at, level: "error", exceptions: [{ type: "RangeError", stack: expect.stringContaining("console.test.ts") as string }] },
      { kind: "message", at, level: "error", message: "no stock 3" },
    ]);
    expect(server.sent[0]?.header.page_view.id).toBe(view);
  });

  test("a loop is held back and counted", async () => {
    const client = page({ consoleErrors: true }, [consoleErrors]);
    for (let index = 0; index < 200; index++) console.error(`line ${index}`);
    expect(client.page.sequence).toBe(61);
    visibility("hidden");
    await settled();
    expect(events()).toHaveLength(60);
    const held = server.items.flatMap((item) => (item.type === "outcome" && item.reason === "flood" ? item.quantity : []));
    expect(held.reduce((sum, quantity) => sum + quantity, 0)).toBe(140);
  });

  test.each(["close", "disable"] as const)("nothing is captured after %s()", async (end) => {
    const original = console.error;
    const client = page({ consoleErrors: true }, [consoleErrors]);
    expect(console.error).not.toBe(original);
    void client[end]();
    expect(console.error).toBe(original);
    console.error("later");
    await settled();
    expect(events()).toEqual([]);
  });

  test("nothing is watched where nobody asked for it", () => {
    const before = METHODS.map((method) => console[method]);
    page({}, defaultIntegrations({ dsn: "" }));
    expect(METHODS.map((method) => console[method])).toEqual(before);
  });
});

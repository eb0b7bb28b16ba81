import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { consoleCalls } from "../src/integrations/console";
import type { Cleanup, Options } from "../src/types";
import { type Recorder, recorder } from "./recorder";

let client: Recorder;
let cleanup: Cleanup | void;
const METHODS = ["debug", "log", "info", "warn", "error"] as const;

function start(options: Partial<Options> = {}): void {
  client = recorder(options);
  cleanup = consoleCalls.setup(client);
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

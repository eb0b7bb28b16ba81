import { IDBFactory } from "fake-indexeddb";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { Client, Options } from "../src/types";
import { DSN, pass, Server } from "./world";

type Exposed = Client & { init(options: Options): Client; push(...calls: unknown[][]): void };
const global = globalThis as { condev?: unknown };
let server: Server;

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "Date"] });
  vi.stubGlobal("indexedDB", new IDBFactory());
  vi.resetModules();
  localStorage.clear();
  server = new Server();
  server.install();
});
afterEach(async () => {
  await (global.condev as Exposed | undefined)?.close(0);
  delete global.condev;
  document.head.innerHTML = "";
  vi.restoreAllMocks();
  vi.useRealTimers();
});

/** As the element that loads it runs it. */
async function run(attributes: Record<string, string>): Promise<Exposed> {
  const element = document.createElement("script");
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.nonce = attributes["nonce"] || "";
  vi.spyOn(document, "currentScript", "get").mockReturnValue(element);
  await import("../src/cdn-errors");
  return global.condev as Exposed;
}

/** The element of a chunk; jsdom loads none. */
const chunk = (): HTMLScriptElement | null => document.head.querySelector("script");

test("options are the element's attributes, objects as JSON; a release of digits stays a text", async () => {
  const condev = await run({ "data-dsn": DSN, "data-release": "1.0", "data-debug": "false", "data-sample-rates": '{"error":0.5}', "data-ignore-errors": '["x"]' });
  expect(condev.options).toMatchObject({ dsn: DSN, release: "1.0", debug: false, sampleRates: { error: 0.5 }, ignoreErrors: ["x"], errorsOnly: true });
  expect(condev.endpoint).toBe(DSN);
  expect((condev as unknown as { getClient(): Client }).getClient().page).toBe(condev.page);
});

test("calls from before the script ran are made in their order", async () => {
  global.condev = [
    ["setUser", { id: 7 }],
    ["captureMessage", "early"],
    ["noSuchFunction", 1],
  ];
  const condev = await run({ "data-dsn": DSN });
  condev.push(["setTag", "late", 1], ["captureMessage", "later"]);
  await pass(10);
  expect(server.items.flatMap((item) => (item.type === "event" ? [[item.message, item.user?.id, item.tags]] : []))).toEqual([
    ["early", 7, {}],
    ["later", 7, { late: 1 }],
  ]);
});

test("without a DSN nothing is done, and nothing throws, until init", async () => {
  const condev = await run({});
  condev.captureException(new Error("nobody hears"));
  condev.addBreadcrumb({ message: "x" });
  condev.setUser({ id: 1 });
  condev.setRoute("/x");
  condev.startPageView("/x");
  condev.enable();
  condev.disable();
  expect(await condev.flush()).toBe(true);
  expect(fetch).not.toHaveBeenCalled();
  condev.init({ dsn: DSN });
  condev.init({ dsn: "https://monitor.example.com/v2/another" });
  condev.captureMessage("now");
  await pass(10);
  expect(server.sent.map(({ url }) => url.split("?")[0])).toEqual([DSN]);
});

test.each([
  ["https://monitor.example.com/sdk.js", "https://monitor.example.com/sdk/0.0.0-test/idle.js"],
  ["https://monitor.example.com/under/m.js?v=3", "https://monitor.example.com/under/m/0.0.0-test/idle.js"],
  ["https://monitor.example.com/sdk/0.0.0-test/sdk.js", "https://monitor.example.com/sdk/0.0.0-test/idle.js"],
  ["https://cdn.js.example.com/sdk.js", "https://cdn.js.example.com/sdk/0.0.0-test/idle.js"],
])("the chunks of %s are at %s, with integrity and the element's nonce", async (src, expected) => {
  const condev = await run({ "data-dsn": DSN, src, nonce: "n0nce" });
  await pass(1);
  await pass(1000);
  expect(chunk()?.src).toBe(expected);
  expect(chunk()?.integrity).toBe("sha256-of-idle");
  expect(chunk()?.crossOrigin).toBe("");
  expect(chunk()?.nonce).toBe("n0nce");
  expect(condev.captureMessage("works meanwhile")).toMatch(/^[0-9a-f]{32}$/);
});

test("a chunk that did not load is asked for again", async () => {
  await run({ "data-dsn": DSN, src: "https://monitor.example.com/sdk.js" });
  await pass(1);
  await pass(1000);
  chunk()?.dispatchEvent(new Event("error"));
  expect(chunk()).toBeNull();
  await pass(31_000);
  expect(chunk()?.src).toContain("idle.js");
});

test("a chunk that never loads is asked for five times, with waits that double, and leaves no elements behind", async () => {
  const condev = await run({ "data-dsn": DSN, src: "https://monitor.example.com/sdk.js" });
  const at: number[] = [];
  const begun = Date.now();
  for (let second = 0; second < 3600; second++) {
    await vi.advanceTimersByTimeAsync(1000);
    if (!chunk()) continue;
    at.push(Math.round((Date.now() - begun) / 1000));
    chunk()?.dispatchEvent(new Event("error"));
  }
  expect(at.map((time, index) => time - (at[index - 1] ?? time))).toEqual([0, 30, 60, 120, 240]);
  expect(document.head.querySelectorAll("script")).toHaveLength(0);
  expect(condev.captureMessage("works without")).toMatch(/^[0-9a-f]{32}$/);
});

test("an attribute with broken JSON is left out, and said under debug", async () => {
  const debug = vi.spyOn(console, "debug").mockImplementation(() => {});
  const condev = await run({ "data-dsn": DSN, "data-debug": "true", "data-ignore-errors": '["x"', "data-release": "1" });
  expect(condev.options).toMatchObject({ dsn: DSN, release: "1" });
  expect(condev.options.ignoreErrors).toBeUndefined();
  expect(debug).toHaveBeenCalledWith("condev:", expect.any(SyntaxError));
  condev.captureMessage("sent all the same");
  await pass(10);
  expect(server.items).toContainEqual(expect.objectContaining({ message: "sent all the same" }));
});

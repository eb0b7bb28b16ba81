import { IDBObjectStore } from "fake-indexeddb";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { openQueue } from "../src/offline/queue";
import type { Stored } from "../src/types";
import { begin, DSN, finish, kill, pass, type Server, settled, turns, visibility } from "./world";

const HOUR = 3_600_000;
let server: Server;
let failing: boolean;

beforeEach(() => {
  server = begin();
  failing = true;
  server.answer = () => (failing ? "down" : new Response("{}"));
  vi.spyOn(Math, "random").mockReturnValue(0.5);
});
afterEach(finish);

describe("what could not be sent", () => {
  test("is sent by the next page when this one was killed, once, as of its own page view", async () => {
    const first = await settled();
    first.captureException(new Error("of the killed page"));
    await pass(100);
    kill(first);
    failing = false;
    await settled();
    await pass(6000);
    expect(server.messages).toEqual(["of the killed page"]);
    expect(server.accounted(first.page.id)).toEqual([1, 2]);
    const sent = server.sent.length;
    await settled();
    await pass(6000);
    expect(server.messages).toHaveLength(1);
    expect(server.sent.length).toBe(sent + 1); // the third page's own view
  });

  test("is sent when the network is back after an hour, in order of capture", async () => {
    const client = await settled();
    for (let index = 0; index < 5; index++) {
      client.captureException(new Error(`offline ${index}`));
      await pass(60_000);
    }
    await pass(HOUR);
    failing = false;
    window.dispatchEvent(new Event("online"));
    await pass(10_000);
    expect(server.messages).toEqual([0, 1, 2, 3, 4].map((index) => `offline ${index}`));
    expect(server.accounted(client.page.id)).toEqual([1, 2, 3, 4, 5, 6]);
    const queue = openQueue(DSN, {}, () => {});
    const left: Stored[] = [];
    await queue.drain(async (stored) => (left.push(stored), true));
    expect(left).toEqual([]);
  });

  test.each([0, 100])("at a page's end an error of %i ms ago is kept, too: nobody hears whether its request arrives", async (ms) => {
    failing = false;
    const first = await settled();
    server.answer = () => "never";
    first.captureException(new Error("last"));
    if (ms) await pass(ms); // its request is on its way
    visibility("hidden");
    await turns();
    kill(first);
    expect(server.sent.at(-1)?.init.keepalive).toBe(true);
    server.answer = () => new Response("{}");
    visibility("visible");
    await settled();
    await pass(6000);
    expect(server.messages).toEqual(["last"]);
    const ids = server.sent.filter(({ items }) => items.some(({ type }) => type === "event")).map(({ header }) => header.id);
    expect(new Set(ids).size).toBe(1); // the server knows the second copy by the envelope's id
  });

  test("goes to no other project: a queue is of one DSN", async () => {
    const other = `https://monitor.example.com/v2/${"b".repeat(32)}`;
    const first = await settled();
    first.captureException(new Error("of project a"));
    await pass(100);
    kill(first);
    failing = false;
    server.sent.length = 0;
    await settled({ dsn: other });
    await pass(10_000);
    expect(server.sent.map(({ url }) => url.split("?")[0])).toEqual([other]);
    expect(server.messages).toEqual([]);
    await settled();
    await pass(10_000);
    expect(server.messages).toEqual(["of project a"]);
    expect([...server.taken.values()].find(({ items }) => items.some(({ type }) => type === "event"))?.url).toContain(DSN);
  });

  test("is dropped when it is too old, which is told as of its page view", async () => {
    const first = await settled({ offline: { maxAge: HOUR } });
    first.captureException(new Error("old"));
    await pass(100);
    kill(first);
    failing = false;
    vi.setSystemTime(Date.now() + 2 * HOUR);
    await settled({ offline: { maxAge: HOUR } });
    await pass(10_000);
    expect(server.messages).toEqual([]);
    expect(server.items).toContainEqual(expect.objectContaining({ type: "outcome", reason: "too_old", category: "error", quantity: 1, numbers: [2] }));
    expect(server.accounted(first.page.id)).toEqual([1, 2]);
  });

  test("is bounded in bytes: what is less important goes first, which is told", async () => {
    const first = await settled({ offline: { maxBytes: 40_000 } });
    first.capture({ type: "measurement", metric: "custom", value: 1, attributes: { fill: "x".repeat(35_000) } });
    await pass(10_000);
    kill(first);
    const second = await settled({ offline: { maxBytes: 40_000 } });
    second.captureException(new Error("important"), { extra: { fill: "z".repeat(10_000) } });
    await pass(10_000);
    failing = false;
    await pass(60_000);
    expect(server.messages).toEqual(["important"]);
    expect(server.accounted(first.page.id)).toEqual([1, 2]);
    expect(server.items).toContainEqual(expect.objectContaining({ type: "outcome", reason: "queue_overflow", category: "measurement" }));
  });

  test("and has no room on disk is not told as dropped while this page holds it, and sends it", async () => {
    const client = await settled({ offline: { maxBytes: 40_000 } });
    for (let index = 0; index < 4; index++) {
      client.capture({ type: "measurement", metric: "custom", value: index, attributes: { fill: "x".repeat(35_000) } });
      await pass(400_000);
    }
    failing = false;
    window.dispatchEvent(new Event("online"));
    await pass(20_000);
    expect(server.items.filter(({ type }) => type === "outcome")).toEqual([]);
    expect(server.accounted(client.page.id)).toEqual([1, 2, 3, 4, 5]);
  });

  test.each([false, true])("and grows too old in a page that still holds it is told or sent, never both (network back: %s)", async (back) => {
    const client = await settled({ offline: { maxAge: HOUR } });
    client.captureException(new Error("old"));
    await pass(10_000);
    vi.setSystemTime(Date.now() + 2 * HOUR);
    failing = !back;
    window.dispatchEvent(new Event("online")); // the disk is looked through, and it is tried
    await pass(10_000);
    failing = false;
    window.dispatchEvent(new Event("online"));
    await pass(10_000);
    expect(server.messages).toEqual(back ? ["old"] : []);
    expect(server.items.filter(({ type }) => type === "outcome")).toHaveLength(back ? 0 : 2); // an error, a page view
    expect(server.accounted(client.page.id)).toEqual([1, 2]);
  });

  test("of an earlier page is not blocked by a limit of another category", async () => {
    const first = await settled({ pageViews: false });
    first.capture({ type: "measurement", metric: "custom", value: 1 });
    await pass(6000);
    first.captureException(new Error("behind it"));
    await pass(400_000);
    kill(first);
    server.answer = ({ header }) => (header.has[0] === "measurement" ? Response.json({ retry_after: 100, categories: ["measurement"] }, { status: 429 }) : new Response("{}"));
    await settled({ pageViews: false });
    expect(server.messages).toEqual(["behind it"]);
    const sent = server.sent.length;
    server.answer = () => new Response("{}");
    await pass(90_000);
    expect(server.sent.length).toBe(sent);
    await pass(20_000);
    expect(server.accounted(first.page.id)).toEqual([1, 2]);
  });

  test("of an earlier page is tried again by itself when the server fails once more", async () => {
    const first = await settled();
    first.captureException(new Error("kept"));
    await pass(100);
    kill(first);
    await settled({ pageViews: false }); // nothing of its own, whose success would go on with it
    failing = false;
    await pass(10_000);
    expect(server.messages).toEqual(["kept"]);
  });

  test("in memory is bounded, too; without a disk its drops are told", async () => {
    vi.stubGlobal("indexedDB", undefined);
    const client = await settled();
    client.captureException(new Error("important"));
    for (let index = 0; index < 25; index++) {
      client.capture({ type: "measurement", metric: "custom", value: index, attributes: { fill: "x".repeat(40_000) } });
      await pass(1000);
    }
    failing = false;
    await pass(400_000);
    expect(server.messages).toEqual(["important"]);
    const dropped = server.items.filter((item) => item.type === "outcome" && item.reason === "queue_overflow");
    expect(dropped.length).toBeGreaterThan(0);
    expect(server.accounted(client.page.id)).toEqual(Array.from({ length: 27 }, (_, index) => index + 1));
  });

  test("waits for what the server limits, and is not tried by another page before", async () => {
    server.answer = () => new Response("", { status: 429, headers: { "Retry-After": "100" } });
    const client = await settled();
    client.captureException(new Error("limited"));
    await pass(50_000);
    expect(server.sent).toHaveLength(1);
    failing = false;
    server.answer = () => new Response("{}");
    await pass(60_000);
    expect(server.messages).toEqual(["limited"]);
  });
});

describe("a browser without", () => {
  test.each(["indexedDB", "navigator.locks", "localStorage", "crypto", "CompressionStream", "AbortSignal.timeout", "requestIdleCallback"])("%s delivers all the same", async (name) => {
    if (name === "localStorage") vi.spyOn(globalThis, "localStorage", "get").mockImplementation(() => {
      throw new DOMException("denied", "SecurityError");
    });
    else if (name === "AbortSignal.timeout") vi.stubGlobal("AbortSignal", class {});
    else if (!name.includes(".")) vi.stubGlobal(name, undefined);
    const client = await settled();
    client.captureException(new Error("kept"));
    await pass(10_000);
    failing = false;
    await pass(60_000);
    expect(server.messages).toEqual(["kept"]);
    expect(client.page.id).toMatch(/^[0-9a-f]{32}$/);
    expect(server.accounted(client.page.id)).toEqual([1, 2]);
  });

  test("a data base that fails delivers from memory", async () => {
    vi.stubGlobal("indexedDB", {
      open() {
        const request: { onerror?: () => void } = {};
        setImmediate(() => request.onerror?.());
        return request;
      },
    });
    const client = await settled();
    client.captureException(new Error("kept"));
    await pass(10_000);
    failing = false;
    await pass(60_000);
    expect(server.messages).toEqual(["kept"]);
  });

  test("room on its disk delivers from memory, and counts nothing as lost", async () => {
    vi.spyOn(IDBObjectStore.prototype, "put").mockImplementation(() => {
      throw new DOMException("full", "QuotaExceededError");
    });
    const client = await settled();
    client.captureException(new Error("kept"));
    await pass(10_000);
    failing = false;
    await pass(60_000);
    expect(server.messages).toEqual(["kept"]);
    expect(server.items.filter(({ type }) => type === "outcome")).toEqual([]);
    expect(server.accounted(client.page.id)).toEqual([1, 2]);
  });

  test("an answer of its data base forgets nothing that is not there yet", async () => {
    vi.stubGlobal("indexedDB", { open: () => ({}) });
    const client = await settled();
    client.captureException(new Error("important"));
    for (let index = 0; index < 20; index++) {
      client.capture({ type: "measurement", metric: "custom", value: index, attributes: { fill: "x".repeat(40_000) } });
      await pass(1000);
    }
    failing = false;
    await pass(400_000);
    expect(server.messages).toEqual(["important"]);
    expect(server.accounted(client.page.id)).toEqual(Array.from({ length: 22 }, (_, index) => index + 1));
  });

  test("`offline: false` keeps nothing on disk", async () => {
    const open = vi.spyOn(indexedDB, "open");
    const client = await settled({ offline: false });
    client.captureException(new Error("kept in memory"));
    await pass(10_000);
    expect(open).not.toHaveBeenCalled();
    failing = false;
    await pass(60_000);
    expect(server.messages).toEqual(["kept in memory"]);
  });
});

test("taking consent back forgets what was kept", async () => {
  const client = await settled();
  client.captureException(new Error("not any more"));
  await pass(1000);
  client.disable();
  await pass(1000);
  failing = false;
  await settled();
  await pass(10_000);
  expect(server.messages).toEqual([]);
});

test("taking consent back ends the sending of what earlier pages left", async () => {
  const first = await settled();
  for (const name of ["a", "b", "c"]) {
    first.captureException(new Error(name));
    await pass(400_000);
  }
  kill(first);
  server.sent.length = 0;
  server.answer = () => "never";
  const second = await settled({ pageViews: false });
  expect(server.sent).toHaveLength(1); // the round has begun
  second.disable();
  server.answer = () => new Response("{}");
  server.release(() => new Response("{}"));
  await pass(400_000);
  expect(server.sent).toHaveLength(1);
});

test("taking consent back stops what is being compressed, and all that was gathered", async () => {
  let finish = (): void => {};
  const gate = new Promise<void>((resolve) => (finish = resolve));
  const { CompressionStream: Gzip } = globalThis;
  vi.stubGlobal("CompressionStream", function () {
    const gzip = new Gzip("gzip");
    const held = new TransformStream<Uint8Array, Uint8Array>({ transform: async (part, controller) => (await gate, controller.enqueue(part)) });
    return { writable: held.writable, readable: held.readable.pipeThrough(gzip as never) };
  });
  failing = false;
  const client = await settled({ pageViews: false });
  client.captureException(new Error("being compressed"), { extra: { fill: "z".repeat(10_000) } });
  await pass(1);
  client.drop("flood", "error");
  client.disable();
  finish();
  await pass(10_000);
  expect(server.sent).toEqual([]);
});

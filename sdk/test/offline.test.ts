import { IDBFactory, IDBObjectStore } from "fake-indexeddb";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { openQueue } from "../src/offline/queue";
import type { Client, Stored } from "../src/types";
import { DSN, leave, page, pass, Server, turns, visibility } from "./world";

const HOUR = 3_600_000;
let server: Server;
let failing: boolean;

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "Date"] });
  vi.stubGlobal("indexedDB", new IDBFactory());
  localStorage.clear();
  server = new Server();
  server.install();
  failing = true;
  server.answer = () => (failing ? "down" : new Response("{}"));
  vi.spyOn(Math, "random").mockReturnValue(0.5);
});
afterEach(async () => {
  await leave();
  vi.restoreAllMocks();
  vi.useRealTimers();
});

/** A page whose process ends: it does nothing any more, and says nothing. */
function kill(client: Client): void {
  client.flush = () => Promise.resolve(false);
  vi.clearAllTimers();
}

const events = (): string[] => server.items.flatMap((item) => (item.type === "event" ? [item.exceptions?.at(-1)?.value || ""] : []));

async function settled(options: Parameters<typeof page>[0] = {}): Promise<Client> {
  const client = page(options);
  await pass(1);
  await pass(1000); // the keeper is there
  return client;
}

describe("what could not be sent", () => {
  test("is sent by the next page when this one was killed, once, as of its own page view", async () => {
    const first = await settled();
    first.captureException(new Error("of the killed page"));
    await pass(100);
    kill(first);
    failing = false;
    await settled();
    await pass(6000);
    expect(events()).toEqual(["of the killed page"]);
    expect(server.accounted(first.page.id)).toEqual([1, 2]);
    const sent = server.sent.length;
    await settled();
    await pass(6000);
    expect(events()).toHaveLength(1);
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
    expect(events()).toEqual([0, 1, 2, 3, 4].map((index) => `offline ${index}`));
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
    expect(events()).toEqual(["last"]);
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
    expect(events()).toEqual([]);
    await settled();
    await pass(10_000);
    expect(events()).toEqual(["of project a"]);
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
    expect(events()).toEqual([]);
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
    expect(events()).toEqual(["important"]);
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
    expect(events()).toEqual(back ? ["old"] : []);
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
    expect(events()).toEqual(["behind it"]);
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
    expect(events()).toEqual(["kept"]);
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
    expect(events()).toEqual(["important"]);
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
    expect(events()).toEqual(["limited"]);
  });
});

describe("several tabs", () => {
  test("one at a time sends what was left, and the next one goes on where it stopped", async () => {
    const first = await settled();
    for (const name of ["a", "b", "c"]) {
      first.captureException(new Error(name));
      await pass(400_000);
    }
    kill(first);
    let chain: Promise<unknown> = Promise.resolve();
    let running = 0;
    let most = 0;
    const request = vi.fn((name: string, work: () => Promise<void>) => {
      if (name !== `condev:${DSN}`) return work(); // of one envelope
      const turn = chain.then(async () => {
        most = Math.max(most, ++running);
        await work();
        running--;
      });
      chain = turn;
      return turn;
    });
    Object.defineProperty(navigator, "locks", { value: { request }, configurable: true });
    failing = false;
    const tabs = [page(), page()];
    await pass(1);
    await pass(10_000);
    Reflect.deleteProperty(navigator, "locks");
    expect(request.mock.calls[0]?.[0]).toBe(`condev:${DSN}`);
    expect(most).toBe(1);
    expect(events().sort()).toEqual(["a", "b", "c"]);
    const times = server.sent.filter(({ items }) => items.some(({ type }) => type === "event")).length;
    expect(times - 3).toBeLessThanOrEqual(server.sent.filter(({ header }) => !tabs.some(({ page: { id } }) => id === header.page_view.id)).length);
  });
});

describe("two tabs", () => {
  /** Locks as browsers have them: by name, told of to all tabs. */
  function locks(): { name: string }[] {
    const held: { name: string }[] = [];
    const queues = new Map<string, Promise<unknown>>();
    const request = (name: string, work: () => Promise<unknown>): Promise<unknown> => {
      const turn = (queues.get(name) ?? Promise.resolve()).then(async () => {
        const lock = { name };
        held.push(lock);
        await work();
        held.splice(held.indexOf(lock), 1);
      });
      queues.set(name, turn);
      return turn;
    };
    Object.defineProperty(navigator, "locks", { value: { request, query: () => Promise.resolve({ held: [...held] }) }, configurable: true });
    return held;
  }
  afterEach(() => void Reflect.deleteProperty(navigator, "locks"));

  const full = { offline: { maxBytes: 40_000 } };
  async function filled(): Promise<Client> {
    const client = await settled(full);
    client.capture({ type: "measurement", metric: "custom", value: 1, attributes: { fill: "x".repeat(35_000) } });
    await pass(10_000);
    return client;
  }
  async function crowded(): Promise<Client> {
    const client = await settled(full);
    client.captureException(new Error("important"), { extra: { fill: "z".repeat(10_000) } });
    await pass(10_000);
    return client;
  }

  test("what one tries to send is not told as dropped by the other, which has no room for it", async () => {
    const held = locks();
    const first = await filled();
    const second = await crowded();
    failing = false;
    window.dispatchEvent(new Event("online"));
    await pass(60_000);
    expect(events()).toEqual(["important"]);
    expect(server.items.filter(({ type }) => type === "outcome")).toEqual([]);
    expect([first, second].map(({ page }) => server.accounted(page.id))).toEqual([[1, 2], [1, 2]]);
    expect(held).toEqual([]); // nothing keeps the page out of the browser's cache
  });

  test("what one left behind when it was killed makes room, which the other tells", async () => {
    const held = locks();
    const first = await filled();
    kill(first);
    held.length = 0; // with its process
    await crowded();
    failing = false;
    await pass(60_000);
    expect(events()).toEqual(["important"]);
    expect(server.accounted(first.page.id)).toEqual([1, 2]);
    expect(server.items).toContainEqual(expect.objectContaining({ type: "outcome", reason: "queue_overflow", category: "measurement" }));
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
    expect(events()).toEqual(["kept"]);
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
    expect(events()).toEqual(["kept"]);
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
    expect(events()).toEqual(["kept"]);
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
    expect(events()).toEqual(["important"]);
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
    expect(events()).toEqual(["kept in memory"]);
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
  expect(events()).toEqual([]);
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

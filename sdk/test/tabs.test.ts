import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import type { Client } from "../src/types";
import { begin, DSN, finish, kill, page, pass, type Server, settled } from "./world";

let server: Server;
let failing: boolean;

beforeEach(() => {
  server = begin();
  failing = true;
  server.answer = () => (failing ? "down" : new Response("{}"));
  vi.spyOn(Math, "random").mockReturnValue(0.5);
});
afterEach(finish);

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
    expect(server.messages.sort()).toEqual(["a", "b", "c"]);
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
    expect(server.messages).toEqual(["important"]);
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
    expect(server.messages).toEqual(["important"]);
    expect(server.accounted(first.page.id)).toEqual([1, 2]);
    expect(server.items).toContainEqual(expect.objectContaining({ type: "outcome", reason: "queue_overflow", category: "measurement" }));
  });
});

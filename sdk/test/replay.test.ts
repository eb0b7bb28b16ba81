import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { startReplay } from "../src/replay";
import { createBuffer } from "../src/replay/buffer";
import { claim, leave } from "../src/replay/resume";
import { openSink } from "../src/replay/sink";
import { watchSlow } from "../src/replay/slow";
import type { Category, Client, ClientEvents, EventItem, Item, Options, ReplaySegment } from "../src/types";

interface Fake extends Client {
  segments: ReplaySegment[];
  drops: [reason: string, category: Category][];
  emit<Name extends keyof ClientEvents>(name: Name, ...args: ClientEvents[Name]): void;
}

function fake(options: Partial<Options> = {}, visit = "5".repeat(32)): Fake {
  const listeners = new Map<string, Set<(...args: never[]) => void>>();
  const found = {
    options: { dsn: "https://key@monitor.test/1", ...options },
    endpoint: "https://monitor.test/v2/key",
    page: { id: "a".repeat(32), traceId: "b".repeat(32), url: "https://shop.test/cart" },
    session: { id: visit },
    settings: {},
    segments: [] as ReplaySegment[],
    drops: [] as [string, Category][],
    replayId: undefined,
    now: () => Date.now(),
    capture: (item: Item) => item.type === "replay_segment" && found.segments.push(item),
    drop: (reason: string, category: Category) => found.drops.push([reason, category]),
    on(name: string, listener: (...args: never[]) => void) {
      const set = listeners.get(name) ?? new Set();
      listeners.set(name, set.add(listener));
      return () => set.delete(listener);
    },
    emit: (name: string, ...args: never[]) => listeners.get(name)?.forEach((listener) => listener(...args)),
    guard: (fn: unknown) => fn, // what is thrown fails the test
    log() {},
  };
  return found as unknown as Fake;
}

const from = { id: "c".repeat(32), next: 0, started: 0, size: 0 };
const anError = (id: string): EventItem => ({ type: "event", kind: "error", level: "error", id });
const text = (segments: ReplaySegment[]): string => JSON.stringify(segments.map(({ events }) => events));

beforeEach(() => {
  vi.useFakeTimers();
  // The fall-back of browsers without it: what is compressed, a real browser shows (tests/browser/sdk).
  vi.stubGlobal("CompressionStream", undefined);
});
afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
  sessionStorage.clear();
  document.body.innerHTML = "";
});

describe("the buffer", () => {
  it("reaches back a minute, and begins with a whole picture", () => {
    const buffer = createBuffer();
    for (let second = 0; second <= 200; second++) buffer.add(`{"at":${second}}`, second % 65 === 0, second * 1000);
    const kept = buffer.take();
    expect(kept[0]?.json).toBe('{"at":130}');
    expect(kept.at(-1)?.json).toBe('{"at":200}');
    expect(buffer.isEmpty()).toBe(true);
  });

  it("asks once for another picture when the present one is a minute old", () => {
    const buffer = createBuffer();
    buffer.add("{}", true, 0);
    expect(buffer.add("{}", false, 59_000)).toBe("");
    expect(buffer.add("{}", false, 61_000)).toBe("picture");
    expect(buffer.add("{}", false, 62_000)).toBe("");
    buffer.add("{}", true, 62_001);
    expect(buffer.add("{}", false, 123_000)).toBe("picture");
  });

  it("gives up on a page that fills it within seconds", () => {
    const buffer = createBuffer();
    const large = "x".repeat(900_000);
    buffer.add("{}", true, 0);
    expect([1, 2, 3].map((at) => buffer.add(large, false, at * 100))).toContain("too much");
  });
});

describe("segments", () => {
  const sink = (client: Fake, options = {}) => openSink(client, options, "session", from, () => {});

  it("are sent after five seconds, numbered, with what belongs to them", () => {
    const client = fake();
    const one = sink(client);
    one.add('{"type":4}', 10);
    one.add('{"type":2}', 20);
    one.error("e".repeat(32));
    expect(client.segments).toEqual([]);
    vi.advanceTimersByTime(5_000);
    one.add('{"type":3}', 6_000);
    vi.advanceTimersByTime(5_000);
    expect(client.segments).toEqual([
      {
        type: "replay_segment", replay_id: from.id, segment: 0, replay_type: "session", started: 10, ended: 20,
        error_ids: ["e".repeat(32)], trace_ids: [client.page.traceId], urls: ["https://shop.test/cart"],
        events: [{ type: 4 }, { type: 2 }],
      },
      {
        type: "replay_segment", replay_id: from.id, segment: 1, replay_type: "session", started: 6_000, ended: 6_000,
        trace_ids: [client.page.traceId], urls: ["https://shop.test/cart"], events: [{ type: 3 }],
      },
    ]);
  });

  it("are sent at once when they are full", () => {
    const client = fake();
    const one = sink(client);
    for (let i = 0; i < 5; i++) one.add(JSON.stringify({ i, text: "x".repeat(100_000) }), i);
    expect(client.segments.map(({ segment, events }) => [segment, events?.length])).toEqual([[0, 2], [1, 2]]);
  });

  it("that are being compressed when the page goes away are sent as they are, once", async () => {
    let done = (): void => {};
    class Slow {
      readable = new ReadableStream({ start: (controller) => void (done = () => controller.close()) });
      writable = new WritableStream();
    }
    vi.stubGlobal("CompressionStream", Slow);
    vi.stubGlobal("Blob", class { stream = () => new ReadableStream(); });
    const client = fake();
    const one = sink(client);
    one.add('{"type":4}', 1);
    vi.advanceTimersByTime(5_000);
    one.add('{"type":3}', 2);
    expect(client.segments).toEqual([]);
    one.flush(true);
    expect(client.segments.map(({ segment }) => segment).sort()).toEqual([0, 1]);
    done();
    await vi.advanceTimersByTimeAsync(100);
    expect(client.segments.length).toBe(2);
  });

  it("end where the replay has become as large or as long as it may", () => {
    expect(sink(fake(), { maxBytes: 20 }).add("x".repeat(21), 0)).toBe(false);
    expect(sink(fake(), { maxMinutes: 1 }).add("{}", 60_001)).toBe(false);
    expect(sink(fake(), { maxMinutes: 1 }).add("{}", 59_999)).toBe(true);
  });

  it("that no transport would take are counted as too large", () => {
    const client = fake();
    sink(client).add(JSON.stringify("x".repeat(450_000)), 1);
    expect(client.segments).toEqual([]);
    expect(client.drops).toEqual([["too_large", "replay"]]);
  });
});

describe("the next page of a visit", () => {
  it("goes on with the replay, and no other page does", () => {
    const client = fake();
    const one = openSink(client, {}, "session", { ...from, next: 7, size: 30, started: 5 }, () => {});
    leave(client, client.session.id, one);
    expect(claim(client)).toEqual({ id: from.id, next: 7, size: 30, started: 5 });
    expect(claim(client)).toBeUndefined();
  });

  it("of another visit or project begins anew", () => {
    const client = fake();
    const one = openSink(client, {}, "session", from, () => {});
    leave(client, "another visit", one);
    expect(claim(client)).toBeUndefined();
    leave({ ...client, endpoint: "https://elsewhere.test/v2/other" }, client.session.id, one);
    expect(claim(client)).toBeUndefined();
  });

  it("begins anew where the browser keeps nothing", () => {
    vi.stubGlobal("sessionStorage", { getItem() { throw new Error("denied"); }, removeItem() { throw new Error("denied"); }, clear() {} });
    expect(claim(fake())).toBeUndefined();
  });
});

describe("a page that becomes slow", () => {
  it("is told after two busy windows in a row", () => {
    let hear: (list: { getEntries(): { startTime: number; duration: number }[] }) => void = () => {};
    vi.stubGlobal(
      "PerformanceObserver",
      class {
        static supportedEntryTypes = ["longtask"];
        constructor(listener: typeof hear) {
          hear = listener;
        }
        observe() {}
        disconnect() {}
      },
    );
    const tell = vi.fn();
    watchSlow(tell);
    const task = (startTime: number, duration: number) => hear({ getEntries: () => [{ startTime, duration }] });
    task(1_000, 6_000); // busy once, as when it loads
    task(21_000, 6_000);
    task(42_000, 100);
    expect(tell).not.toHaveBeenCalled();
    task(50_000, 6_000);
    task(60_000, 6_000);
    expect(tell).toHaveBeenCalledOnce();
  });
});

describe("a recording", () => {
  const secrets = "Ada Lovelace 4111";
  const page = `<h1>${secrets}</h1><form><input type="text" value="${secrets}"><input type="hidden" value="${secrets}"><textarea>${secrets}</textarea>
    <select><option title="${secrets}">${secrets}</option></select></form><div data-condev-block><p>${secrets}</p></div><!-- ${secrets} --><x-shadow></x-shadow><input type="checkbox" value="${secrets}" checked>`;

  async function run(options: Partial<Options>, mode: "session" | "buffer"): Promise<[Fake, () => void]> {
    document.body.innerHTML = page;
    const shadow = document.querySelector("x-shadow")?.attachShadow({ mode: "open" });
    shadow?.append(secrets);
    const client = fake(options);
    const stop = startReplay(client, mode);
    await vi.advanceTimersByTimeAsync(10);
    return [client, stop];
  }

  it("of a session has the page and none of what it says", async () => {
    const [client, stop] = await run({ replay: true }, "session");
    expect(client.replayId).toMatch(/^[0-9a-f]{32}$/);
    document.querySelector("h1")?.append(" more of Ada");
    document.querySelector("h1")?.setAttribute("title", "Ada again");
    document.querySelector("x-shadow")?.shadowRoot?.append("Ada in the shadow");
    document.querySelector<HTMLInputElement>("[type=checkbox]")?.click();
    for (const input of document.querySelectorAll<HTMLInputElement>("input, textarea")) input.value = "Ada typed";
    await vi.advanceTimersByTimeAsync(6_000);
    stop();
    const all = text(client.segments);
    expect(all).toContain('"tagName":"h1"');
    expect(all).toContain("***");
    expect(all).not.toMatch(/Ada|Lovelace|4111/);
    expect(client.replayId).toBeUndefined();
  });

  it("in the buffer is sent when an error happens, until the page has settled", async () => {
    const [client, stop] = await run({ replay: true }, "buffer");
    client.emit("event", { ...anError("1".repeat(32)), kind: "message", level: "info" }, {});
    await vi.advanceTimersByTimeAsync(20_000);
    expect(client.segments).toEqual([]);
    const event = anError("2".repeat(32));
    client.emit("event", event, {});
    expect(event.replay_id).toMatch(/^[0-9a-f]{32}$/);
    expect(client.replayId).toBe(event.replay_id);
    await vi.advanceTimersByTimeAsync(2_000);
    const later = anError("3".repeat(32));
    client.emit("event", later, {});
    expect(later.replay_id).toBe(event.replay_id);
    await vi.advanceTimersByTimeAsync(8_000);
    expect(client.replayId).toBeUndefined();
    expect(new Set(client.segments.map(({ replay_id }) => replay_id))).toEqual(new Set([event.replay_id]));
    expect(client.segments.flatMap(({ error_ids = [] }) => error_ids)).toEqual([event.id, later.id]);
    expect(client.segments[0]?.replay_type).toBe("buffer");
    const another = anError("4".repeat(32));
    client.emit("event", another, {});
    expect(another.replay_id).not.toBe(event.replay_id);
    await vi.advanceTimersByTimeAsync(20_000);
    expect(text(client.segments.filter(({ replay_id }) => replay_id === another.replay_id))).toContain('"type":2');
    stop();
  });

  it("is flushed when the page is hidden, and goes on in the next page", async () => {
    const [client, stop] = await run({ replay: true }, "session");
    const id = client.replayId;
    client.emit("hide");
    expect(client.segments.length).toBe(1);
    stop();
    const [next, end] = await run({ replay: true }, "session");
    expect(next.replayId).toBe(id);
    next.emit("hide");
    expect(next.segments.map(({ replay_id, segment }) => [replay_id, segment])).toEqual([[id, 1]]);
    end();
  });

  it("ends when the client is closed, and leaves nothing behind", async () => {
    const [client] = await run({ replay: true }, "session");
    client.emit("close");
    const count = client.segments.length;
    document.body.append("more");
    await vi.advanceTimersByTimeAsync(20_000);
    expect(client.segments.length).toBe(count);
    expect(client.replayId).toBeUndefined();
  });

  it("of a page whose picture takes too long ends at once, and says why", async () => {
    let time = 0;
    vi.spyOn(performance, "now").mockImplementation(() => (time += 600));
    const [client] = await run({ replay: true }, "session");
    expect(client.drops).toContainEqual(["page_slow", "replay"]);
    expect(client.replayId).toBeUndefined();
    const count = client.segments.length;
    document.body.append("more");
    await vi.advanceTimersByTimeAsync(20_000);
    expect(client.segments.length).toBe(count);
    vi.restoreAllMocks();
  });

  it("is forgotten when the server switches replays off", async () => {
    const [client] = await run({ replay: true }, "session");
    client.emit("settings", { replay: false });
    await vi.advanceTimersByTimeAsync(20_000);
    expect(client.segments).toEqual([]);
    expect(client.replayId).toBeUndefined();
  });

  it("that was buffered becomes a session's when the page asks for it", async () => {
    const [client, stop] = await run({ replay: true }, "buffer");
    startReplay(client, "session");
    await vi.advanceTimersByTimeAsync(6_000);
    expect(client.segments[0]?.replay_type).toBe("session");
    stop();
  });
});

import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { begin, chunks, finish, page, pass, type Server, visibility } from "./world";

let server: Server;

beforeEach(() => {
  server = begin();
  vi.spyOn(Math, "random").mockReturnValue(0.5); // a wait is then exactly what it doubles
});
afterEach(finish);

const measure = (client: ReturnType<typeof page>, metric = "LCP", size = 0): void => client.capture({ type: "measurement", metric, value: 1, attributes: { fill: "x".repeat(size) } });

describe("a server that fails", () => {
  test("is tried again, later each time, with the same envelope, until it takes it once", async () => {
    let failing = true;
    const times: number[] = [];
    server.answer = () => (times.push(Date.now()), failing ? new Response("", { status: 503 }) : new Response("{}"));
    const client = page();
    await pass(1000); // the keeper is there
    client.captureException(new Error("kept"));
    await pass(10_000);
    failing = false;
    await pass(20_000);
    const waits = times.slice(1).map((time, index) => Math.round((time - (times[index] as number)) / 1000));
    expect(waits).toEqual([1, 2, 4, 8]);
    const own = server.sent.filter(({ items }) => items.some(({ type }) => type === "event"));
    expect(new Set(own.map(({ header }) => header.id)).size).toBe(1);
    expect(own.at(-1)?.header.sent_at).toBe(times.at(-1));
    expect(server.messages).toEqual(["kept"]);
    expect(server.accounted(client.page.id)).toEqual([1, 2]);
  });

  test("waits differ from page to page", async () => {
    const times: number[] = [];
    server.answer = () => (times.push(Date.now()), "down");
    page();
    await pass(1000);
    vi.mocked(Math.random).mockReturnValue(0.01);
    await pass(5000);
    vi.mocked(Math.random).mockReturnValue(0.99);
    await pass(10_000);
    const [first, second] = times as [number, number];
    expect(second - first).toBeLessThan(600);
  });

  test.each([[408], [500], [502]])("%i is no final answer", async (status) => {
    let failing = true;
    server.answer = () => new Response("", { status: failing ? status : 200 });
    page().captureException(new Error("again"));
    await pass(1000);
    failing = false;
    await pass(10_000);
    expect(server.messages).toEqual(["again"]);
  });

  test("before the keeper is there what failed waits for it", async () => {
    let failing = true;
    server.answer = () => (failing ? "down" : new Response("{}"));
    chunks.failing = true;
    page().captureException(new Error("early"));
    await pass(1);
    await pass(10_000);
    expect(server.sent).toHaveLength(2); // at once, and when the chunk was asked for
    failing = chunks.failing = false;
    await pass(31_000);
    expect(server.messages).toEqual(["early"]);
  });

  test("before the keeper is there a hidden page tries nothing again with each item, and sends all when it is shown", async () => {
    chunks.failing = true;
    let failing = true;
    server.answer = () => (failing ? "down" : new Response("{}"));
    const client = page();
    visibility("hidden");
    for (let index = 0; index < 40; index++) {
      client.captureMessage(`hidden ${index}`);
      await pass(1);
    }
    expect(server.sent.length).toBeLessThan(5);
    failing = false;
    visibility("visible");
    await pass(1000);
    expect(server.accounted(client.page.id)).toEqual(Array.from({ length: 41 }, (_, index) => index + 1));
  });

  test("before the keeper is there memory is bounded, which is told", async () => {
    chunks.failing = true;
    let failing = true;
    server.answer = () => (failing ? "down" : new Response("{}"));
    const client = page({ pageViews: false });
    for (let index = 0; index < 25; index++) {
      measure(client, "custom", 40_000);
      await pass(10);
    }
    failing = chunks.failing = false;
    await pass(31_000);
    const dropped = server.items.flatMap((item) => (item.type === "outcome" ? [item] : []));
    expect(dropped).toEqual([expect.objectContaining({ reason: "queue_overflow", category: "measurement" })]);
    expect(dropped[0]?.quantity).toBeGreaterThan(5);
    expect(server.accounted(client.page.id)).toEqual(Array.from({ length: 25 }, (_, index) => index + 1));
  });

  test("the keeper comes to a page that loads for ever, and comes once when it has loaded after all", async () => {
    vi.spyOn(document, "readyState", "get").mockReturnValue("interactive");
    let failing = true;
    server.answer = () => (failing ? "down" : new Response("{}"));
    page().captureException(new Error("early"));
    await pass(10_000);
    failing = false;
    await pass(21_000);
    expect(server.messages).toEqual(["early"]);
    const load = vi.spyOn(indexedDB, "open");
    window.dispatchEvent(new Event("load"));
    await pass(40_000);
    expect(load).not.toHaveBeenCalled();
  });

  test("answers that never come are given up", async () => {
    const timeout = vi.spyOn(AbortSignal, "timeout");
    page().captureException(new Error("slow"));
    await pass(1);
    expect(timeout).toHaveBeenCalledWith(20_000);
  });

  test("the network is back: nothing is waited for", async () => {
    let failing = true;
    server.answer = () => (failing ? "down" : new Response("{}"));
    const client = page();
    await pass(1000);
    client.captureException(new Error("offline"));
    await pass(60_000);
    failing = false;
    const before = server.sent.length;
    window.dispatchEvent(new Event("online"));
    await pass(1);
    expect(server.sent.length).toBeGreaterThan(before);
    expect(server.messages).toContain("offline");
  });
});

describe("a server that refuses", () => {
  test("429 holds back what it names for as long as it says, and nothing else", async () => {
    server.answer = ({ header }) =>
      header.has[0] === "event" ? new Response("{}") : Response.json({ ok: false, reason: "rate_limited", retry_after: 120, categories: ["measurement"] }, { status: 429 });
    const client = page({ pageViews: false });
    await pass(1000);
    measure(client);
    await pass(6000);
    expect(server.sent).toHaveLength(1);
    client.captureException(new Error("passes"));
    await pass(100);
    expect(server.messages).toEqual(["passes"]);
    server.answer = () => new Response("{}");
    await pass(100_000);
    expect(server.sent).toHaveLength(2);
    await pass(20_000);
    expect(server.items.map(({ type }) => type)).toEqual(["event", "measurement"]);
    expect(server.accounted(client.page.id)).toEqual([1, 2]);
  });

  test("429 of one category keeps no timer busy while another one is on its way", async () => {
    server.answer = ({ header }) => (header.has[0] === "event" ? "never" : Response.json({ retry_after: 120, categories: ["measurement"] }, { status: 429 }));
    const client = page({ pageViews: false });
    await pass(1000);
    measure(client);
    await pass(6000);
    client.captureException(new Error("on its way"));
    await pass(100);
    const timers = vi.spyOn(globalThis, "setTimeout");
    measure(client); // asks whether it may go
    await pass(10_000);
    expect(timers.mock.calls.length).toBeLessThan(10);
  });

  test("a replay that the project does not take is told as such, and no more is recorded", async () => {
    server.answer = ({ header }) => Response.json(header.has[0] === "replay_segment" ? { ok: true, skipped: true } : { ok: true });
    const client = page({ pageViews: false });
    await pass(1000);
    const told: unknown[] = [];
    client.on("settings", ({ replay }) => told.push(replay));
    client.capture({ type: "replay_segment", replay_id: "a".repeat(32), segment: 0, replay_type: "session", started: 1, ended: 2, events: [] } as never);
    await pass(10_000);
    expect(told).toEqual([false]);
    expect(client.settings.replay).toBe(false);
    expect(server.items).toContainEqual(expect.objectContaining({ type: "outcome", reason: "opt_out", category: "replay", quantity: 1, numbers: [1] }));
  });

  test("429 without a body follows Retry-After, and holds back all", async () => {
    server.answer = () => new Response("", { status: 429, headers: { "Retry-After": "30" } });
    const client = page();
    await pass(1000);
    client.captureException(new Error("held"));
    await pass(25_000);
    expect(server.sent).toHaveLength(1);
    server.answer = () => new Response("{}");
    await pass(10_000);
    expect(server.messages).toEqual(["held"]);
  });

  test("429 without any number waits for a minute", async () => {
    server.answer = () => new Response("", { status: 429 });
    page();
    await pass(6000);
    server.answer = () => new Response("{}");
    await pass(57_000);
    expect(server.sent).toHaveLength(1);
    await pass(5000);
    expect(server.taken.size).toBe(1);
  });

  test.each([
    [400, "send_error"],
    [403, "send_error"],
    [413, "too_large"],
  ])("%i is final: the drop is counted with its numbers, and nothing is sent again", async (status, reason) => {
    let refused = 0;
    server.answer = ({ header }) => (header.has[0] === "outcome" ? new Response("{}") : (refused++, new Response("", { status })));
    const client = page();
    await pass(1000);
    client.captureException(new Error("refused"));
    await pass(60_000);
    expect(refused).toBe(1);
    expect(server.items.map((item) => (item.type === "outcome" ? [item.reason, item.category, item.quantity, item.numbers] : item))).toEqual([
      [reason, "error", 1, [2]],
      [reason, "page_view", 1, [1]],
    ]);
    expect(server.accounted(client.page.id)).toEqual([1, 2]);
  });

  test("that drops were refused, too, is not told: it would never end", async () => {
    server.answer = () => new Response("", { status: 403 });
    page();
    await pass(60_000);
    expect(server.sent.map(({ header }) => header.has)).toEqual([["page_view"], ["outcome"]]);
  });
});

import { IDBFactory } from "fake-indexeddb";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { chunks, DSN, leave, page, pass, Server, turns, visibility } from "./world";

let server: Server;

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "Date"] });
  vi.stubGlobal("indexedDB", new IDBFactory());
  localStorage.clear();
  chunks.failing = false;
  server = new Server();
  server.install();
  vi.spyOn(Math, "random").mockReturnValue(0.5); // a wait is then exactly what it doubles
});
afterEach(async () => {
  await leave();
  vi.restoreAllMocks();
  vi.useRealTimers();
});

const events = (): string[] => server.items.flatMap((item) => (item.type === "event" ? [item.exceptions?.at(-1)?.value || item.message || ""] : []));
const measure = (client: ReturnType<typeof page>, metric = "LCP", size = 0): void => client.capture({ type: "measurement", metric, value: 1, attributes: { fill: "x".repeat(size) } });

describe("batches", () => {
  test("errors of one turn leave at once in one request, before what is less urgent", async () => {
    const client = page();
    measure(client);
    client.captureException(new Error("one"));
    client.captureException(new Error("two"));
    expect(server.sent).toHaveLength(0);
    await pass(1);
    expect(server.sent).toHaveLength(1);
    const [{ header, items, url, init }] = server.sent as [Server["sent"][0]];
    expect(items.map(({ type, n }) => [type, n])).toEqual([["event", 3], ["event", 4], ["measurement", 2], ["page_view", 1]]);
    expect(header).toMatchObject({ v: 2, has: ["event", "measurement", "page_view"], last: 4, page_view: { id: client.page.id } });
    expect(url).toBe(`${DSN}?sdk=condev.browser/0.0.0-test`);
    expect(init).toMatchObject({ method: "POST", credentials: "omit", keepalive: true });
    expect((init.body as Blob).type.toLowerCase()).toBe("text/plain;charset=utf-8");
    expect(init.headers).toBeUndefined(); // nothing that a preflight would ask about
  });

  test("measurements wait for five seconds, a large batch does not", async () => {
    const client = page();
    await pass(5400); // half a second of them until the page has settled
    expect(server.sent).toHaveLength(0);
    await pass(100);
    expect(server.sent).toHaveLength(1);
    for (let index = 0; index < 4; index++) measure(client, "custom", 10_000);
    await pass(1);
    expect(server.sent).toHaveLength(2);
  });

  test("of a burst all are sent, not only the first: what comes during a request goes together in the next one", async () => {
    server.answer = () => "never";
    const client = page();
    for (let index = 0; index < 20; index++) {
      client.captureException(new Error(`burst ${index}`));
      await pass(1);
    }
    expect(server.sent).toHaveLength(2); // the second one in case the first one hangs
    server.answer = () => new Response("{}");
    server.release(() => new Response("{}"));
    await pass(1);
    expect(server.sent).toHaveLength(3);
    expect(events()).toEqual(Array.from({ length: 20 }, (_, index) => `burst ${index}`));
  });

  test("what would make an envelope too large for a page's end makes another one", async () => {
    const client = page();
    for (let index = 0; index < 20; index++) measure(client, "custom", 10_000);
    await pass(1000);
    expect(server.sent.length).toBeGreaterThan(3);
    for (const { items } of server.sent) expect(JSON.stringify(items).length).toBeLessThan(51_000);
    expect(server.accounted(client.page.id)).toEqual(Array.from({ length: 21 }, (_, index) => index + 1));
  });

  test("a replay segment travels alone", async () => {
    const client = page();
    client.captureException(new Error("beside it"));
    client.capture({ type: "replay_segment", replay_id: "r", segment: 0, replay_type: "session", started: 0, ended: 1, data: "x".repeat(100_000) });
    await pass(1000);
    expect(server.sent.map(({ header }) => header.has)).toEqual([["event", "page_view"], ["replay_segment"]]);
    expect(server.sent[1]?.items[0]).toMatchObject({ data: "x".repeat(100_000) });
  });

  test("an envelope is of one page view", async () => {
    const client = page();
    const first = client.page.id;
    measure(client, "CLS");
    client.on("leave", () => measure(client, "INP"));
    client.startPageView("https://shop.example.com/checkout", "/checkout");
    await pass(6000);
    const byPage = server.sent.map(({ header, items }) => [header.page_view.id, items.map((item) => (item.type === "measurement" ? item.metric : item.type))]);
    expect(byPage).toEqual([
      [first, ["CLS", "INP", "page_view"]],
      [client.page.id, ["page_view"]],
    ]);
    expect(server.sent[1]?.header.page_view).toMatchObject({ url: "https://shop.example.com/checkout", route: "/checkout", referrer: "https://shop.example.com/cart?coupon=*" });
  });
});

describe("compression", () => {
  test("a small body stays as it is, a larger one is gzip and says so in the address", async () => {
    const client = page({ offline: false });
    await pass(5500); // what compresses comes when the page is idle
    expect(server.sent[0]?.url).not.toContain("enc=");
    client.captureException(new Error("x"), { extra: { fill: "y".repeat(15_000) } });
    await pass(1);
    expect(server.sent[1]?.url).toContain("&enc=gzip");
    expect(server.sent[1]?.bytes).toBeLessThan(2000);
  });

  test("without CompressionStream it is sent as it is", async () => {
    vi.stubGlobal("CompressionStream", undefined);
    const client = page({ pageViews: false });
    await pass(1000);
    client.captureException(new Error("x"), { extra: { fill: "y".repeat(15_000) } });
    await pass(1);
    expect(server.sent[0]?.url).not.toContain("enc=");
    expect(events()).toEqual(["x"]);
  });
});

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
    expect(events()).toEqual(["kept"]);
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
    expect(events()).toEqual(["again"]);
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
    expect(events()).toEqual(["early"]);
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
    expect(events()).toEqual(["early"]);
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
    expect(events()).toContain("offline");
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
    expect(events()).toEqual(["passes"]);
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
    expect(events()).toEqual(["held"]);
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

describe("a page that goes away", () => {
  test("sends all it has, errors first, within what browsers allow all requests together", async () => {
    vi.stubGlobal("CompressionStream", undefined);
    server.answer = () => "never";
    const client = page();
    measure(client, "custom", 20_000);
    measure(client, "custom", 29_000);
    await pass(1); // one request is on its way
    measure(client, "custom", 40_000);
    client.captureException(new Error("last words"));
    const first = vi.mocked(fetch).mock.calls.length;
    visibility("hidden");
    await turns();
    const calls = vi.mocked(fetch).mock.calls.slice(first);
    expect(calls.length).toBeGreaterThan(0);
    const late = server.sent.slice(first);
    expect(late[0]?.header.has[0]).toBe("event");
    const kept = server.sent.filter(({ init }) => init.keepalive).reduce((sum, { bytes }) => sum + bytes, 0);
    expect(kept).toBeLessThan(65_536);
    const numbers = server.sent.flatMap(({ items }) => items.map(({ n }) => n)).sort();
    expect(numbers).toEqual([1, 2, 3, 4, 5]); // what does not fit goes without keepalive, which is all that is left
    expect(server.sent.some(({ init }) => !init.keepalive)).toBe(true);
  });

  test("hears the last values of who listens, and sends them", async () => {
    const client = page();
    client.on("hide", () => measure(client, "CLS"));
    visibility("hidden");
    await turns();
    expect(server.items.map((item) => (item.type === "measurement" ? item.metric : item.type))).toEqual(["CLS", "page_view"]);
  });

  test("sends what is captured after it was hidden, too", async () => {
    const client = page();
    visibility("hidden");
    measure(client, "INP");
    await turns();
    expect(server.items.at(-1)).toMatchObject({ metric: "INP" });
  });

  test("does not wait for what is being compressed", async () => {
    let finish = (): void => {};
    const never = new TransformStream({ transform: () => new Promise((resolve) => (finish = () => resolve(undefined))) });
    vi.stubGlobal("CompressionStream", function () {
      return never;
    });
    const client = page();
    await pass(1000);
    client.captureException(new Error("being compressed"), { extra: { fill: "z".repeat(10_000) } });
    await pass(1);
    expect(server.sent).toHaveLength(0);
    visibility("hidden");
    await turns();
    expect(events()).toEqual(["being compressed"]);
    finish();
    await pass(10_000);
    expect(server.sent).toHaveLength(1);
  });

  test("is hidden twice, by two events, and sends once", async () => {
    page().captureException(new Error("once"));
    visibility("hidden");
    window.dispatchEvent(new Event("pagehide"));
    await turns();
    expect(server.sent).toHaveLength(1);
  });

  test("uses a beacon where fetch has no keepalive", async () => {
    const beacon = vi.fn(() => true);
    Object.defineProperty(navigator, "sendBeacon", { value: beacon, configurable: true });
    vi.stubGlobal("Request", class {});
    const client = page();
    await pass(1000);
    client.captureException(new Error("by beacon"));
    visibility("hidden");
    await turns();
    expect(beacon).toHaveBeenCalledOnce();
    expect(server.sent).toHaveLength(0);
    const [url, body] = beacon.mock.calls[0] as unknown as [string, Blob];
    expect(url).toBe(`${DSN}?sdk=condev.browser/0.0.0-test`);
    const text = await body.text();
    expect(text).toContain("by beacon");
    // Nobody heard whether it arrived: the copy on disk is sent, and is the same to the server.
    visibility("visible");
    await pass(10_000);
    expect(server.sent.map(({ header }) => header.id)).toEqual([(JSON.parse(text.split("\n")[0] || "") as { id: string }).id]);
  });
});

describe("flush", () => {
  test("resolves to true when all is delivered", async () => {
    const client = page();
    measure(client);
    const done = client.flush();
    await pass(100);
    expect(await done).toBe(true);
    expect(server.items).toHaveLength(2);
  });

  test("resolves to false when it takes too long", async () => {
    server.answer = () => "never";
    const client = page();
    const done = client.flush(100);
    await pass(200);
    expect(await done).toBe(false);
  });

  test("close ends integrations, sends what there is, and captures nothing more", async () => {
    const end = vi.fn();
    const client = page({}, [{ name: "mine", setup: () => end }]);
    client.captureException(new Error("before"));
    const closed = client.close();
    await pass(100);
    expect(await closed).toBe(true);
    expect(end).toHaveBeenCalledOnce();
    client.captureException(new Error("after"));
    await pass(10_000);
    expect(events()).toEqual(["before"]);
  });
});

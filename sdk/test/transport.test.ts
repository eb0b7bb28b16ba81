import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { begin, DSN, finish, page, pass, type Server, turns, visibility } from "./world";

let server: Server;

beforeEach(() => {
  server = begin();
  vi.spyOn(Math, "random").mockReturnValue(0.5); // a wait is then exactly what it doubles
});
afterEach(finish);

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
    expect(server.messages).toEqual(Array.from({ length: 20 }, (_, index) => `burst ${index}`));
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
    expect(server.messages).toEqual(["x"]);
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
    expect(server.messages).toEqual(["being compressed"]);
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
    expect(server.messages).toEqual(["before"]);
  });
});

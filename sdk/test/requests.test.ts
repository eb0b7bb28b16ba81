import { createServer, type IncomingMessage, type Server } from "node:http";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import { requests } from "../src/integrations/requests";
import type { ActiveSpan, Cleanup, Options } from "../src/types";
import { KEY, type Recorder, recorder } from "./recorder";

const TRACE = `00-${"a".repeat(32)}-${"b".repeat(16)}-01`;
let client: Recorder;
let cleanup: Cleanup | void;
let fetched: [input: unknown, init: RequestInit | undefined][];
let answer: () => Promise<unknown>;

function start(options: Partial<Options> = {}): void {
  client = recorder(options);
  client.activeSpan = { traceparent: () => TRACE } as ActiveSpan;
  cleanup = requests.setup(client);
}

beforeEach(() => {
  fetched = [];
  answer = () => Promise.resolve(new Response("body", { status: 200 }));
  vi.stubGlobal("fetch", (input: unknown, init?: RequestInit) => {
    fetched.push([input, init]);
    return answer();
  });
});
afterEach(() => {
  cleanup?.();
  vi.unstubAllGlobals();
  vi.restoreAllMocks();
});

const respond = (status: number): void => {
  answer = () => Promise.resolve(new Response(null, { status }));
};

describe("fetch", () => {
  test("leaves a breadcrumb without values of the query, and the page gets its response untouched", async () => {
    start();
    const response = await fetch("https://u:p@api.test/orders?token=secret&page=2", { method: "post", body: "card=4111" });
    expect(await response.text()).toBe("body");
    expect(client.crumbs).toEqual([
      { category: "fetch", level: "info", message: "POST https://api.test/orders?token=*&page=*", data: { status: 200, ms: expect.any(Number) as number } },
    ]);
    expect(JSON.stringify([client.crumbs, client.events])).not.toMatch(/secret|4111/);
    expect(fetched).toEqual([["https://u:p@api.test/orders?token=secret&page=2", { method: "post", body: "card=4111" }]]);
  });

  test.each([500, 503, 599])("an answer of %i is an event with the request", async (status) => {
    start();
    respond(status);
    await fetch("https://api.test/stock?key=1");
    expect(client.events).toEqual([
      {
        exceptions: [{ type: "HttpError", value: `GET https://api.test/stock?key=* answered ${status}`, mechanism: "fetch", handled: true }],
        request: { method: "GET", url: "https://api.test/stock?key=*", status },
      },
    ]);
    expect(client.crumbs[0]?.level).toBe("warning");
  });

  test("an answer of 404 is a breadcrumb only, unless it is asked for", async () => {
    start();
    respond(404);
    await fetch("/missing");
    expect(client.events).toEqual([]);
    expect(client.crumbs[0]).toMatchObject({ level: "warning", data: { status: 404 } });
    cleanup?.();
    start({ requests: { failed: (status) => status === 404 } });
    await fetch("/missing");
    expect(client.events).toMatchObject([{ request: { status: 404 } }]);
  });

  test("the stack of what there was instead of an answer has no queries", async () => {
    start();
    answer = () => Promise.reject(Object.assign(new TypeError("Failed to fetch"), { stack: "at f (https://x.com/callback?code=S:1:2)" }));
    await fetch("https://api.test/stock").catch(() => {});
    expect(client.events[0]?.exceptions?.[0]?.stack).toBe("at f (https://x.com/callback:1:2)");
  });

  test("no answer is an event; the page gets its own error, and nobody handles it for the page", async () => {
    start();
    const error = new TypeError("Failed to fetch");
    answer = () => Promise.reject(error);
    const unhandled: unknown[] = [];
    const onUnhandled = (reason: unknown): unknown => unhandled.push(reason);
    process.on("unhandledRejection", onUnhandled);
    void fetch("https://api.test/down");
    await new Promise((resolve) => setTimeout(resolve, 20));
    process.off("unhandledRejection", onUnhandled);
    expect(unhandled).toEqual([error]);
    expect(client.events).toMatchObject([
      { exceptions: [{ type: "NetworkError", value: "GET https://api.test/down failed", stack: error.stack }], request: { status: 0 } },
    ]);
    expect(client.hints[0]).toMatchObject({ originalException: error });
    expect(client.failures).toEqual([]);
  });

  test("an abort is no failure, a timeout is", async () => {
    start();
    answer = () => Promise.reject(new DOMException("aborted", "AbortError"));
    await expect(fetch("/a")).rejects.toThrow("aborted");
    expect(client.events).toEqual([]);
    expect(client.crumbs[0]).toMatchObject({ level: "info", data: { status: "abort" } });
    answer = () => Promise.reject(new DOMException("too long", "TimeoutError"));
    await expect(fetch("/a")).rejects.toThrow("too long");
    expect(client.events).toMatchObject([{ exceptions: [{ type: "NetworkError", value: `GET ${location.origin}/a timeout` }] }]);
  });

  test("an abort with an error of the page's own is an abort; with a signal's timeout it is a timeout", async () => {
    start();
    const superseded = new AbortController();
    superseded.abort(new Error("superseded"));
    answer = () => Promise.reject(superseded.signal.reason as Error);
    await expect(fetch("/a", { signal: superseded.signal })).rejects.toThrow("superseded");
    expect(client.events).toEqual([]);
    const late = new AbortController();
    late.abort(new DOMException("signal timed out", "TimeoutError"));
    answer = () => Promise.reject(late.signal.reason as Error);
    await expect(fetch("/b", { signal: late.signal })).rejects.toThrow("timed out");
    expect(client.events).toMatchObject([{ exceptions: [{ value: `GET ${location.origin}/b timeout` }] }]);
    expect(client.hints[0]).toMatchObject({ originalException: late.signal.reason });
  });

  test("a rejection with undefined is passed on as it is", async () => {
    start();
    answer = () => Promise.reject(undefined);
    await expect(fetch("/a")).rejects.toBeUndefined();
    expect(client.events).toMatchObject([{ exceptions: [{ type: "NetworkError" }] }]);
  });

  test("while the browser is offline no answer is a breadcrumb only", async () => {
    start();
    vi.spyOn(navigator, "onLine", "get").mockReturnValue(false);
    answer = () => Promise.reject(new TypeError("Failed to fetch"));
    await expect(fetch("/a")).rejects.toThrow();
    expect(client.events).toEqual([]);
    expect(client.crumbs).toHaveLength(1);
  });

  test("an opaque answer has no status and is no failure", async () => {
    start();
    answer = () => Promise.resolve(Response.error());
    await fetch("https://cdn.test/pixel", { mode: "no-cors" });
    expect(client.events).toEqual([]);
  });

  test("a slow one is a measurement", async () => {
    start({ requests: { slow: 1000 } });
    let now = 0;
    vi.spyOn(performance, "now").mockImplementation(() => now);
    answer = () => {
      now += 1500;
      return Promise.resolve(new Response());
    };
    await fetch("https://api.test/slow?key=1");
    expect(client.items).toEqual([
      {
        type: "measurement",
        metric: "request_slow",
        value: 1500,
        unit: "millisecond",
        attributes: { method: "GET", url: "https://api.test/slow?key=*", status: 200 },
      },
    ]);
  });

  test("the SDK's own requests, and those that are to be ignored, are nothing", async () => {
    start({ requests: { ignoreUrls: ["/poll", /beacon$/] } });
    respond(500);
    for (const own of [`https://monitor.test/v2/${KEY}?sdk=x`, `https://monitor.test/app-config?appId=${KEY}&v=2`, "/poll", "https://x.test/beacon"]) await fetch(own);
    expect([client.events, client.crumbs, client.items]).toEqual([[], [], []]);
    expect(fetched).toHaveLength(4);
  });

  test("each thing can be switched off", async () => {
    respond(500);
    start({ breadcrumbs: { requests: false }, requests: { failed: false, slow: 0 } });
    await fetch("/a");
    expect([client.events, client.crumbs, client.items]).toEqual([[], [], []]);
  });

  test("odd arguments go through as they are", async () => {
    start();
    const request = new Request("https://api.test/put", { method: "PUT", body: "x" });
    await fetch(request);
    await fetch(new URL("https://api.test/url"));
    await fetch({ toString: () => "https://api.test/text" } as unknown as string);
    expect(fetched[0]?.[0]).toBe(request);
    expect(request.bodyUsed).toBe(false);
    expect(client.crumbs.map((crumb) => crumb.message)).toEqual(["PUT https://api.test/put", "GET https://api.test/url", "GET https://api.test/text"]);
    answer = () => Promise.reject(new TypeError("Invalid URL"));
    await expect(fetch("http://[bad")).rejects.toThrow("Invalid URL");
    expect(client.failures).toHaveLength(1);
  });

  test("another script's fetch that gives no promise is left as it is", () => {
    start();
    answer = () => "no promise" as never;
    expect(fetch("/a")).toBe("no promise");
  });

  test("at the end fetch is the page's own", () => {
    const own = window.fetch;
    start();
    expect(window.fetch).not.toBe(own);
    cleanup?.();
    expect(window.fetch).toBe(own);
  });
});

describe("traceparent with fetch", () => {
  const headerOf = (index = 0): string | null => {
    const [input, init] = fetched[index] || [];
    return new Headers(init?.headers || (input instanceof Request ? input.headers : undefined)).get("traceparent");
  };

  test("goes to the page's own origin and the listed addresses, nowhere else", async () => {
    start({ traceTargets: ["https://api.test/", /\.internal\/$/] });
    for (const url of ["/own", `${location.origin}/own`, "https://api.test/a", "https://x.internal", "https://other.test/a"]) await fetch(url);
    expect([0, 1, 2, 3, 4].map(headerOf)).toEqual([TRACE, TRACE, TRACE, TRACE, null]);
  });

  test("does not go where a listed address is only in the query or the fragment", async () => {
    start({ traceTargets: ["https://api.test", /api\.test/] });
    for (const url of ["https://ads.test/p?u=https://api.test/x", "https://ads.test/p#https://api.test/x"]) await fetch(url);
    expect([0, 1].map((index) => headerOf(index))).toEqual([null, null]);
  });

  test("goes nowhere when it is switched off, the own origin included", async () => {
    start({ traceTargets: false });
    await fetch("/own");
    expect(headerOf()).toBeNull();
  });

  test("is added to headers of every form without changing the page's objects", async () => {
    start();
    const forms: HeadersInit[] = [{ "X-A": "1" }, [["X-A", "1"]], new Headers({ "X-A": "1" })];
    for (const headers of forms) await fetch("/own", { headers, method: "POST", body: "b" });
    forms.forEach((form, index) => {
      const init = fetched[index]?.[1];
      expect(init).toMatchObject({ method: "POST", body: "b" });
      expect(init?.headers?.constructor).toBe(form.constructor);
      expect(new Headers(init?.headers).get("x-a")).toBe("1");
      expect(headerOf(index)).toBe(TRACE);
      expect(new Headers(form).has("traceparent")).toBe(false);
    });
  });

  test("is added to a Request whose body and referrer stay", async () => {
    start();
    const request = new Request(`${location.origin}/own`, { method: "POST", body: "b", headers: { "X-A": "1" } });
    await fetch(request);
    expect(fetched[0]).toEqual([request, undefined]);
    expect(headerOf()).toBe(TRACE);
    expect(await request.text()).toBe("b");
    await fetch(new Request(`${location.origin}/own`), { headers: { "X-B": "2" } });
    expect(headerOf(1)).toBe(TRACE);
  });

  test("a page's own is kept", async () => {
    start();
    await fetch("/own", { headers: { Traceparent: "mine" } });
    expect(headerOf()).toBe("mine");
  });

  test("without an active span it is of the page view's trace", async () => {
    start();
    client.activeSpan = undefined;
    await fetch("/own");
    expect(headerOf()).toMatch(/^00-b{32}-[0-9a-f]{16}-01$/);
  });
});

describe("XMLHttpRequest", () => {
  let server: Server;
  let base: string;
  let received: IncomingMessage[];

  beforeAll(async () => {
    server = createServer((request, response) => {
      received.push(request);
      response.setHeader("Access-Control-Allow-Origin", "*");
      response.setHeader("Access-Control-Allow-Headers", "*");
      const status = Number(/\/(\d{3})/.exec(request.url || "")?.[1] || 200);
      if (request.url?.startsWith("/hang")) return;
      if (request.url?.startsWith("/cut")) return void request.socket.destroy();
      response.statusCode = request.method === "OPTIONS" ? 204 : status;
      response.end("body");
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    base = `http://127.0.0.1:${server.address().port}`;
  });
  afterAll(() => {
    server.closeAllConnections();
    server.close();
  });
  beforeEach(() => {
    received = [];
    vi.spyOn(console, "error").mockImplementation(() => {}); // jsdom's own words about failed requests
  });

  const ended = (xhr: XMLHttpRequest): Promise<unknown> => new Promise((resolve) => xhr.addEventListener("loadend", resolve, { once: true }));
  async function send(method: string, url: string, prepare: (xhr: XMLHttpRequest) => void = () => {}, xhr = new XMLHttpRequest()): Promise<XMLHttpRequest> {
    xhr.open(method, url);
    prepare(xhr);
    const done = ended(xhr);
    xhr.send("card=4111");
    await done;
    return xhr;
  }

  test("leaves a breadcrumb, and an event when it failed", async () => {
    start();
    const xhr = await send("post", `${base}/200?token=secret`);
    expect(xhr.responseText).toBe("body");
    await send("GET", `${base}/502`);
    expect(client.crumbs).toMatchObject([
      { category: "xhr", level: "info", message: `POST ${base}/200?token=*`, data: { status: 200 } },
      { category: "xhr", level: "warning", message: `GET ${base}/502`, data: { status: 502 } },
    ]);
    expect(client.events).toMatchObject([
      { exceptions: [{ type: "HttpError", value: `GET ${base}/502 answered 502`, mechanism: "xhr" }], request: { method: "GET", status: 502 } },
    ]);
    expect(JSON.stringify([client.events, client.crumbs])).not.toMatch(/secret|4111/);
  });

  test("no answer, a timeout and an abort are told apart", async () => {
    start();
    await send("GET", `${base}/cut`);
    await send("GET", `${base}/hang`, (xhr) => (xhr.timeout = 20));
    await send("GET", `${base}/hang`, (xhr) => setTimeout(() => xhr.abort(), 20));
    expect(client.events.map((event) => event.exceptions?.[0]?.value)).toEqual([`GET ${base}/cut failed`, `GET ${base}/hang timeout`]);
    expect(client.crumbs.map((crumb) => crumb.data?.["status"])).toEqual(["failed", "timeout", "abort"]);
  });

  test("one object used again is each time its own request, with one report each", async () => {
    start();
    const xhr = new XMLHttpRequest();
    for (const status of [200, 500, 201]) await send("GET", `${base}/${status}`, undefined, xhr);
    expect(client.crumbs.map((crumb) => crumb.data?.["status"])).toEqual([200, 500, 201]);
    expect(client.events).toHaveLength(1);
  });

  test("opened anew while it runs, the first request is forgotten", async () => {
    start();
    const xhr = new XMLHttpRequest();
    xhr.open("GET", `${base}/hang`);
    xhr.send();
    await send("GET", `${base}/200`, undefined, xhr);
    expect(client.crumbs.map((crumb) => crumb.message)).toEqual([`GET ${base}/200`]);
  });

  test("traceparent goes to listed addresses, once; a page's own is kept", async () => {
    start({ traceTargets: [`${base}/traced`] });
    await send("GET", `${base}/traced`);
    await send("GET", `${base}/other`);
    await send("GET", `${base}/traced`, (xhr) => xhr.setRequestHeader("Traceparent", "mine"));
    const sent = received.filter((request) => request.method === "GET").map((request) => request.headers.traceparent);
    expect(sent).toEqual([TRACE, undefined, "mine"]);
  });

  test("the SDK's own are nothing, and at the end the prototype is the browser's", async () => {
    const own = (["open", "send", "setRequestHeader"] as const).map((name) => XMLHttpRequest.prototype[name]);
    start();
    await send("POST", `${base}/v2/${KEY}?sdk=1`);
    expect(client.crumbs).toEqual([]);
    cleanup?.();
    expect((["open", "send", "setRequestHeader"] as const).map((name) => XMLHttpRequest.prototype[name])).toEqual(own);
    await send("GET", `${base}/500`);
    expect(client.events).toEqual([]);
  });

  test("two clients both see a request, and neither disturbs the other's end", async () => {
    start();
    const first = { client, cleanup };
    start();
    await send("GET", `${base}/500`);
    expect([first.client.events.length, client.events.length]).toEqual([1, 1]);
    first.cleanup?.();
    await send("GET", `${base}/500`);
    expect([first.client.events.length, client.events.length]).toEqual([1, 2]);
  });
});

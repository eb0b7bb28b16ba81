import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { getClient, setClient } from "../src/current";
import { nextOptions, onRouterTransitionStart, requestErrorReporter } from "../src/frameworks/next";
import type { Client, Integration, Page } from "../src/types";

const DSN = "https://monitor.example.com/v2/0123456789abcdef0123456789abcdef";
const REQUEST = { path: "/orders/42?token=secret", method: "GET", headers: { cookie: "session=secret" } };
const CONTEXT = { routerKind: "App Router", routePath: "/orders/[id]", routeType: "render", renderSource: "react-server-components" };

/** What the endpoint was sent, line by line. */
let sent: { url: string; lines: Record<string, unknown>[]; body: string }[] = [];
let answers: (number | Error)[] = [];

beforeEach(() => {
  sent = [];
  answers = [];
  vi.useFakeTimers();
  vi.stubGlobal("fetch", async (url: string, init: { body: string }) => {
    sent.push({ url, body: init.body, lines: init.body.split("\n").map((line) => JSON.parse(line) as Record<string, unknown>) });
    const answer = answers.shift() ?? 200;
    if (answer instanceof Error) throw answer;
    return new Response('{"ok":true}', { status: answer });
  });
});

afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
  setClient(undefined);
});

async function settled(work: Promise<void>): Promise<void> {
  await vi.runAllTimersAsync();
  await work;
}

describe("requestErrorReporter", () => {
  test("sends the error with its route and digest, and without headers and the query's values", async () => {
    const report = requestErrorReporter({ dsn: DSN, release: "shop@1", environment: "test", tags: { region: "eu" } });
    const error = Object.assign(new Error("no stock", { cause: new TypeError("timeout") }), { digest: "1234" });
    await settled(report(error, REQUEST, CONTEXT));
    const [header, event] = sent[0]!.lines as [Record<string, unknown>, Record<string, unknown>];
    expect(sent[0]!.url).toMatch(`${DSN}?sdk=condev.next/`);
    expect(header).toMatchObject({ v: 2, has: ["event"], release: "shop@1", environment: "test" });
    expect(event).toMatchObject({
      type: "event",
      kind: "error",
      route: "/orders/[id]",
      transaction: "GET /orders/[id]",
      request: { method: "GET", url: "/orders/42?token=*" },
      contexts: { next: { ...CONTEXT, digest: "1234" } },
      tags: { "next.route_type": "render", region: "eu" },
    });
    const exceptions = event["exceptions"] as { type: string; handled?: boolean; mechanism: string }[];
    expect(exceptions.map(({ type }) => type)).toEqual(["TypeError", "Error"]);
    expect(exceptions.at(-1)).toMatchObject({ handled: false, mechanism: "next.onRequestError" });
    expect(sent[0]!.body).not.toContain("secret");
  });

  test("tries again with the same envelope after a failure of the server or the network", async () => {
    answers = [503, new TypeError("fetch failed"), 200];
    await settled(requestErrorReporter({ dsn: DSN })(new Error("a"), REQUEST, CONTEXT));
    expect(sent).toHaveLength(3);
    expect(new Set(sent.map(({ lines }) => lines[0]!["id"])).size).toBe(1);
    expect(new Set(sent.map(({ lines }) => lines[1]!["id"])).size).toBe(1);
  });

  test("gives up after three tries, on a refusal at once, and never throws", async () => {
    answers = [500, 500, 500, 200];
    await settled(requestErrorReporter({ dsn: DSN })(new Error("a"), REQUEST, CONTEXT));
    expect(sent).toHaveLength(3);
    answers = [403];
    await settled(requestErrorReporter({ dsn: DSN })(new Error("a"), REQUEST, CONTEXT));
    expect(sent).toHaveLength(4);
  });

  test("says under debug why nothing was sent", async () => {
    const warn = vi.spyOn(console, "warn").mockImplementation(() => {});
    answers = [403];
    await settled(requestErrorReporter({ dsn: DSN, debug: true })(new Error("a"), REQUEST, CONTEXT));
    expect(String(warn.mock.calls[0]?.[1])).toContain("403");
    warn.mockRestore();
  });

  test("without a DSN, or with one that is none, it is silent but for a warning", async () => {
    const warn = vi.spyOn(console, "warn").mockImplementation(() => {});
    await settled(requestErrorReporter({ dsn: undefined })(new Error("a"), REQUEST, CONTEXT));
    expect(warn).not.toHaveBeenCalled();
    await settled(requestErrorReporter({ dsn: "nonsense" })(new Error("a"), REQUEST, CONTEXT));
    expect(warn).toHaveBeenCalledOnce();
    expect(sent).toEqual([]);
    warn.mockRestore();
  });

  test("sends sixty a minute, and tells how many it held back", async () => {
    const report = requestErrorReporter({ dsn: DSN });
    for (let round = 0; round < 100; round++) await report(new Error(`fault ${round}`), REQUEST, CONTEXT);
    expect(sent).toHaveLength(60);
    vi.advanceTimersByTime(60_000);
    await report(new Error("later"), REQUEST, CONTEXT);
    expect(sent[60]!.lines[2]).toMatchObject({ type: "outcome", reason: "flood", category: "error", quantity: 40 });
  });

  test("beforeSend may change the event or drop it", async () => {
    const beforeSend = vi.fn().mockReturnValueOnce(null).mockImplementationOnce((event: object) => ({ ...event, level: "fatal" }));
    const report = requestErrorReporter({ dsn: DSN, beforeSend });
    await report(new Error("a"), REQUEST, CONTEXT);
    await report(new Error("b"), REQUEST, CONTEXT);
    expect(sent).toHaveLength(1);
    expect(sent[0]!.lines[1]).toMatchObject({ level: "fatal" });
  });
});

describe("in the browser", () => {
  const page = { id: "1".repeat(32), traceId: "2".repeat(32), route: "/orders/[id]", url: "https://shop.example.com/orders/42" } as Page;

  /** A client that remembers, with the integration of `nextOptions` set up. */
  function client(): { captured: object[]; crumbs: object[]; show: () => void } {
    const captured: object[] = [];
    const crumbs: object[] = [];
    let show: (page: Page) => void = () => {};
    const made: Partial<Client> = {
      now: Date.now,
      capture: (item) => void captured.push(item),
      addBreadcrumb: (crumb) => void crumbs.push(crumb),
      on: (_, listener) => {
        show = listener as never;
        return () => {};
      },
    };
    setClient(made as Client);
    const { integrations } = nextOptions({ dsn: DSN });
    for (const one of integrations as Integration[]) one.setup(getClient()!);
    return { captured, crumbs, show: () => show(page) };
  }

  test("a route change is a span from the click to the page", () => {
    const { captured, crumbs, show } = client();
    onRouterTransitionStart("/orders/42?token=secret", "push");
    vi.advanceTimersByTime(250);
    show();
    show();
    expect(crumbs).toMatchObject([{ category: "navigation.start", message: "/orders/42?token=*" }]);
    expect(captured).toHaveLength(1);
    expect(captured[0]).toMatchObject({ type: "span", op: "navigation", name: "/orders/[id]", trace_id: page.traceId, is_segment: true });
    const { start, end } = captured[0] as { start: number; end: number };
    expect(end - start).toBe(250);
  });

  test("the Pages Router's own pattern names the route, and the page's options stand above it", () => {
    vi.stubGlobal("next", { router: { pathname: "/orders/[id]" } });
    expect(nextOptions({ dsn: DSN }).routeName?.("https://shop.example.com/orders/42")).toBe("/orders/[id]");
    expect(nextOptions({ dsn: DSN, routeName: () => "mine" }).routeName?.("")).toBe("mine");
  });

  test("integrations of the page are kept, given as a list or as a function", () => {
    const mine: Integration = { name: "mine", setup() {} };
    const names = (list: Integration[]): string[] => list.map(({ name }) => name);
    expect(names(nextOptions({ dsn: DSN, integrations: [mine] }).integrations as Integration[])).toEqual(["mine", "next.router"]);
    const choose = nextOptions({ dsn: DSN, integrations: (defaults) => defaults.slice(0, 1) }).integrations as (all: Integration[]) => Integration[];
    expect(names(choose([mine]))).toEqual(["mine"]);
  });
});

import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import * as api from "../src/api";
import { init } from "../src/errors-only";
import { newId } from "../src/ids";
import { startSpan } from "../src/tracing";
import type { Client, Integration } from "../src/types";
import { begin, DSN, finish, page, pass, type Server } from "./world";

let server: Server;

beforeEach(() => {
  server = begin();
});
afterEach(async () => {
  await api.close(0);
  await finish();
});

describe("a session", () => {
  test("goes on over pages until half an hour without any", async () => {
    const first = page();
    const { id } = first.session;
    await pass(29 * 60_000);
    expect(page().session.id).toBe(id);
    await pass(29 * 60_000);
    const third = page();
    expect(third.session.id).toBe(id);
    await pass(31 * 60_000);
    expect(page().session.id).not.toBe(id);
  });

  test("knows how it goes", async () => {
    const client = page();
    expect(client.session).toMatchObject({ status: "ok", errors: 0 });
    client.captureException(new Error("handled"));
    expect(client.session).toMatchObject({ status: "errored", errors: 1 });
    client.captureException(new Error("not"), { handled: false });
    client.captureException(new Error("handled again"));
    expect(client.session).toMatchObject({ status: "crashed", errors: 3 });
    client.captureMessage("no error");
    await pass(1);
    expect(server.sent[0]?.header["session"]).toMatchObject({ id: client.session.id, status: "crashed", errors: 3 });
  });
});

describe("page views", () => {
  test("begin with the page, and with each change of it", async () => {
    const client = page({ routeName: () => "/cart" });
    const seen: string[] = [];
    client.on("leave", ({ id }) => seen.push(`leave ${id}`));
    client.on("pageview", ({ id }) => seen.push(`view ${id}`));
    const first = client.page.id;
    expect(client.page).toMatchObject({ route: "/cart", sequence: 0 });
    client.startPageView("https://shop.example.com/orders/1", "/orders/:id");
    expect(seen).toEqual([`leave ${first}`, `view ${client.page.id}`]);
    expect(client.page).toMatchObject({ sequence: 1, route: "/orders/:id" });
    client.setRoute("/orders/:order");
    client.captureMessage("here");
    await pass(10_000);
    expect(server.events[0]).toMatchObject({ route: "/orders/:order", transaction: "/orders/:order", n: 2 });
    expect(server.sent.map(({ header, items }) => [header.page_view.id === first, items.map(({ type, n }) => [type, n])])).toContainEqual([true, [["page_view", 1]]]);
  });

  test("are not told when the page does not want that", async () => {
    page({ pageViews: false });
    await pass(10_000);
    expect(server.sent).toEqual([]);
  });
});

test("when it has settled, the resources that a server refused are known, without secrets in their addresses", async () => {
  const entry = (name: string, responseStatus: number): object => ({ name, responseStatus });
  vi.spyOn(performance, "getEntriesByType").mockReturnValue([
    entry("https://u:p@shop.example.com/main.js?token=secret#x", 404),
    entry("https://shop.example.com/fine.js", 200),
  ] as never);
  const client = page();
  expect(client.refused).toBeUndefined();
  await pass(1000);
  expect(client.refused?.()).toEqual([{ url: "https://shop.example.com/main.js", status: 404 }]);
});

describe("settings", () => {
  test("are asked for once, kept for the next page, and stand above the page's options", async () => {
    server.settings = { replay: true, sample_rates: { error: 0, replay: 1 }, ignoreErrors: ["x"] };
    const client = page({ sampleRates: { error: 1 } });
    const told = vi.fn();
    client.on("settings", told);
    expect(client.sampleRate("error")).toBe(1);
    await pass(1);
    await pass(1000);
    const expected = { replay: true, sampleRates: { error: 0, replay: 1 }, ignoreErrors: ["x"] };
    expect(told).toHaveBeenCalledExactlyOnceWith(expected);
    expect(client.sampleRate("error")).toBe(0);
    const next = page();
    expect(next.settings).toEqual(expected);
    await pass(2000);
    const asked = (): number => vi.mocked(fetch).mock.calls.filter(([url]) => String(url).includes("app-config")).length;
    expect(asked()).toBe(1);
    expect(page({ dsn: `https://monitor.example.com/v2/${"c".repeat(32)}` }).settings).toEqual({});
    await pass(2000);
    expect(asked()).toBe(2);
  });

  test("are not asked for when the page does not want them", async () => {
    page({ settings: false, pageViews: false });
    await pass(10_000);
    expect(fetch).not.toHaveBeenCalled();
  });
});

describe("integrations", () => {
  const mine = (name: string): Integration => ({ name, setup: vi.fn() });

  test("are added, or chosen by a function; one that fails keeps no other from its place", async () => {
    const [a, b] = [mine("a"), mine("b")];
    const broken: Integration = {
      name: "broken",
      setup() {
        throw new Error("of a plugin");
      },
    };
    page({ integrations: [b] }, [broken, a]);
    expect(a.setup).toHaveBeenCalledOnce();
    expect(b.setup).toHaveBeenCalledOnce();
    const [c, d] = [mine("c"), mine("d")];
    page({ integrations: (defaults) => defaults.filter(({ name }) => name !== "c") }, [c, d]);
    expect(c.setup).not.toHaveBeenCalled();
    expect(d.setup).toHaveBeenCalledOnce();
    await pass(10_000);
    expect(server.outcomes).toEqual([["sdk_error", "error", 1]]);
  });

  test("a guarded function throws nothing into the page, rejects nothing, and says so under debug alone", async () => {
    const debug = vi.spyOn(console, "debug").mockImplementation(() => {});
    const quiet = page();
    expect(quiet.guard(() => JSON.parse("{") as unknown)()).toBeUndefined();
    expect(await quiet.guard(() => Promise.reject(new Error("later")))()).toBeUndefined();
    expect(debug).not.toHaveBeenCalled();
    page({ debug: true }).guard(() => JSON.parse("{") as unknown)();
    expect(debug).toHaveBeenCalled();
  });

  test("breadcrumbs are bounded, and the page may change or drop them", async () => {
    const client = page({ breadcrumbs: { max: 3 }, beforeBreadcrumb: (crumb) => (crumb.message === "secret" ? null : { ...crumb, level: "info" }) });
    for (const message of ["one", "two", "secret", "three", "four"]) client.addBreadcrumb({ message });
    client.captureMessage("x");
    await pass(1);
    expect(server.events[0]?.breadcrumbs?.map(({ message, level }) => [message, level])).toEqual([["two", "info"], ["three", "info"], ["four", "info"]]);
  });
});

describe("the page's functions", () => {
  test("do nothing before init, and never throw", async () => {
    expect(api.captureException(new Error("x"))).toBe("");
    expect(api.captureMessage("x")).toBe("");
    expect(api.captureEvent({})).toBe("");
    for (const call of [() => api.setUser({ id: 1 }), () => api.setTag("a", 1), () => api.setContext("a", {}), () => api.addBreadcrumb({}), () => api.setRoute("/"), api.enable, api.disable]) call();
    const span = api.startSpan({ name: "nobody hears" });
    expect(span.traceparent()).toMatch(/^00-[0-9a-f]{32}-[0-9a-f]{16}-01$/);
    span.end();
    expect(await api.flush()).toBe(true);
    expect(await api.close()).toBe(true);
    expect(fetch).not.toHaveBeenCalled();
  });

  test("are the client's after init, which is made once", async () => {
    const client: Client = init({ dsn: DSN });
    expect(init({ dsn: DSN })).toBe(client);
    api.setUser({ id: 7 });
    api.captureMessage("through the functions", "warning");
    await pass(1);
    expect(server.events[0]).toMatchObject({ message: "through the functions", level: "warning", user: { id: 7 } });
    expect(await api.close(0)).toBeDefined();
    api.captureMessage("closed");
    await pass(10_000);
    expect(server.events).toHaveLength(1);
  });
});

describe("spans", () => {
  test("break nothing where they are begun before consent", () => {
    const client = page({ enabled: false });
    expect(() => startSpan(client, { name: "early" }).end()).not.toThrow();
    expect(client.page).toBeUndefined();
  });

  test("are children of the active one, and events belong to it", async () => {
    const client = page();
    const outer = startSpan(client, { name: "checkout", op: "ui", attributes: { items: 2 } });
    const inner = startSpan(client, { name: "pay" });
    client.captureMessage("within");
    inner.setStatus("error");
    inner.setAttribute("method", "card");
    inner.end();
    inner.end();
    expect(client.activeSpan).toBe(outer);
    outer.end();
    expect(client.activeSpan).toBeUndefined();
    await pass(10_000);
    const spans = server.items.filter((item) => item.type === "span");
    expect(spans).toMatchObject([
      { name: "pay", trace_id: client.page.traceId, parent_span_id: outer.spanId, is_segment: false, status: "error", attributes: { method: "card" } },
      { name: "checkout", op: "ui", span_id: outer.spanId, is_segment: true, attributes: { items: 2 } },
    ]);
    expect(server.events[0]).toMatchObject({ trace_id: client.page.traceId, span_id: inner.spanId });
    expect(inner.traceparent()).toBe(`00-${client.page.traceId}-${inner.spanId}-01`);
  });
});

describe("ids", () => {
  test("are 32 hex digits that differ, with crypto and without", () => {
    const made = new Set(Array.from({ length: 100 }, newId));
    vi.stubGlobal("crypto", undefined);
    for (let index = 0; index < 100; index++) made.add(newId());
    vi.stubGlobal("crypto", {});
    made.add(newId());
    expect(made.size).toBe(201);
    for (const id of made) expect(id).toMatch(/^[0-9a-f]{32}$/);
  });
});

import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { clicks } from "../src/integrations/breadcrumbs";
import { navigation } from "../src/integrations/navigation";
import type { Cleanup, Options } from "../src/types";
import { type Recorder, recorder } from "./recorder";
import { leave, page, Server } from "./world";

let client: Recorder;
let cleanup: Cleanup | void;

function start(options: Partial<Options> = {}): void {
  client = recorder(options);
  cleanup = navigation.setup(client);
}

beforeEach(() => history.replaceState(null, "", "/start"));
afterEach(() => {
  cleanup?.();
  Reflect.deleteProperty(window, "navigation");
});

const url = (path: string): string => location.origin + path;

describe("where there is no Navigation API", () => {
  test("pushState and replaceState to another path begin a page view and leave a breadcrumb", () => {
    start();
    history.pushState({ a: 1 }, "", "/cart?token=1");
    history.replaceState(null, "", "/checkout");
    expect(client.views).toEqual([[url("/cart?token=*"), undefined], [url("/checkout"), undefined]]);
    expect(client.crumbs).toEqual([
      { category: "navigation", message: url("/cart?token=*"), data: { from: url("/start") } },
      { category: "navigation", message: url("/checkout"), data: { from: url("/cart?token=*") } },
    ]);
    expect(location.pathname).toBe("/checkout");
  });

  test("a search, an anchor and the same address again are no page views", () => {
    start();
    history.pushState(null, "", "/start?q=shoes");
    history.pushState(null, "", "/start?q=shoes#reviews");
    history.replaceState({ scroll: 4 }, "", "/start?q=shoes#reviews");
    expect(client.views).toEqual([]);
    expect(client.crumbs).toHaveLength(2);
  });

  test("routes of a hash router are page views, their queries are not", async () => {
    start();
    const changed = new Promise((resolve) => window.addEventListener("hashchange", resolve, { once: true }));
    location.hash = "#/orders/1";
    await changed;
    history.pushState(null, "", "#/orders/1?tab=2");
    history.pushState(null, "", "#!/orders/2");
    expect(client.views).toEqual([[url("/start#/orders/1"), undefined], [url("/start#!/orders/2"), undefined]]);
  });

  test("back and forward are page views", async () => {
    start();
    history.pushState(null, "", "/next");
    const popped = new Promise((resolve) => window.addEventListener("popstate", resolve, { once: true }));
    history.back();
    await popped;
    expect(client.views.map(([where]) => where)).toEqual([url("/next"), url("/start")]);
  });

  test("what other scripts put around history keeps working, before and after the end", () => {
    const seen: string[] = [];
    start();
    const ours = history.pushState;
    history.pushState = (...args) => {
      seen.push(String(args[2]));
      ours.apply(history, args);
    };
    history.pushState(null, "", "/one");
    cleanup?.();
    history.pushState(null, "", "/two");
    expect(seen).toEqual(["/one", "/two"]);
    expect(location.pathname).toBe("/two");
    expect(client.views).toHaveLength(1);
    Reflect.deleteProperty(history, "pushState");
  });

  test("at the end history is the browser's own", () => {
    start();
    cleanup?.();
    expect(Object.hasOwn(history, "pushState")).toBe(false);
    history.pushState(null, "", "/after");
    expect(client.views).toEqual([]);
  });
});

test("where there is a Navigation API, history stays untouched", () => {
  const api = new EventTarget();
  Object.assign(window, { navigation: api });
  start();
  expect(Object.hasOwn(history, "pushState")).toBe(false);
  history.pushState(null, "", "/cart");
  api.dispatchEvent(new Event("currententrychange"));
  expect(client.views).toEqual([[url("/cart"), undefined]]);
});

test("routeName names the page views; what it throws is the SDK's to bear", async () => {
  new Server().install();
  const named = page({ routeName: (address) => new URL(address).pathname.replace(/\d+/, ":id") }, [navigation]);
  history.pushState(null, "", "/users/42");
  expect(named.page).toMatchObject({ url: url("/users/42"), route: "/users/:id" });
  await leave();
  const routeName = (): string => {
    throw new Error("no");
  };
  const unnamed = page({ routeName }, [navigation]);
  history.pushState(null, "", "/users/43");
  expect(location.pathname).toBe("/users/43");
  expect(unnamed.page).toMatchObject({ url: url("/users/43"), route: undefined });
  await leave();
});

test("a page that comes back from the back/forward cache is seen again", () => {
  start();
  window.dispatchEvent(Object.assign(new Event("pageshow"), { persisted: false }));
  window.dispatchEvent(Object.assign(new Event("pageshow"), { persisted: true }));
  expect(client.views).toEqual([[url("/start"), undefined]]);
});

test("page views and breadcrumbs can be switched off, each by itself", () => {
  start({ pageViews: false });
  history.pushState(null, "", "/one");
  expect([client.views.length, client.crumbs.length]).toEqual([0, 1]);
  cleanup?.();
  start({ breadcrumbs: { navigation: false } });
  history.pushState(null, "", "/two");
  expect([client.views.length, client.crumbs.length]).toEqual([1, 0]);
});

describe("clicks", () => {
  test("name the element, never its text", () => {
    client = recorder();
    cleanup = clicks.setup(client);
    document.body.innerHTML = `<form id="pay"><button name="go">Pay 42 € as Ada</button></form>`;
    document.querySelector("button")?.addEventListener("click", (event) => {
      event.stopImmediatePropagation();
      event.preventDefault();
    });
    document.querySelector("button")?.click();
    expect(client.crumbs).toEqual([{ category: "click", message: "form#pay > button[name=go]" }]);
  });

  test("inside an open shadow root name the element inside", () => {
    client = recorder();
    cleanup = clicks.setup(client);
    document.body.innerHTML = `<my-cart id="cart"></my-cart>`;
    const root = document.querySelector("my-cart")?.attachShadow({ mode: "open" });
    if (root) root.innerHTML = `<i class="remove">x</i>`;
    root?.querySelector("i")?.click();
    expect(client.crumbs[0]?.message).toBe("my-cart#cart > i.remove");
  });

  test("can be switched off, and end with the client", () => {
    for (const options of [{ breadcrumbs: false }, { breadcrumbs: { click: false } }]) {
      client = recorder(options);
      expect(clicks.setup(client)).toBeUndefined();
    }
    client = recorder();
    clicks.setup(client)?.();
    document.body.click();
    expect(client.crumbs).toEqual([]);
  });
});

/** The client: what is captured, through the page's wishes, to the transport. Integrations see it through types.ts. */
import { debugIdsOf } from "./debugids";
import { parseDsn } from "./dsn";
import { categoryOf } from "./envelope";
import { errorEvent } from "./exceptions";
import { floodGuard } from "./floodguard";
import { guardWith } from "./guard";
import { newId } from "./ids";
import { all, listen } from "./patch";
import { matches } from "./patterns";
import { openSession, type SessionState } from "./session";
import { fetchSettings, forgetSettings, knownSettings } from "./settings";
import { createTransport, type Transport } from "./transport";
import type {
  Chunks,
  Cleanup,
  Client,
  ClientEvents,
  EventItem,
  Hint,
  Integration,
  Item,
  Options,
  Page,
  SampleRates,
  Scope,
  Settings,
} from "./types";
import { cleanUrl } from "./urls";

const MAX_BREADCRUMBS = 50;
const IDLE_MS = 1000; // after load, before settings and the queue are fetched
const NOT_BY_DEFAULT: (keyof SampleRates)[] = ["replay"];

/** What makes one build another: which integrations it has, and where its chunks are. */
export interface Build {
  integrations(): Integration[];
  load<Name extends keyof Chunks>(chunk: Name): Promise<Chunks[Name]>;
}

type Listeners = { [Name in keyof ClientEvents]?: Set<(...args: ClientEvents[Name]) => void> };
type Changing<T> = { -readonly [Name in keyof T]: T[Name] };

/** A client, enabled unless the options or the user's signals say otherwise. Without a page, as on a server, never. */
export function createClient(options: Options, build: Build): Client {
  const dsn = parseDsn(options.dsn, options.path);
  const listeners: Listeners = {};
  const ids = new WeakMap<object, string>(); // of what was thrown: a boundary and the window may both report it
  const scope: Changing<Scope> = { user: options.user, tags: { ...options.tags }, contexts: {}, breadcrumbs: [] };
  const maxBreadcrumbs = (typeof options.breadcrumbs === "object" && options.breadcrumbs.max) || MAX_BREADCRUMBS;
  let page: Page | undefined;
  let session: SessionState | undefined;
  let settings: Settings = {};
  let transport: Transport | undefined; // while it is enabled
  let mayPass: (event: EventItem) => boolean;
  let stop: Cleanup = () => {};

  const guard = guardWith((error) => {
    client.log("the SDK's own error", error);
    client.drop("sdk_error", "error");
  });

  function emit<Name extends keyof ClientEvents>(name: Name, ...args: ClientEvents[Name]): void {
    listeners[name]?.forEach((listener) => guard(listener)(...args));
  }

  // ── what was captured ──

  function send(item: Item): void {
    item.at ||= client.now();
    item.n = ++client.page.sequence;
    transport?.add(item);
  }

  function number(rate: keyof SampleRates): number {
    // One decision for all of a page view: half of its vitals would be none.
    return rate === "error" ? Math.random() : parseInt(client.page.id.slice(0, 8), 16) / 2 ** 32;
  }

  function isUnwanted({ exceptions = [], message = "" }: EventItem): boolean {
    const texts = [message, ...exceptions.map(({ type, value }) => `${type}: ${value}`)];
    const ignored = [...(options.ignoreErrors || []), ...(settings.ignoreErrors || [])];
    if (texts.some((text) => text && matches(text, ignored))) return true;
    const { stack = "", frames } = exceptions.at(-1) || {};
    const script = /([a-z-]+:\/\/[^\s()]+?):\d+:\d+/.exec(stack)?.[1] || frames?.at(-1)?.file;
    if (!script) return false;
    return matches(script, options.denyUrls) || Boolean(options.allowUrls && !matches(script, options.allowUrls));
  }

  const process = guard((event: EventItem, hint: Hint): void => {
    if (isUnwanted(event)) return client.drop("ignored", "error");
    if (!mayPass(event)) return;
    const { count = 1 } = event;
    if (number("error") >= client.sampleRate("error")) return client.drop("sample_rate", "error", count);
    const passed = options.beforeSend ? guard(options.beforeSend)(event, hint) : event;
    if (!passed) return client.drop("before_send", "error", count);
    if (/error|white/.test(passed.kind)) session?.touch(passed.exceptions?.some(({ handled }) => handled === false) || false);
    emit("event", passed, hint); // before it becomes text: a replay that is kept because of it names itself in it
    send(passed);
  });

  function normal(event: Partial<EventItem>, hint: Hint, id: string): EventItem {
    const { activeSpan, replayId } = client;
    const known: Partial<EventItem> = {
      kind: "error",
      level: hint.level || "error",
      url: cleanUrl(location.href),
      breadcrumbs: [...scope.breadcrumbs],
      trace_id: activeSpan?.traceId || client.page.traceId,
    };
    const { route } = client.page;
    if (route) known.route = known.transaction = route;
    if (hint.transaction) known.transaction = hint.transaction;
    if (activeSpan) known.span_id = activeSpan.spanId;
    if (replayId) known.replay_id = replayId;
    if (hint.fingerprint) known.fingerprint = hint.fingerprint;
    const debugIds = debugIdsOf(event.exceptions);
    if (debugIds) known.debug_ids = debugIds;
    return {
      ...(known as EventItem),
      ...event,
      type: "event",
      id,
      tags: { ...scope.tags, ...hint.tags, ...event.tags },
      contexts: { ...scope.contexts, ...hint.contexts, ...event.contexts },
      extra: { ...hint.extra, ...event.extra },
    };
  }

  // ── pages ──

  function begin(url: string, route = options.routeName?.(location.href)): void {
    const referrer = page ? page.url : cleanUrl(document.referrer);
    page = { id: newId(), started: client.now(), url, route, referrer, title: document.title, sequence: 0, traceId: newId() };
    if (options.pageViews !== false) client.capture({ type: "page_view" });
  }

  const hidden = guard(() => {
    emit("hide");
    transport?.hide();
  });
  const visibility = guard(() => {
    if (document.visibilityState === "hidden") return hidden();
    emit("show");
    transport?.wake();
  });

  const whenIdle = guard(async (): Promise<void> => {
    if (!dsn || !transport) return;
    if (options.offline !== false) void openOffline(dsn.endpoint);
    const found = options.settings !== false && (await fetchSettings(dsn, client.now()));
    if (!found) return;
    settings = found;
    emit("settings", settings);
  });

  const openOffline = guard(async (endpoint: string): Promise<void> => {
    const { openQueue } = await build.load("offline");
    const limits = typeof options.offline === "object" ? options.offline : {};
    transport?.use(openQueue(endpoint, limits, (reason, stored) => transport?.lose(stored, reason)));
  });

  function start(): Cleanup {
    const { integrations: wanted } = options;
    const defaults = build.integrations();
    const integrations = typeof wanted === "function" ? wanted(defaults) : [...defaults, ...(wanted || [])];
    const ends = integrations.map((one) => guard(() => one.setup(client))());
    let timer: ReturnType<typeof setTimeout> | undefined;
    const loaded = (): void => {
      timer = setTimeout(() => void whenIdle(), IDLE_MS);
    };
    if (document.readyState === "complete") loaded();
    return all(
      // On the window and not before others: who captures on these events has done so when they come here.
      listen(window, "visibilitychange", visibility, false),
      listen(window, "pagehide", hidden, false),
      listen(window, "load", loaded),
      listen(window, "online", guard(() => transport?.wake())),
      ...ends.filter((end) => typeof end === "function"),
      () => clearTimeout(timer),
    );
  }

  function end(): void {
    emit("close");
    stop();
    stop = () => {};
  }

  const client: Client = {
    options,
    scope,
    endpoint: dsn?.endpoint || "",
    replayId: undefined,
    activeSpan: undefined,
    get page() {
      if (!page) begin(cleanUrl(location.href));
      return page as Page;
    },
    get session() {
      return (session ||= openSession(dsn?.key || "", client.now)).current;
    },
    get settings() {
      return settings;
    },

    captureException: (error, hint) => client.captureEvent(errorEvent(error, hint), { originalException: error, ...hint }),
    captureMessage: (message, level = "info", hint) => client.captureEvent({ kind: "message", message, level }, hint),
    captureEvent(event, hint = {}) {
      const thrown = hint.originalException as object;
      const known = thrown && typeof thrown === "object" && ids.get(thrown);
      if (known) return known;
      const id = event.id || newId();
      if (!transport) return id;
      if (thrown && typeof thrown === "object") ids.set(thrown, id);
      guard(() => process(normal(event, hint, id), hint))();
      return id;
    },
    capture: guard((item) => {
      if (!transport) return;
      if (item.type === "outcome") return transport.drop(item.reason, item.category, item.quantity, item.numbers);
      const kind = categoryOf(item) as keyof SampleRates;
      // A replay's session was drawn when it began.
      if (kind !== "replay" && number(kind) >= client.sampleRate(kind)) return client.drop("sample_rate", kind as "span");
      send(item);
    }),
    addBreadcrumb: guard((breadcrumb, hint) => {
      const kept = options.beforeBreadcrumb ? options.beforeBreadcrumb(breadcrumb, hint) : breadcrumb;
      if (!kept || !transport) return;
      scope.breadcrumbs.push({ at: client.now(), ...kept });
      if (scope.breadcrumbs.length > maxBreadcrumbs) scope.breadcrumbs.shift();
    }),
    drop: (reason, category, quantity = 1, numbers) => transport?.drop(reason, category, quantity, numbers),

    startPageView(url, route) {
      emit("leave", client.page);
      transport?.seal();
      session?.touch();
      begin(url, route);
      emit("pageview", client.page);
    },
    setRoute: (route) => void (client.page.route = route),
    setUser(user) {
      transport?.seal();
      scope.user = user;
    },
    setTag(name, value) {
      transport?.seal();
      scope.tags = { ...scope.tags, [name]: value };
    },
    setContext(name, context) {
      const { [name]: _, ...others } = scope.contexts;
      scope.contexts = context ? { ...others, [name]: context } : others;
    },

    on(name, listener) {
      const set = (listeners[name] ||= new Set() as never) as Set<typeof listener>;
      set.add(listener);
      return () => set.delete(listener);
    },
    sampleRate: (kind) => settings.sampleRates?.[kind] ?? options.sampleRates?.[kind] ?? (NOT_BY_DEFAULT.includes(kind) ? 0 : 1),
    now: Date.now,
    guard,
    log(...args) {
      if (options.debug) console.debug("condev:", ...args);
    },
    load: (chunk) => build.load(chunk),

    flush: (timeout = 2000) => transport?.flush(timeout) || Promise.resolve(true),
    async close(timeout) {
      end();
      const done = await client.flush(timeout);
      transport = undefined;
      return done;
    },
    enable() {
      if (transport || !dsn || typeof document === "undefined") return;
      settings = knownSettings(dsn);
      session = openSession(dsn.key, client.now);
      transport = createTransport(client, dsn.endpoint);
      mayPass = floodGuard(client);
      page = undefined;
      void client.page;
      stop = start();
    },
    disable() {
      end();
      transport?.discard();
      transport = undefined;
      session?.forget();
      if (dsn) forgetSettings(dsn);
    },
  };

  if (!dsn) client.log(`"${options.dsn}" is no DSN`);
  if (options.enabled !== false && !objects(options)) guard(client.enable)();
  return client;
}

/** The user's signals, where the page wants them heeded. `enable()` is a consent that stands above them. */
function objects({ respectDoNotTrack, respectGlobalPrivacyControl }: Options): boolean {
  if (typeof navigator === "undefined") return false;
  const { doNotTrack, globalPrivacyControl } = navigator as { doNotTrack?: string | null; globalPrivacyControl?: boolean };
  return Boolean((respectDoNotTrack && doNotTrack === "1") || (respectGlobalPrivacyControl && globalPrivacyControl));
}

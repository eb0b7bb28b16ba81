/** The client: what is captured, through the page's wishes, to the transport. Integrations see it through types.ts. */
import { debugIdsOf, scriptOf } from "./debugids";
import { type Dsn, parseDsn } from "./dsn";
import { categoryOf, queueOf } from "./envelope";
import { errorEvent } from "./exceptions";
import { flat } from "./flat";
import { floodGuard } from "./floodguard";
import { guardWith } from "./guard";
import { newId } from "./ids";
import { all, listen } from "./patch";
import { matches } from "./patterns";
import { openSession, type Touch } from "./session";
import { knownSettings } from "./settings";
import { keep } from "./storage";
import { createTransport, type Transport } from "./transport";
import type { Chunks, Cleanup, Client, ClientEvents, Data, EventItem, Hint, Integration, Item, Options, Page, SampleRates, Scope, Session, Settings } from "./types";
import { cleanUrl } from "./urls";

const IDLE_MS = 500; // after load: its first moments belong to the page
const AGAIN_MS = 30_000; // when the chunk of what can wait could not be fetched; twice that the next time …
const LAST_MS = 500_000; // … until it is this long: whatever blocks it will stay

/** What makes one build another: which integrations it has, and where its chunks are. */
export interface Build {
  integrations(options: Options): Integration[];
  load<Name extends keyof Chunks>(chunk: Name): Promise<Chunks[Name]>;
}

type Listeners = { [Name in keyof ClientEvents]?: Set<(...args: ClientEvents[Name]) => void> };
type Changing<T> = { -readonly [Name in keyof T]: T[Name] };

/** A client, enabled unless the options or the user's signals say otherwise. Without a page, as on a server, never. */
export function createClient(options: Options, build: Build): Client {
  let dsn: Dsn | undefined; // read when it is needed: a page's start is dear, and the first expression alone costs it 0.1 ms
  const listeners: Listeners = {};
  const captured = new WeakMap<object, [id: string, way: unknown]>(); // what was thrown → its event, and who reported it first
  const scope: Changing<Scope> = { user: options.user, tags: { ...options.tags }, contexts: {}, breadcrumbs: [] };
  let began: [at: number, address: string] | undefined; // when it was enabled, and where; never, on a server
  let page: Page | undefined; // none before it is asked for
  let session: Session | undefined; // none before `ready`
  let touch: Touch;
  let settings: Settings = {};
  let transport: Transport | undefined; // while it is enabled
  let mayPass: (event: EventItem) => boolean;
  let stop: Cleanup;

  const now = (): number => Date.now();
  const log: Client["log"] = (...args) => options.debug && console.debug("condev:", ...args);
  const drop: Client["drop"] = (...args) => transport?.drop(...args);
  const guard = guardWith((error) => {
    log(error);
    drop("sdk_error", "error");
  });
  const emit = <Name extends keyof ClientEvents>(name: Name, ...args: ClientEvents[Name]): void =>
    listeners[name]?.forEach((listener) => guard(listener)(...args));

  // ── what was captured ──

  const send = (item: Item): void => {
    item.at ||= now();
    item.n = ++client.page.sequence;
    transport?.add(item);
  };

  const isUnwanted = ({ exceptions = [], message = "" }: EventItem): unknown => {
    const script = scriptOf(exceptions.at(-1)?.stack);
    const texts = [message, ...exceptions.map(({ type, value }) => `${type}: ${value}`)];
    return (
      texts.some((text) => matches(text, options.ignoreErrors) || matches(text, settings.ignoreErrors)) ||
      (script && (matches(script, options.denyUrls) || !matches(script, options.allowUrls || [""])))
    );
  };

  const capturedEvent = (given: Partial<EventItem>, hint: Hint, id: string): void => {
    const { activeSpan } = client;
    const { route, traceId } = client.page;
    const event = {
      kind: "error",
      level: hint.level || "error",
      url: cleanUrl(location.href),
      route,
      transaction: hint.transaction || route,
      fingerprint: hint.fingerprint,
      trace_id: activeSpan?.traceId || traceId,
      span_id: activeSpan?.spanId,
      replay_id: client.replayId,
      debug_ids: debugIdsOf(given.exceptions),
      user: scope.user,
      breadcrumbs: [...scope.breadcrumbs],
      ...given,
      type: "event",
      id,
      tags: { ...scope.tags, ...hint.tags, ...given.tags },
      contexts: { ...scope.contexts, ...hint.contexts, ...given.contexts },
      extra: { ...hint.extra, ...given.extra },
    } as EventItem; // what is undefined is not sent
    if (isUnwanted(event)) return drop("ignored", "error");
    if (!mayPass(event)) return;
    const { count } = event;
    if (Math.random() >= client.sampleRate("error")) return drop("sample_rate", "error", count);
    const passed = options.beforeSend ? guard(options.beforeSend)(event, hint) : event;
    if (!passed) return drop("before_send", "error", count);
    if (passed.kind === "error") session = touch(passed.exceptions?.at(-1)?.handled === false);
    emit("event", passed, hint); // before it becomes text: a replay that is kept because of it names itself in it
    send(passed);
  };

  // ── pages ──

  const begin = (url: string, referrer: string, route?: string, started = now(), address = location.href): Page => {
    page = { id: newId(), started, url, route, referrer, title: document.title, sequence: 0, traceId: newId() };
    page.route ??= options.routeName && guard(options.routeName)(address); // which may ask for the page
    return page;
  };

  const viewed = (): void => {
    session = touch();
    if (options.pageViews !== false) client.capture({ type: "page_view" });
  };

  /** What is dear and can wait, as reading storage: done when it is first needed. Gives the transport while the client is enabled. */
  const ready = (): Transport | undefined => {
    if (transport && !session) {
      if (client.endpoint && dsn) {
        settings = knownSettings(dsn.key);
        touch = openSession(dsn.key, now);
        mayPass = floodGuard(client);
        viewed();
      } else {
        log(options.dsn); // which is none
        end();
        transport = undefined;
      }
    }
    return transport;
  };

  const hidden = (): void => {
    ready();
    emit("hide");
    transport?.hide();
  };
  const wake = (): void => transport?.wake();

  let timer: ReturnType<typeof setTimeout>;
  let again: number;
  const later = (ms: number): void => {
    clearTimeout(timer);
    timer = setTimeout(guard(settle), ms);
  };

  /** Begins what can wait: the keeper, the server's settings, measurements, the replay. */
  const settle = async (): Promise<void> => {
    if (!ready()) return;
    later(again);
    wake(); // what failed before there is a keeper
    const idle = (again *= 2) < 2 * LAST_MS && (await build.load("idle").catch(log));
    if (!idle || !transport) return;
    clearTimeout(timer);
    const keeper = idle.begin(client, dsn as Dsn, transport, (found) => emit("settings", (settings = found)));
    transport.wake(keeper);
    client.on("close", keeper.stop);
  };

  const start = (): Cleanup => {
    const defaults = build.integrations(options);
    const { integrations: wanted = [] } = options;
    const ends = (typeof wanted === "function" ? wanted(defaults) : [...defaults, ...wanted]).map((one) => guard(() => one.setup(client))());
    again = AGAIN_MS;
    later(document.readyState === "complete" ? IDLE_MS : again); // a page may load for ever
    return all(
      listen(window, "load", () => later(IDLE_MS)),
      // On the window, not capturing: who captures something on these events has done so before.
      listen(
        window,
        "visibilitychange",
        guard(() => {
          if (document.hidden) return hidden();
          emit("show");
          wake();
        }),
        false,
      ),
      listen(window, "pagehide", guard(hidden), false),
      listen(window, "online", guard(wake)),
      () => clearTimeout(timer),
      ...ends.filter((end) => typeof end === "function"),
    );
  };

  const end = (): void => {
    emit("close");
    stop?.();
  };

  const client: Client = {
    options,
    scope,
    get endpoint() {
      return (dsn ||= parseDsn(options.dsn, options.path))?.endpoint || "";
    },
    get page() {
      return (page || (began && begin(cleanUrl(began[1]), cleanUrl(document.referrer), undefined, ...began))) as Page;
    },
    get session() {
      ready();
      return session as Session;
    },
    get settings() {
      ready();
      return settings;
    },

    captureException: (error, hint) => client.captureEvent(errorEvent(error, hint), { originalException: error, ...hint }),
    captureMessage: (message, level = "info", hint) => client.captureEvent({ kind: "message", message, level }, hint),
    captureEvent(event, hint = {}) {
      const { mechanism } = hint;
      const thrown = Object(hint.originalException) as object; // what is no object gets a new one
      const [known, way] = captured.get(thrown) || [];
      if (!ready()) return "";
      // A boundary and the window may both report it. The window alone hears of each throw once; whether somebody else's
      // second report is of another one, nobody knows: it is counted.
      if (known && (way !== mechanism || mechanism !== "onerror")) {
        if (way === mechanism) drop("duplicate", "error");
        return known;
      }
      const id = event.id || newId();
      captured.set(thrown, [id, mechanism]);
      guard(capturedEvent)(event, hint, id);
      return id;
    },
    capture: guard((item) => {
      const { type } = item;
      if (!ready()) return;
      // One decision for all of a page view: half of its vitals would be none. A replay's session was drawn when it began.
      const rate = /^r/.test(type) ? 1 : client.sampleRate(categoryOf(type) as keyof SampleRates);
      if (Number(`0x${client.page.id.slice(0, 4)}`) / 0x10000 < rate) send(item);
      else drop("sample_rate", categoryOf(type));
    }),
    addBreadcrumb: guard((breadcrumb, hint) => {
      const kept = options.beforeBreadcrumb ? options.beforeBreadcrumb(breadcrumb, hint) : breadcrumb;
      const { max = 50 } = Object(options.breadcrumbs) as { max?: number };
      if (!kept || !transport) return;
      if (scope.breadcrumbs.push({ at: now(), ...flat(kept), ...(kept.data && { data: flat(kept.data) }) }) > max) scope.breadcrumbs.shift();
    }),
    drop,

    startPageView(url, route) {
      if (!ready()) return;
      const before = client.page;
      emit("leave", before);
      transport?.seal();
      begin(url, before.url, route);
      viewed();
      emit("pageview", client.page);
    },
    setRoute(route) {
      if (transport) client.page.route = route;
    },
    setUser: (user) => void (scope.user = user),
    setTag: (name, value) => void (scope.tags = { ...scope.tags, [name]: value }),
    setContext: (name, context) => void (scope.contexts = { ...scope.contexts, [name]: context as Data }),

    on(name, listener) {
      const set = (listeners[name] ||= new Set() as never) as Set<typeof listener>;
      set.add(listener);
      return () => set.delete(listener);
    },
    sampleRate: (kind) => client.settings.sampleRates?.[kind] ?? options.sampleRates?.[kind] ?? (kind === "replay" ? 0 : 1),
    now,
    guard,
    log,
    load: build.load,

    flush: async (timeout = 2000) => ready()?.flush(timeout) ?? true,
    async close(timeout) {
      end();
      const done = await client.flush(timeout);
      transport = undefined;
      return done;
    },
    enable: guard(() => {
      if (transport || !options.dsn || !globalThis.document) return;
      // Loaded in advance, perhaps for nobody: it begins when it is shown.
      if ((document as { prerendering?: boolean }).prerendering) return document.addEventListener("prerenderingchange", client.enable);
      session = page = undefined;
      began = [now(), document.URL]; // not yet `location`, which costs 0.05 ms to be made
      transport = createTransport(client);
      stop = start();
    }),
    disable: guard(() => {
      end();
      transport?.discard();
      transport = undefined;
      if (client.endpoint) for (const what of ["session", "settings"]) keep((dsn as Dsn).key, what);
      indexedDB.deleteDatabase(queueOf(client)); // what earlier pages left, too
    }),
  };

  if (options.enabled !== false && !objects(options)) client.enable();
  return client;
}

/** The user's signals, where the page wants them heeded. `enable()` is a consent that stands above them. */
function objects(options: Options): unknown {
  const global = globalThis as { navigator?: Navigator & { globalPrivacyControl?: boolean } };
  // Not read unless it is asked for: to be made it takes 0.1 ms of a page's start.
  return (options.respectDoNotTrack && global.navigator?.doNotTrack === "1") || (options.respectGlobalPrivacyControl && global.navigator?.globalPrivacyControl);
}

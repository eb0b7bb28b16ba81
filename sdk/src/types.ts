/**
 * What the parts of the SDK agree on: the public options, the client that integrations are given, and the items
 * as they travel (the condev protocol, version 2: docs/protocol.md). No code here.
 */

export type Level = "fatal" | "error" | "warning" | "info" | "debug";
export type Primitive = string | number | boolean | null | undefined;
export type Json = string | number | boolean | null | undefined | Json[] | { [key: string]: Json };
export type Tags = Record<string, Primitive>;
export type Data = Record<string, unknown>;
/** A text is found anywhere in the value; an expression is tested. */
export type Pattern = string | RegExp;
export type Cleanup = () => void;
export type ConsoleMethod = "debug" | "log" | "info" | "warn" | "error";

// ───────────────────────────────────────── items, as on the wire ─────────────────────────────────────────

export type EventKind = "error" | "message" | "custom" | "white_screen" | "resource_error" | "csp" | "feedback";

export interface Frame {
  function?: string;
  file?: string;
  line?: number;
  column?: number;
}

export interface Exception {
  type: string;
  value: string;
  /** The browser's own text; the server parses it. */
  stack?: string;
  /** What caught it: "onerror", "onunhandledrejection", "generic", "react", … */
  mechanism?: string;
  handled?: boolean;
  frames?: Frame[];
}

export interface Breadcrumb {
  at?: number;
  /** "navigation" | "click" | "fetch" | "xhr" | "console" | … */
  type?: string;
  category?: string;
  level?: Level;
  message?: string;
  data?: Data;
}

export interface User {
  id?: string | number;
  email?: string;
  username?: string;
  [key: string]: Primitive;
}

export interface EventItem {
  type: "event";
  n?: number;
  at?: number;
  id?: string;
  kind: EventKind;
  level?: Level;
  message?: string;
  logger?: string;
  transaction?: string;
  url?: string;
  route?: string;
  fingerprint?: string[];
  /** A chain of causes: what was thrown is the last one. */
  exceptions?: Exception[];
  breadcrumbs?: Breadcrumb[];
  tags?: Tags;
  contexts?: Record<string, Data>;
  extra?: Data;
  user?: User;
  request?: { method?: string; url?: string; status?: number };
  debug_ids?: Record<string, string>;
  trace_id?: string;
  span_id?: string;
  replay_id?: string;
  /** Seen this often; all but one were held back by the flood guard. */
  count?: number;
  white_screen?: Data;
}

export interface Measurement {
  type: "measurement";
  n?: number;
  at?: number;
  id?: string;
  metric: string;
  value: number;
  unit?: string;
  rating?: "good" | "needs-improvement" | "poor";
  element?: string;
  /** Of the page that it belongs to, where that is an earlier one of the tab; with `route`. */
  url?: string;
  started?: number;
  route?: string;
  attributes?: Data;
  /** A later value of the same id and metric takes this one's place. */
  replaces?: boolean;
}

export interface PageViewItem {
  type: "page_view";
  n?: number;
  at?: number;
}

export interface SpanItem {
  type: "span";
  n?: number;
  at?: number;
  trace_id: string;
  span_id: string;
  parent_span_id?: string;
  op?: string;
  name: string;
  /** Milliseconds since the epoch, with fractions. */
  start: number;
  end: number;
  status?: string;
  is_segment?: boolean;
  attributes?: Data;
}

export interface ReplaySegment {
  type: "replay_segment";
  n?: number;
  at?: number;
  replay_id: string;
  segment: number;
  replay_type: "session" | "buffer";
  started: number;
  ended: number;
  error_ids?: string[];
  trace_ids?: string[];
  urls?: string[];
  /** rrweb's events, or … */
  events?: unknown[];
  /** … the same array as JSON, gzipped, in base64. */
  data?: string;
}

export interface OutcomeItem {
  type: "outcome";
  n?: number;
  at?: number;
  reason: string;
  category: Category;
  quantity: number;
  /** Sequence numbers that were given out and dropped: these are no gaps. */
  numbers?: number[];
}

export type Item = EventItem | Measurement | PageViewItem | SpanItem | ReplaySegment | OutcomeItem;
export type Category = "error" | "measurement" | "page_view" | "span" | "replay" | "outcome";

/** Why something was not sent. */
export type DropReason =
  | "before_send"
  | "sample_rate"
  | "ignored"
  | "flood"
  | "duplicate"
  | "queue_overflow"
  | "ratelimit_backoff"
  | "network_error"
  | "send_error"
  | "too_large"
  | "too_old"
  | "opt_out"
  | "event_processor"
  | "page_slow"
  | (string & {});

// ───────────────────────────────────────── options ─────────────────────────────────────────

export interface SampleRates {
  /** 0 to 1; of events. */
  error?: number;
  measurement?: number;
  page_view?: number;
  span?: number;
  /** Of sessions, recorded from their start. */
  replay?: number;
  /** Of sessions in which an error happens, recorded from a minute before it. */
  replay_on_error?: number;
}

export interface BreadcrumbOptions {
  /** Kept for the next event; the oldest go. Default 50. */
  max?: number;
  click?: boolean;
  console?: boolean;
  navigation?: boolean;
  requests?: boolean;
}

export interface RequestOptions {
  /** Report responses with these statuses; default 500–599 and network errors. */
  failed?: boolean | ((status: number) => boolean);
  /** Slower than this many milliseconds becomes a measurement; default 3000, 0 = never. */
  slow?: number;
  ignoreUrls?: Pattern[];
}

export interface FloodOptions {
  /** The same error more often than this in a minute is counted, not sent. Default 5. */
  same?: number;
  /** Events in a minute at most. Default 60. */
  perMinute?: number;
}

export interface PerformanceOptions {
  longTasks?: boolean;
  /** Frame sampling while the page is visible; off unless asked for. */
  jank?: boolean;
  /** Resources slower than this many milliseconds; default 2000, 0 = never. */
  slowResource?: number;
  marks?: boolean | Pattern[];
}

export interface WhiteScreenOptions {
  /** Only what is in these, or in a dialog, counts as content. By default all of the page does. */
  roots?: string[];
  /** Loading masks and skeletons: no content yet; reported when they stay. By default what is named like one. */
  loading?: string[];
  /** Elements to look through. */
  ignore?: string[];
  /** Milliseconds after load, a route change, an error before the first look. Default 1000. */
  delay?: number;
  /** Milliseconds between looks (default 2000), and how many more must be white (default 2; four times that of a loading mask). */
  interval?: number;
  retries?: number;
}

export interface ReplayOptions {
  maskText?: boolean;
  maskInputs?: boolean;
  maskSelector?: string;
  unmaskSelector?: string;
  blockSelector?: string;
  ignoreSelector?: string;
  canvas?: boolean;
  fonts?: boolean;
  /** Of one replay. */
  maxBytes?: number;
  maxMinutes?: number;
}

export interface OfflineOptions {
  maxBytes?: number;
  /** Milliseconds. */
  maxAge?: number;
}

export interface Options {
  /** `https://KEY@host/ID`, `https://host/tracking/KEY` or `https://host/v2/KEY`. */
  dsn: string;
  /** False: nothing is read or sent until `enable()`. */
  enabled?: boolean;
  debug?: boolean;
  release?: string;
  dist?: string;
  environment?: string;
  user?: User;
  tags?: Tags;
  /** The endpoint's name, when the server's is renamed. Default "v2". */
  path?: string;
  respectDoNotTrack?: boolean;
  respectGlobalPrivacyControl?: boolean;
  /** Fetch what the server sets for the project. Default true. */
  settings?: boolean;

  beforeSend?: (event: EventItem, hint: Hint) => EventItem | null;
  beforeBreadcrumb?: (breadcrumb: Breadcrumb, hint?: Data) => Breadcrumb | null;
  /** Errors whose "Type: message" matches are not sent. */
  ignoreErrors?: Pattern[];
  /** Only errors of scripts with such addresses. */
  allowUrls?: Pattern[];
  denyUrls?: Pattern[];
  sampleRates?: SampleRates;
  /** A readable name for an address: `/users/42` → `/users/:id`. */
  routeName?: (url: string) => string | undefined;
  /** Beside the page's own origin, where `traceparent` is sent, by address without query. False: nowhere. */
  traceTargets?: Pattern[] | false;

  /** More of them, or a function that is given the default ones and returns those to use. */
  integrations?: Integration[] | ((defaults: Integration[]) => Integration[]);
  errors?: boolean;
  resourceErrors?: boolean;
  csp?: boolean;
  /** Console methods whose calls become events, from `init` on; true = ["error"]. Default none. */
  consoleErrors?: boolean | ConsoleMethod[];
  breadcrumbs?: boolean | BreadcrumbOptions;
  requests?: boolean | RequestOptions;
  flood?: FloodOptions;
  pageViews?: boolean;
  performance?: boolean | PerformanceOptions;
  whiteScreen?: boolean | WhiteScreenOptions;
  replay?: boolean | ReplayOptions;
  offline?: boolean | OfflineOptions;
}

/** What the server sets for the project, over the options. */
export interface Settings {
  replay?: boolean;
  sampleRates?: SampleRates;
  ignoreErrors?: string[];
}

/** What is known about a capture beside the event itself. */
export interface Hint {
  originalException?: unknown;
  mechanism?: string;
  handled?: boolean;
  level?: Level;
  tags?: Tags;
  extra?: Data;
  contexts?: Record<string, Data>;
  fingerprint?: string[];
  transaction?: string;
  element?: Element;
  [key: string]: unknown;
}

// ───────────────────────────────────────── the client, as integrations see it ─────────────────────────────────────────

/** The browser side of a plugin. `setup` is called once, when the client is enabled; what it returns, at its end. */
export interface Integration {
  name: string;
  setup(client: Client): void | Cleanup;
}

/** One page shown in a visit. A client-side route change begins another one. */
export interface Page {
  readonly id: string;
  readonly started: number;
  readonly url: string;
  route: string | undefined;
  readonly referrer: string;
  title: string;
  /** The highest sequence number given out so far. */
  sequence: number;
  readonly traceId: string;
}

export interface Session {
  readonly id: string;
  readonly started: number;
  status: "ok" | "errored" | "crashed";
  errors: number;
}

/** Changed by the client's `set…`: what was captured before keeps what was true then. */
export interface Scope {
  readonly user: User | undefined;
  readonly tags: Tags;
  readonly contexts: Record<string, Data>;
  readonly breadcrumbs: Breadcrumb[];
}

export interface ClientEvents {
  /** An event passed `beforeSend` and will be sent. */
  event: [event: EventItem, hint: Hint];
  /** The page view is about to end by a route change: the last chance to capture for it. */
  leave: [page: Page];
  /** Another page view began. */
  pageview: [page: Page];
  /** The page goes away or into the background: the last chance to capture before the final flush. */
  hide: [];
  show: [];
  settings: [settings: Settings];
  close: [];
}

export interface Client {
  readonly options: Readonly<Options>;
  readonly scope: Scope;
  readonly page: Page;
  readonly session: Session;
  readonly settings: Settings;
  /** The SDK's own addresses start with this; instrumentation leaves requests to it alone. */
  readonly endpoint: string;
  /** Set by the replay chunk while it records; goes into events. */
  replayId?: string | undefined;
  /** Set by the idle chunk; goes into envelopes. */
  timezone?: string | undefined;
  /** Set by the idle chunk: resources that a server refused, perhaps before the SDK was there. */
  refused?: () => Data[];
  /** Set by the idle chunk: what is to hear of console calls that are watched already. */
  logged?: ((method: ConsoleMethod, args: unknown[]) => void) | undefined;
  /** The span that is active; goes into events and `traceparent`. */
  activeSpan?: ActiveSpan | undefined;

  /** Each returns the event's id, also when it was dropped. */
  captureException(error: unknown, hint?: Hint): string;
  captureMessage(message: string, level?: Level, hint?: Hint): string;
  captureEvent(event: Partial<EventItem>, hint?: Hint): string;
  /** Everything but events and drops. */
  capture(item: Exclude<Item, EventItem | OutcomeItem>): void;
  addBreadcrumb(breadcrumb: Breadcrumb, hint?: Data): void;
  /** Count something that will not be sent. */
  drop(reason: DropReason, category: Category, quantity?: number, numbers?: number[]): void;

  /** Begin another page view (route change). */
  startPageView(url: string, route?: string): void;
  /** Name the present one. */
  setRoute(route: string): void;
  setUser(user: User | undefined): void;
  setTag(name: string, value: Primitive): void;
  setContext(name: string, context: Data | undefined): void;

  on<Name extends keyof ClientEvents>(name: Name, listener: (...args: ClientEvents[Name]) => void): Cleanup;
  /** 0 ≤ rate ≤ 1 of this kind, by options and the server's settings. */
  sampleRate(kind: keyof SampleRates): number;
  /** Milliseconds since the epoch. */
  now(): number;
  /** The same function, which never throws into the page: what it throws is counted, and logged under `debug`. */
  guard<A extends unknown[], R>(fn: (...args: A) => R): (...args: A) => R | undefined;
  log(...args: unknown[]): void;
  load<Name extends keyof Chunks>(chunk: Name): Promise<Chunks[Name]>;

  /** Resolves to whether everything was delivered in time. */
  flush(timeout?: number): Promise<boolean>;
  close(timeout?: number): Promise<boolean>;
  /** Consent was given, or taken back. */
  enable(): void;
  disable(): void;
}

export interface ActiveSpan {
  readonly traceId: string;
  readonly spanId: string;
  setAttribute(name: string, value: Primitive): void;
  setStatus(status: string): void;
  /** The value of a W3C `traceparent` header. */
  traceparent(): string;
  end(at?: number): void;
}

export interface SpanOptions {
  name: string;
  op?: string;
  parent?: ActiveSpan;
  attributes?: Data;
  /** Milliseconds since the epoch. */
  start?: number;
}

// ───────────────────────────────────────── chunks, loaded when needed ─────────────────────────────────────────

/** sdk/src/vitals/index.ts */
export interface VitalsChunk {
  startVitals(client: Client): Cleanup;
}

/** sdk/src/replay/index.ts */
export interface ReplayChunk {
  /** "session": send from now on; "buffer": keep the last minute until an error. */
  startReplay(client: Client, mode: "session" | "buffer"): Cleanup;
}

/** An envelope, as it waits. */
export interface Stored {
  /** The envelope's id. */
  readonly id: string;
  /** When it was made; ms. */
  readonly at: number;
  /** Header and items, as JSON lines. */
  readonly body: string;
  /** Sequence numbers by what is inside. */
  readonly numbers: { [Type in Item["type"]]?: number[] };
}

/** sdk/src/idle.ts */
export interface IdleChunk {
  /** Of the other chunks, where they are scripts. */
  integrity: Record<string, string>;
  startReplay(client: Client): Promise<boolean>;
  /** Begins all that can wait; `settle` is told what the server sets. */
  begin(client: Client, dsn: { base: string; key: string; endpoint: string }, sender: Sender, settle: (settings: Settings) => void): Keeper & { stop: Cleanup };
}

/** What the keeper uses of the transport. */
export interface Sender {
  /** True when it is done with: accepted, or refused for good. */
  post(envelope: Stored): Promise<boolean | undefined> | undefined;
  /** In memory, and not delivered yet; those with events first. */
  waiting(): Stored[];
  /** To be sent like any other. */
  push(envelope: Stored): void;
  /** It needs no sending any more. */
  forget(envelope: Stored): void;
  /** Send the next one that is allowed. */
  pump(): void;
}

/** Sees to what could not be sent at once. */
export interface Keeper {
  /** Whether it may be sent now. `last` when the page goes away: whether it may be too large for that. */
  allows(envelope: Stored, last?: boolean): boolean;
  /** The body, gzipped; undefined where that is not worth while, or cannot be done. Never resolves once `clear` was called. */
  zips(body: Blob): Promise<Blob | undefined>;
  /** Told of each answer; true when the envelope is done with. */
  heeds(envelope: Stored, response: Response): Promise<boolean>;
  /** The network or the page is back: nothing is waited for any longer, and earlier pages' are sent. */
  wakes(): void;
  /** Forget everything. */
  clear(): void;
}

export interface Chunks {
  idle: IdleChunk;
  vitals: VitalsChunk;
  replay: ReplayChunk;
}

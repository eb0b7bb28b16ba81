/**
 * For Next.js 15.3 and later. In the browser, `instrumentation-client.ts`: `init(nextOptions({ … }))`, and
 * `onRouterTransitionStart` handed on. On the server, `instrumentation.ts`: `onRequestError = requestErrorReporter({ … })`.
 * Nothing here needs Node: the edge runtime has all of it, too.
 */
import { getClient } from "../current";
import { endpointOf } from "../dsn";
import { errorEvent } from "../exceptions";
import { newId } from "../ids";
import type { Cleanup, Client, Data, Hint, Integration, Options, Tags } from "../types";
import { cleanUrl } from "../urls";

// ───────────────────────────────────────── in the browser ─────────────────────────────────────────

/** The options for `init`: routes by the Pages Router's own names, and route changes as spans. */
export function nextOptions(options: Options): Options {
  const { integrations = [] } = options;
  return {
    routeName: pagesRoute,
    ...options,
    integrations:
      typeof integrations === "function"
        ? (defaults) => integrations([...defaults, nextRouter])
        : [...integrations, nextRouter],
  };
}

/** `/orders/[id]`. The App Router tells the browser no patterns: there `routeName` is the page's to give. */
function pagesRoute(): string | undefined {
  const { next } = window as { next?: { router?: { pathname?: string } } };
  return next?.router?.pathname;
}

interface Transition {
  to: string;
  kind: string;
  start: number;
}

let transition: Transition | undefined;

/** Export it from `instrumentation-client.ts`: Next.js calls it when a route change begins. */
export function onRouterTransitionStart(href: string, kind: string): void {
  const client = getClient();
  if (!client) return;
  transition = { to: cleanUrl(href), kind, start: client.now() };
  client.addBreadcrumb({ category: "navigation.start", message: transition.to, data: { kind } });
}

/** How long it took from the click to the page: a span of the new page view. */
const nextRouter: Integration = {
  name: "next.router",
  setup(client: Client): Cleanup {
    return client.on("pageview", (page) => {
      if (!transition) return;
      const { to, kind, start } = transition;
      transition = undefined;
      client.capture({
        type: "span",
        trace_id: page.traceId,
        span_id: newId().slice(16),
        op: "navigation",
        name: page.route || to.replace(/[?#].*/, ""),
        start,
        end: client.now(),
        is_segment: true,
        attributes: { "navigation.kind": kind },
      });
    });
  },
};

// ───────────────────────────────────────── on the server ─────────────────────────────────────────

export interface ServerOptions {
  /** Without one nothing is reported: a development machine has none. */
  dsn: string | undefined;
  release?: string;
  environment?: string;
  tags?: Tags;
  /** The endpoint's name, when the server's is renamed. Default "v2". */
  path?: string;
  /** Log what could not be sent. */
  debug?: boolean;
  /** Null: not sent. */
  beforeSend?: (event: ServerEvent) => ServerEvent | null;
}

export type ServerEvent = ReturnType<typeof serverEvent>;

/** As Next.js hands them to `onRequestError`. */
export interface RequestInfo {
  path: string;
  method: string;
  headers: Record<string, string | string[] | undefined>;
}

export interface RequestContext {
  routerKind: string;
  routePath: string;
  routeType: string;
  renderSource?: string | undefined;
  revalidateReason?: string | undefined;
}

const SDK = { name: "condev.next", version: __VERSION__ };
const PER_MINUTE = 60; // of one server process; a broken layout fails each request
const TRIES = 3;
const TRY_SECONDS = 5; // a serverless function is kept waiting this long
const MINUTE = 60_000;

/** `export const onRequestError = requestErrorReporter({ dsn })`. It never throws, and no headers or bodies are sent. */
export function requestErrorReporter(
  options: ServerOptions,
): (error: unknown, request: Readonly<RequestInfo>, context: Readonly<RequestContext>) => Promise<void> {
  const endpoint = checked(options);
  let since = 0;
  let sent = 0;
  let held = 0;
  return async (error, request, context) => {
    if (!endpoint) return;
    try {
      if (Date.now() - since >= MINUTE) [since, sent] = [Date.now(), 0];
      if (sent >= PER_MINUTE) {
        held++;
        return;
      }
      sent++;
      const made = serverEvent(error, request, context, options);
      const event = options.beforeSend ? options.beforeSend(made) : made;
      if (!event) return;
      const lines: Data[] = [event];
      if (held) lines.push({ type: "outcome", at: event.at, reason: "flood", category: "error", quantity: held });
      held = 0;
      await post(endpoint, lines, options);
    } catch (problem) {
      if (options.debug) console.warn("condev: a server error was not reported", problem);
    }
  };
}

/** A wrong DSN is said once, when the server starts, and does not keep it from starting. */
function checked({ dsn, path }: ServerOptions): string | undefined {
  try {
    return dsn ? endpointOf(dsn, path) : undefined;
  } catch (problem) {
    console.warn("condev: server errors are not reported:", problem);
    return undefined;
  }
}

function serverEvent(error: unknown, request: RequestInfo, context: RequestContext, { tags }: ServerOptions) {
  const hint: Hint = { mechanism: "next.onRequestError", handled: false };
  const { digest } = (error || {}) as { digest?: unknown };
  return {
    ...errorEvent(error, hint),
    type: "event",
    kind: "error",
    id: newId(),
    at: Date.now(),
    level: "error",
    logger: "next.server",
    transaction: `${request.method} ${context.routePath}`,
    route: context.routePath,
    url: cleanUrl(request.path),
    request: { method: request.method, url: cleanUrl(request.path) },
    // The digest stands in the error that the browser shows: the two reports find each other by it.
    contexts: { next: { ...context, ...(digest !== undefined && { digest: String(digest) }) } },
    tags: { "next.route_type": context.routeType, "next.router": context.routerKind, ...tags },
  };
}

async function post(endpoint: string, items: Data[], { release, environment }: ServerOptions): Promise<void> {
  const id = newId();
  const has = [...new Set(items.map((item) => item["type"]))];
  for (let attempt = 1; ; attempt++) {
    const header = { v: 2, id, sent_at: Date.now(), has, sdk: SDK, release, environment };
    const body = [header, ...items].map((line) => JSON.stringify(line)).join("\n");
    const answer = await send(`${endpoint}?sdk=${SDK.name}/${SDK.version}`, body);
    if (answer instanceof Response && (answer.ok || (answer.status < 500 && answer.status !== 408 && answer.status !== 429))) {
      if (!answer.ok) throw new Error(`${endpoint} answered ${answer.status}: ${await answer.text()}`);
      return;
    }
    if (attempt === TRIES) throw answer instanceof Response ? new Error(`${endpoint} answered ${answer.status}`) : answer;
    await new Promise((resolve) => setTimeout(resolve, 2 ** attempt * 250 * (0.5 + Math.random())));
  }
}

/** The answer, or why there is none. */
async function send(url: string, body: string): Promise<unknown> {
  try {
    return await fetch(url, {
      method: "POST",
      body,
      headers: { "Content-Type": "text/plain;charset=UTF-8" },
      signal: AbortSignal.timeout(TRY_SECONDS * 1000),
    });
  } catch (problem) {
    return problem;
  }
}

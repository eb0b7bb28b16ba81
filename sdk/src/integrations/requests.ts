/**
 * The page's fetch and XMLHttpRequest calls: a breadcrumb each, an event for what failed, a measurement for what was
 * slow, and `traceparent` for those that it may be sent to. Bodies are never looked at; our own requests are left alone.
 */
import { all, patch } from "../patch";
import { matches } from "../patterns";
import type { Cleanup, Client, EventItem, Integration } from "../types";
import { cleanUrl } from "../urls";

const HEADER = "traceparent";

interface Call {
  /** The header's value, where it may be sent. */
  trace: string | undefined;
  /** `problem`: the error, or what is known of it, when there was no answer. */
  end(status: number, problem?: { name?: string; stack?: string }): void;
}
type Begin = (kind: "fetch" | "xhr", method: string, address: string) => Call | undefined;

export const requests: Integration = {
  name: "requests",
  setup(client) {
    const begin = watcher(client);
    return all(patchFetch(client, begin), patchXhr(client, begin));
  },
};

function watcher(client: Client): Begin {
  const { breadcrumbs, requests, traceTargets } = client.options;
  const trail = typeof breadcrumbs === "object" ? breadcrumbs.requests !== false : breadcrumbs !== false;
  const { failed = true, slow = 3000, ignoreUrls } = typeof requests === "object" ? requests : {};
  const isFailure = typeof failed === "function" ? failed : (status: number): boolean => failed && status >= 500;

  return (kind, given, address) => {
    const { href, origin } = new URL(address, document.baseURI);
    if (href.startsWith(client.endpoint) || matches(href, ignoreUrls)) return;
    const method = given.toUpperCase();
    const url = cleanUrl(href);
    const started = performance.now();
    return {
      trace: origin === location.origin || matches(href, traceTargets) ? client.activeSpan?.traceparent() : undefined,
      end: client.guard((status, problem) => {
        const aborted = /^abort/i.test(problem?.name || "");
        const ms = Math.round(performance.now() - started);
        const what = `${method} ${url}`;
        const request = { method, url, status };
        if (problem ? failed && !aborted && navigator.onLine : isFailure(status)) {
          const type = !problem ? "HttpError" : /^timeout/i.test(problem.name || "") ? "TimeoutError" : "NetworkError";
          const value = problem ? `${what} failed` : `${what} answered ${status}`;
          const event: Partial<EventItem> = {
            kind: "error",
            exceptions: [{ type, value, mechanism: kind, handled: true, ...(problem?.stack && { stack: problem.stack }) }],
            request,
          };
          client.captureEvent(event, { originalException: problem, mechanism: kind });
        }
        if (trail) {
          client.addBreadcrumb({
            category: kind,
            level: status >= 400 || (problem && !aborted) ? "warning" : "info",
            message: what,
            data: { status: problem ? (aborted ? "aborted" : "no answer") : status, ms },
          });
        }
        if (slow && ms >= slow && !aborted) {
          client.capture({ type: "measurement", metric: "request_slow", value: ms, unit: "millisecond", attributes: { ...request, kind } });
        }
      }),
    };
  };
}

function patchFetch(client: Client, begin: Begin): Cleanup {
  return patch(
    window,
    "fetch",
    client.guard((args) => {
      const [input, init] = args as Parameters<typeof fetch>;
      const request = input && typeof input === "object" && "url" in input ? input : undefined;
      const call = begin("fetch", init?.method || request?.method || "GET", request ? request.url : String(input));
      if (!call) return;
      if (call.trace) addHeader(args, call.trace, request, init);
      // The promise that the page gets is the one we look at: a rejection that nobody handles stays unhandled.
      return client.guard((result: unknown) =>
        (result as Promise<Response>).then(
          (response) => {
            call.end(response.status);
            return response;
          },
          (error: Error) => {
            call.end(0, error || {});
            throw error;
          },
        ),
      );
    }),
  );
}

/** Adds the header in the form in which the page gave its own; the page's objects stay as they are, but for a Request. */
function addHeader(args: unknown[], trace: string, request?: Request, init?: RequestInit): void {
  const given = init?.headers;
  const present = new Headers(given || request?.headers);
  if (present.has(HEADER) || init instanceof Request) return;
  present.set(HEADER, trace);
  // A second argument would reset the Request's referrer.
  if (request && !given) request.headers.set(HEADER, trace);
  else args[1] = { ...init, headers: given && !(given instanceof Headers) ? (Array.isArray(given) ? [...given, [HEADER, trace]] : { ...given, [HEADER]: trace }) : present };
}

function patchXhr(client: Client, begin: Begin): Cleanup {
  const open = new WeakMap<object, { method: string; address: string; traced?: boolean; call?: Call | undefined }>();
  const ended = client.guard(({ target, type }: Event) => {
    const xhr = target as XMLHttpRequest;
    const state = open.get(xhr);
    const call = state?.call;
    if (!call) return;
    state.call = undefined;
    call.end(xhr.status, type === "load" ? undefined : { name: type });
  });
  const proto = XMLHttpRequest.prototype;
  return all(
    patch(
      proto,
      "open",
      client.guard(([method, address], self) => {
        const xhr = self as XMLHttpRequest;
        // Once for each object, which a page may open again and again.
        if (!open.has(xhr)) for (const name of ["load", "error", "timeout", "abort"]) xhr.addEventListener(name, ended);
        open.set(xhr, { method: String(method), address: String(address) });
      }),
    ),
    patch(
      proto,
      "setRequestHeader",
      client.guard(([name], self) => {
        const state = open.get(self as object);
        if (state && String(name).toLowerCase() === HEADER) state.traced = true;
      }),
    ),
    patch(
      proto,
      "send",
      client.guard((_, self) => {
        const state = open.get(self as object);
        if (!state) return;
        state.call = begin("xhr", state.method, state.address);
        if (state.call?.trace && !state.traced) (self as XMLHttpRequest).setRequestHeader(HEADER, state.call.trace);
      }),
    ),
  );
}

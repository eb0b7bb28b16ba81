/**
 * The page's fetch and XMLHttpRequest calls: a breadcrumb each, an event for what failed, a measurement for what was
 * slow, and `traceparent` for those that it may be sent to. Bodies are never looked at; our own requests are left alone.
 */
import { newId } from "../ids";
import { all, patch, wants } from "../patch";
import { isOwn, matches } from "../patterns";
import type { Cleanup, Client, Exception, Integration, RequestOptions } from "../types";
import { cleanStack, cleanUrl } from "../urls";

const HEADER = "traceparent";

interface Call {
  /** The header's value, where it may be sent. */
  trace: string | false;
  /** `problem`: what there was instead of an answer: the error, or an XMLHttpRequest's event. `stopped`: the page gave up. */
  end(status: number, problem?: unknown, stopped?: boolean): void;
}
type Begin = (kind: "fetch" | "xhr", method: string, address: string) => Call | undefined;

export const requests: Integration = {
  name: "requests",
  setup(client) {
    const begin = watcher(client);
    return all(patchFetch(client, begin), ...patchXhr(client, begin));
  },
};

function watcher(client: Client): Begin {
  const { breadcrumbs, requests, traceTargets } = client.options;
  const { failed = true, slow = 3000, ignoreUrls } = Object(requests) as RequestOptions;

  return (kind, given, address) => {
    const { href, origin, pathname } = new URL(address, document.baseURI);
    if (isOwn(client, href) || matches(href, ignoreUrls)) return;
    const method = given.toUpperCase();
    const url = cleanUrl(href);
    const message = `${method} ${url}`;
    const started = performance.now();
    return {
      // Not by its query, in which anybody may name an address.
      trace: traceTargets !== false && (origin === location.origin || matches(origin + pathname, traceTargets)) && traceparent(client),
      end: client.guard((status, problem, stopped) => {
        const ms = Math.round(performance.now() - started);
        // A page may abort with an error of its own, and after a timeout.
        const why = problem && (/abort|timeout/i.exec(String(problem) + (stopped ? " abort" : ""))?.[0].toLowerCase() || "failed");
        const aborted = why === "abort";
        const request = { method, url, status };
        if (why ? failed && !aborted && navigator.onLine : typeof failed === "function" ? failed(status) : failed && status >= 500) {
          const type = why ? "NetworkError" : "HttpError";
          const thrown = { type, value: `${message} ${why || `answered ${status}`}`, stack: cleanStack((Object(problem) as Error).stack), mechanism: kind, handled: true } as Exception;
          client.captureEvent({ exceptions: [thrown], request }, { originalException: problem, mechanism: kind });
        }
        if (wants(breadcrumbs, "requests")) {
          client.addBreadcrumb({ category: kind, level: (why ? aborted : status < 400) ? "info" : "warning", message, data: { status: why || status, ms } });
        }
        if (slow && ms >= slow && !aborted) {
          client.capture({ type: "measurement", metric: "request_slow", value: ms, unit: "millisecond", attributes: request });
        }
      }),
    };
  };
}

/** Of the active span, else of the page view, of which the server's spans are then the children. */
const traceparent = (client: Client): string => client.activeSpan?.traceparent() || `00-${client.page.traceId}-${newId().slice(16)}-01`;

function patchFetch(client: Client, begin: Begin): Cleanup {
  return patch(client, window, "fetch", (args) => {
    const [input, init] = args as Parameters<typeof fetch>;
    const request = Object(input) as Partial<Request>; // or an address, which has none of its fields
    const call = begin("fetch", init?.method || request.method || "GET", request.url || String(input));
    if (!call) return;
    if (call.trace) addHeader(args, call.trace, request, init);
    // The promise that the page gets is the one we look at: a rejection that nobody handles stays unhandled.
    return (result) =>
      (result as Partial<Promise<Response>> | undefined)?.then?.(
        (response) => {
          call.end(response.status);
          return response;
        },
        (error: unknown) => {
          call.end(0, error || "failed", (init?.signal || request.signal)?.aborted);
          throw error;
        },
      );
  });
}

/** Adds the header in the form in which the page gave its own; the page's objects stay as they are, but for a Request. */
function addHeader(args: unknown[], trace: string, request: Partial<Request>, init?: RequestInit): void {
  const given = init?.headers;
  const present = new Headers(given || request.headers);
  if (present.has(HEADER) || init instanceof Request) return;
  present.set(HEADER, trace);
  // A second argument would reset the Request's referrer.
  if (request.headers && !given) request.headers.set(HEADER, trace);
  else {
    const headers = given instanceof Headers ? present : Array.isArray(given) ? [...given, [HEADER, trace]] : { ...given, [HEADER]: trace };
    args[1] = { ...init, headers };
  }
}

function patchXhr(client: Client, begin: Begin): Cleanup[] {
  interface Opened {
    args: unknown[];
    traced?: boolean;
    call?: Call | undefined;
  }
  const opened = new WeakMap<object, Opened>();
  const proto = XMLHttpRequest.prototype;
  const ended = client.guard(({ target: xhr, type }: Event & { target: XMLHttpRequest }) => {
    const state = opened.get(xhr) as Opened;
    state.call?.end(xhr.status, type !== "load" && type);
    state.call = undefined;
  });
  const watch = (name: "open" | "setRequestHeader" | "send", watcher: (state: Opened | undefined, args: unknown[], xhr: XMLHttpRequest) => void): Cleanup =>
    patch(client, proto, name, (args, xhr) => watcher(opened.get(xhr as object), args, xhr as XMLHttpRequest));
  return [
    watch("open", (state, args, xhr) => {
      // Once for each object, which a page may open again and again.
      if (!state) for (const name of ["load", "error", "timeout", "abort"]) xhr.addEventListener(name, ended as (event: Event) => void);
      opened.set(xhr, { args });
    }),
    watch("setRequestHeader", (state, [name]) => {
      if (state) state.traced ||= String(name).toLowerCase() === HEADER;
    }),
    watch("send", (state, _, xhr) => {
      if (!state) return;
      const call = (state.call = begin("xhr", String(state.args[0]), String(state.args[1])));
      if (call?.trace && !state.traced) xhr.setRequestHeader(HEADER, call.trace);
    }),
  ];
}

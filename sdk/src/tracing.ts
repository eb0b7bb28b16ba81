/** Timed operations, and the W3C header that lets a server's spans join them. */
import { newId } from "./ids";
import type { ActiveSpan, Client, Page, SpanItem, SpanOptions } from "./types";

/** What it takes of a client; without one nobody hears of the span, so that the page's code need not ask. */
type Host = Pick<Client, "activeSpan" | "now" | "capture"> & { page?: Pick<Page, "traceId"> };
const NOBODY: Host = { activeSpan: undefined, now: Date.now, capture() {} };

/** Begins a span, which is active until it ends: events and requests belong to it. */
export function startSpan(client: Host = NOBODY, { name, op, parent = client.activeSpan, attributes, start }: SpanOptions): ActiveSpan {
  const before = client.activeSpan;
  const item = {
    type: "span",
    trace_id: parent?.traceId || client.page?.traceId || newId(),
    span_id: newId().slice(16),
    name,
    start: start ?? client.now(),
    end: 0,
    is_segment: !parent,
    attributes: { ...attributes },
    parent_span_id: parent?.spanId,
    op,
  } as SpanItem; // what is undefined is not sent
  const span: ActiveSpan = {
    traceId: item.trace_id,
    spanId: item.span_id,
    setAttribute: (key, value) => void ((item.attributes ||= {})[key] = value),
    setStatus: (status) => void (item.status = status),
    traceparent: () => `00-${item.trace_id}-${item.span_id}-01`,
    end(at) {
      if (item.end) return;
      item.end = at ?? client.now();
      if (client.activeSpan === span) client.activeSpan = before;
      client.capture(item);
    },
  };
  return (client.activeSpan = span);
}

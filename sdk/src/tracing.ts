/** Timed operations, and the W3C header that lets a server's spans join them. */
import { newId } from "./ids";
import type { ActiveSpan, Client, Data, SpanItem, SpanOptions } from "./types";

/** Begins a span, which is active until it ends: events and requests belong to it. Without a client nobody hears of it. */
export function startSpan(client: Client | undefined, { name, op, parent = client?.activeSpan, attributes, start = Date.now() }: SpanOptions): ActiveSpan {
  const before = client?.activeSpan;
  const item = {
    type: "span",
    trace_id: parent?.traceId || client?.page?.traceId || newId(),
    span_id: newId().slice(16),
    parent_span_id: parent?.spanId,
    name,
    op,
    start,
    is_segment: !parent,
    attributes: { ...attributes },
  } as SpanItem & { attributes: Data }; // what is undefined is not sent
  const span: ActiveSpan = {
    traceId: item.trace_id,
    spanId: item.span_id,
    setAttribute: (key, value) => void (item.attributes[key] = value),
    setStatus: (status) => void (item.status = status),
    traceparent: () => `00-${item.trace_id}-${item.span_id}-01`,
    end(at = Date.now()) {
      if (item.end) return;
      item.end = at;
      if (client?.activeSpan === span) client.activeSpan = before;
      client?.capture(item);
    },
  };
  if (client) client.activeSpan = span;
  return span;
}

// Where the dashboard shows an item, and in a few words what it is.

export function linkOf(item, header, { dashboard, project }) {
  const at = (path) => new URL(path, new URL(dashboard, location.href)).href;
  const inProject = (path) => (project ? at(`/projects/${project}/${path}`) : at("/projects"));
  switch (item.type) {
    case "event":
      return at(`/events/${item.id}`);
    case "measurement":
      return inProject(`performance/metric?metric=${encodeURIComponent(item.metric)}`);
    case "span":
      return inProject(`traces/${item.trace_id}`);
    case "replay_segment":
      return at(`/replays/${item.replay_id}`);
    case "outcome":
      return inProject("outcomes");
    default:
      return inProject(`sessions/${header.session?.id ?? ""}`);
  }
}

export function wordsOf(item) {
  switch (item.type) {
    case "event": {
      const thrown = item.exceptions?.at(-1);
      const text = thrown ? `${thrown.type}: ${thrown.value}` : (item.message ?? item.kind);
      return item.count > 1 ? `${text} (× ${item.count})` : text;
    }
    case "measurement":
      return `${item.metric} ${Number(item.value.toFixed(3))} ${item.unit === "millisecond" ? "ms" : (item.unit ?? "")}`.trim();
    case "span":
      return `${item.op ? `${item.op} · ` : ""}${item.name}, ${Math.round(item.end - item.start)} ms`;
    case "replay_segment":
      return `segment ${item.segment} of replay ${item.replay_id.slice(0, 8)}`;
    case "outcome":
      return `${item.quantity} not sent: ${item.reason}`;
    default:
      return "the page was shown";
  }
}

export function kindOf(item) {
  return item.type === "event" ? (item.kind ?? "event").replaceAll("_", " ") : item.type.replaceAll("_", " ");
}

// What a scenario looks for among the items that were sent.

/** An event whose message, or whose exception, has these words. */
export const event = (words, kind) => (item) =>
  item.type === "event" &&
  (!kind || item.kind === kind) &&
  [item.message, ...(item.exceptions ?? []).map(({ type, value }) => `${type}: ${value}`)].some((text) => text?.includes(words));

export const kind = (name) => (item) => item.type === "event" && item.kind === name;

export const metric = (...names) => (item) => item.type === "measurement" && names.includes(item.metric);

export const type = (name) => (item) => item.type === name;

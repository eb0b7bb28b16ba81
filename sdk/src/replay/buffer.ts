/** The last minute or two of a recording, in memory: whole pictures of the page, each with what happened after it. */

const MINUTE = 60_000; // ms; a picture is taken when the present one is older
const MAX = 4_000_000; // characters
const SOON = 5_000; // ms; who fills the buffer faster than this changes too much to be recorded

export interface Recorded {
  json: string;
  at: number;
}

interface Part {
  events: Recorded[];
  size: number;
  started: number;
}

export interface Buffer {
  /** "picture": another whole picture is due. `whole`: the event begins one. */
  add(json: string, whole: boolean, at: number): "" | "picture" | "too much";
  /** Everything, in order; it is empty afterwards. */
  take(): Recorded[];
  isEmpty(): boolean;
}

export function createBuffer(): Buffer {
  let parts: Part[] = [];
  let asked = false;

  function shed(at: number): void {
    // The oldest part may go when those after it reach back a minute, or when there is no room.
    while (parts[1] && (parts[1].started <= at - MINUTE || parts.reduce((sum, { size }) => sum + size, 0) > MAX)) parts.shift();
  }

  return {
    add(json, whole, at) {
      let part = parts.at(-1);
      if (!part || whole) {
        parts.push((part = { events: [], size: 0, started: at }));
        asked = false;
      }
      part.events.push({ json, at });
      part.size += json.length;
      shed(at);
      const old = at - part.started;
      if (part.size > MAX / 2 && part.events.length > 2 && old < SOON) return "too much";
      if (asked || (old < MINUTE && part.size < MAX / 2)) return "";
      asked = true;
      return "picture";
    },
    take() {
      const all = parts.flatMap(({ events }) => events);
      parts = [];
      return all;
    },
    isEmpty: () => !parts[0],
  };
}

/**
 * How a recorded session goes on in the next page of the same tab. What is needed for it lies in the tab's storage only
 * while no page of the tab is shown: a window that is opened from one gets a copy of the storage, and must not write
 * under the same segment numbers.
 */
import type { Client } from "../types";
import type { Sink } from "./sink";

const NAME = "condev:replay";

export interface Kept {
  id: string;
  /** The next segment's number. */
  next: number;
  started: number;
  /** Characters so far. */
  size: number;
}

type Stored = Kept & { visit: string; endpoint: string };

/** Storage throws where cookies are blocked. */
function area<T>(use: (storage: Storage) => T): T | undefined {
  try {
    return use(sessionStorage);
  } catch {
    return undefined;
  }
}

export function leave({ endpoint }: Client, visit: string, sink: Sink): void {
  const stored: Stored = { ...sink.kept(), visit, endpoint };
  area((storage) => storage.setItem(NAME, JSON.stringify(stored)));
}

/** What an earlier page of this visit left behind; nobody else finds it afterwards. */
export function claim({ endpoint, session }: Client): Kept | undefined {
  return area((storage) => {
    const text = storage.getItem(NAME);
    storage.removeItem(NAME);
    const { visit, endpoint: of, ...kept } = JSON.parse(text || "{}") as Stored;
    return visit === session.id && of === endpoint ? kept : undefined;
  });
}

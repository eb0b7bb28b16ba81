/** A visit: over the tabs and page loads of a site, until half an hour without any. */
import { newId } from "./ids";
import { keep, recall } from "./storage";
import type { Session } from "./types";

const IDLE = 30 * 60_000;
const WRITE_EVERY = 30_000; // storage is shared with the page and slow

interface Kept extends Session {
  /** When it was last used. */
  last: number;
}

export interface SessionState {
  current: Session;
  /** Something happened now: the visit goes on, or another one begins. `unhandled`: an error did, and nobody caught it. */
  touch(unhandled?: boolean): Session;
  forget(): void;
}

export function openSession(key: string, now: () => number): SessionState {
  let kept = recall<Kept>(key, "session");
  let written = 0;
  const state: SessionState = {
    current: undefined as never, // set by touch() below
    touch(unhandled) {
      const at = now();
      // Another tab may have gone on with it, or begun another one.
      if (kept && at - kept.last > WRITE_EVERY) kept = recall<Kept>(key, "session") || kept;
      if (!kept?.id || at - kept.last > IDLE || kept.last > at + IDLE) {
        kept = { id: newId(), started: at, status: "ok", errors: 0, last: at };
        written = 0;
      }
      kept.last = at;
      if (unhandled !== undefined) {
        kept.errors++;
        if (kept.status !== "crashed") kept.status = unhandled ? "crashed" : "errored";
        written = 0;
      }
      if (at - written > WRITE_EVERY) {
        written = at;
        keep(key, "session", kept);
      }
      return (state.current = kept);
    },
    forget: () => keep(key, "session", undefined),
  };
  state.touch();
  return state;
}

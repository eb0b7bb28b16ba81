/** A visit: over the tabs and page loads of a site, until half an hour without any. */
import { newId } from "./ids";
import { keep, recall } from "./storage";
import type { Session } from "./types";

const IDLE = 30 * 60_000;

interface Kept {
  /** When it was last used. */
  last: number;
  session: Session;
}

/** Something happened now: the visit goes on, or another one begins. `unhandled`: an error did, and whether nobody caught it. */
export type Touch = (unhandled?: boolean) => Session;

export function openSession(key: string, now: () => number): Touch {
  let kept: Kept | undefined;
  return (unhandled) => {
    const at = now();
    // Another tab may have gone on with it, or begun another one.
    kept = recall<Kept>(key, "session") || kept;
    // A clock that was set back ends it, too.
    if (!kept || Math.abs(at - kept.last) > IDLE) kept = { last: at, session: { id: newId(), started: at, status: "ok", errors: 0 } };
    const { session } = kept;
    kept.last = at;
    if (unhandled !== undefined) {
      session.errors++;
      session.status = unhandled || session.status === "crashed" ? "crashed" : "errored";
    }
    keep(key, "session", kept);
    return session;
  };
}

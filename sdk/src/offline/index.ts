/**
 * Envelopes that wait for a better time, in IndexedDB: bounded in bytes and age, emptied by one tab at a time. A
 * database is of one DSN, so that nothing is ever sent to another project. Where there is none, nothing is kept.
 */
import type { DropReason, OfflineOptions, OfflineQueue, Stored } from "../types";

const MAX_BYTES = 2_000_000; // characters; some 400 errors
const MAX_AGE = 24 * 3_600_000; // the server takes a later event's time for wrong
const STORE = "envelopes";

export function openQueue(
  dsn: string,
  { maxBytes = MAX_BYTES, maxAge = MAX_AGE }: OfflineOptions,
  dropped: (reason: DropReason, stored: Stored) => void,
): OfflineQueue {
  const name = `condev:${dsn}`;
  // Opened at once: while a page goes away there is no time for it.
  const opening = open(name);
  let database: IDBDatabase | undefined;
  let size = 0; // as far as this tab knows
  let turn: Promise<void> | undefined;
  void opening.then((opened) => (database = opened));

  const change = async <T>(work: (store: IDBObjectStore) => IDBRequest<T> | void, fallback: T): Promise<T> => {
    const at = database || (await opening);
    return at ? transact(at, work, fallback) : fallback;
  };

  /** What is there, the oldest first. What is too old, or too much, is taken out; a transaction sees to it that it is told once. */
  async function look(): Promise<Stored[]> {
    const out: [DropReason, Stored][] = [];
    let kept: Stored[] = [];
    await change<unknown>((store) => {
      const all = store.getAll() as IDBRequest<Stored[]>;
      all.onsuccess = () => {
        const now = Date.now();
        const errorsLast = all.result.sort((a, b) => Number(isError(a)) - Number(isError(b)) || a.at - b.at);
        size = errorsLast.reduce((sum, { body }) => sum + body.length, 0);
        for (const stored of errorsLast) {
          const reason = now - stored.at > maxAge ? "too_old" : size > maxBytes ? "queue_overflow" : "";
          if (!reason) {
            kept.push(stored);
            continue;
          }
          size -= stored.body.length;
          store.delete(stored.id);
          out.push([reason, stored]);
        }
      };
    }, undefined).catch(() => {
      // The transaction was undone, and the next look finds the same.
      out.length = 0;
      kept = [];
    });
    for (const [reason, stored] of out) dropped(reason, stored);
    return kept.sort((a, b) => a.at - b.at);
  }

  async function round(send: (stored: Stored) => Promise<boolean>): Promise<void> {
    for (const stored of await look()) if (!(await send(stored))) return;
  }

  return {
    async put(stored) {
      size += stored.body.length;
      const done = await change<unknown>((store) => store.put(stored), false).then(
        (key) => key !== false,
        () => false,
      );
      if (size > maxBytes) await look();
      return done;
    },
    async delete(id) {
      await change((store) => store.delete(id), undefined).catch(() => {
        // It stays, and is sent once more: the server knows it by its id.
      });
    },
    drain(send) {
      // A tab that waits for its turn goes on where one that was closed stopped.
      const locks = navigator.locks as LockManager | undefined;
      turn ||= (locks ? locks.request(name, () => round(send)) : round(send)).finally(() => (turn = undefined));
      return turn;
    },
    async clear() {
      await change((store) => store.clear(), undefined);
    },
  };
}

const isError = ({ counts }: Stored): boolean => counts[0]?.[0] === "error";

function open(name: string): Promise<IDBDatabase | undefined> {
  return new Promise((resolve) => {
    const none = (): void => resolve(undefined);
    try {
      const request = indexedDB.open(name, 1);
      request.onupgradeneeded = () => request.result.createObjectStore(STORE, { keyPath: "id" });
      request.onerror = none;
      request.onblocked = none;
      request.onsuccess = () => resolve(request.result);
    } catch {
      none(); // there is no IndexedDB, or it is forbidden here
    }
  });
}

/** Resolves when it is on disk. */
function transact<T>(database: IDBDatabase, work: (store: IDBObjectStore) => IDBRequest<T> | void, fallback: T): Promise<T> {
  return new Promise((resolve, reject) => {
    const transaction = database.transaction(STORE, "readwrite");
    const request = work(transaction.objectStore(STORE));
    transaction.oncomplete = () => resolve(request ? request.result : fallback);
    transaction.onabort = transaction.onerror = () => reject(transaction.error);
    // A page that goes away is not there to finish it.
    if (request) transaction.commit?.();
  });
}

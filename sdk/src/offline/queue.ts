/**
 * Envelopes in IndexedDB: bounded in bytes and age, emptied by one tab at a time. A database is of one endpoint, so that
 * nothing is ever sent to another project. Where there is no IndexedDB nothing is kept.
 */
import type { DropReason, OfflineOptions, Stored } from "../types";

const MAX_BYTES = 2_000_000; // characters; some 400 errors
const MAX_AGE = 24 * 3_600_000;
const STORE = "envelopes";

export interface Queue {
  /** False when there is nowhere to put it. */
  put(stored: Stored): Promise<boolean>;
  delete(id: string): Promise<void>;
  /** While this tab tries to send it, no other one takes it out. */
  hold(id: string): void;
  release(id: string): void;
  /** Calls `send` for each stored envelope, oldest first, while no other tab does; a false ends the round. */
  drain(send: (stored: Stored) => Promise<boolean>): Promise<void>;
  clear(): Promise<void>;
}

export function openQueue(endpoint: string, { maxBytes = MAX_BYTES, maxAge = MAX_AGE }: OfflineOptions, dropped: (stored: Stored, reason: DropReason) => void): Queue {
  const name = `condev:${endpoint}`;
  let database: IDBDatabase | undefined;
  // At once: while a page goes away there is no time for it.
  let opening = open(name, () => {
    database?.close();
    opening = Promise.resolve((database = undefined));
  });
  void opening.then((opened) => (database = opened));
  let size = 0; // as far as this tab knows
  let turn: Promise<void> | undefined;
  const locks = navigator.locks as LockManager | undefined;
  const held = new Map<string, () => void>();

  const hold = (id: string): void => {
    if (held.has(id)) return;
    const released = new Promise<void>((release) => held.set(id, release));
    void locks?.request(id, () => released);
  };
  const release = (id: string): void => {
    held.get(id)?.();
    held.delete(id);
  };

  /** Resolves when it is on disk; undefined when there is none. */
  const change = async <T>(work: (store: IDBObjectStore) => IDBRequest<T>): Promise<T | undefined> => {
    const at = database || (await opening);
    if (!at) return undefined;
    return new Promise((resolve, reject) => {
      const transaction = at.transaction(STORE, "readwrite");
      const request = work(transaction.objectStore(STORE));
      transaction.oncomplete = () => resolve(request.result);
      transaction.onabort = () => reject(transaction.error);
      // A page that goes away is not there to finish it. What reads before it writes has handlers.
      if (!request.onsuccess) transaction.commit?.();
    });
  };

  /** What is there, the oldest first. What is too old, or too much, is taken out in the same transaction: one tab tells of it. */
  async function look(): Promise<Stored[]> {
    const out: [Stored, DropReason][] = [];
    const kept: Stored[] = [];
    // What another tab is trying to send may yet arrive: that tab tells of it.
    const live = (await locks?.query?.())?.held?.map((lock) => lock.name);
    await change((store) => {
      const all = store.getAll() as IDBRequest<Stored[]>;
      all.onsuccess = () => {
        size = all.result.reduce((sum, { body }) => sum + body.length, 0);
        for (const stored of all.result.sort((a, b) => worth(a) - worth(b) || a.at - b.at)) {
          const reason = Date.now() - stored.at > maxAge ? "too_old" : size > maxBytes ? "queue_overflow" : "";
          if (!reason || (live?.includes(stored.id) && !held.has(stored.id))) {
            kept.push(stored);
            continue;
          }
          size -= stored.body.length;
          store.delete(stored.id);
          release(stored.id);
          out.push([stored, reason]);
        }
      };
      return all;
    });
    for (const one of out) dropped(...one);
    return kept.sort((a, b) => a.at - b.at);
  }

  const round = async (send: (stored: Stored) => Promise<boolean>): Promise<void> => {
    for (const stored of await look()) if (!(await send(stored))) return;
  };

  return {
    hold,
    release,
    async put(stored) {
      hold(stored.id);
      const key = await change((store) => store.put(stored)).catch(() => undefined); // the disk is full, or the user cleared it
      size += stored.body.length;
      if (size > maxBytes) await look();
      return key !== undefined;
    },
    async delete(id) {
      release(id);
      await change((store) => store.delete(id));
    },
    drain(send) {
      // A tab that waits for its turn goes on where one that was closed stopped.
      turn ||= (locks ? locks.request(name, () => round(send)) : round(send)).finally(() => (turn = undefined));
      return turn;
    },
    async clear() {
      await change((store) => store.clear());
    },
  };
}

/** Errors, and what tells of drops, which is small, stay the longest. */
const worth = ({ numbers }: Stored): number => ("event" in numbers ? 2 : "outcome" in numbers ? 1 : 0);

/** `taken` when another tab wants to delete it, since consent was taken back: it waits until all have closed it. */
function open(name: string, taken: () => void): Promise<IDBDatabase | undefined> {
  return new Promise((resolve) => {
    const none = (): void => resolve(undefined);
    try {
      const request = indexedDB.open(name, 1);
      request.onupgradeneeded = () => request.result.createObjectStore(STORE, { keyPath: "id" });
      request.onerror = request.onblocked = none;
      request.onsuccess = () => {
        request.result.onversionchange = taken;
        resolve(request.result);
      };
    } catch {
      none(); // there is no IndexedDB, or it is forbidden here
    }
  });
}

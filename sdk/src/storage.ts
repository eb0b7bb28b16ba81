/** What is kept between page loads, by project; nothing where the browser or the user keeps nothing. */

/** Reading `localStorage` alone throws where cookies are blocked, writing to it where it is full. */
function area(): Storage | undefined {
  try {
    return globalThis.localStorage;
  } catch {
    return undefined;
  }
}

const nameOf = (key: string, what: string): string => `condev:${key}:${what}`;

export function recall<T>(key: string, what: string): T | undefined {
  try {
    return JSON.parse(area()?.getItem(nameOf(key, what)) || "null") || undefined;
  } catch {
    return undefined;
  }
}

/** Undefined forgets it. */
export function keep(key: string, what: string, value: unknown): void {
  try {
    if (value === undefined) area()?.removeItem(nameOf(key, what));
    else area()?.setItem(nameOf(key, what), JSON.stringify(value));
  } catch {
    // Full or forbidden: the next page begins anew, which is what a browser without storage does.
  }
}

/** What is kept between page loads, by project; nothing where the browser or the user keeps nothing. */

const nameOf = (key: string, what: string): string => `condev:${key}:${what}`;

export function recall<T>(key: string, what: string): T | null | undefined {
  try {
    return JSON.parse(localStorage.getItem(nameOf(key, what)) as string);
  } catch {
    return undefined; // cookies are blocked, which makes the very name throw; or another program wrote there
  }
}

/** Undefined forgets it. */
export function keep(key: string, what: string, value?: unknown): void {
  try {
    if (value) localStorage.setItem(nameOf(key, what), JSON.stringify(value));
    else localStorage.removeItem(nameOf(key, what));
  } catch {
    // Full or forbidden: the next page begins anew, as in a browser without storage.
  }
}

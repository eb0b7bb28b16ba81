/** The one place where the SDK's own errors end: counted, shown under `debug`, never thrown into the page. */

export type Guard = <A extends unknown[], R>(fn: (...args: A) => R) => (...args: A) => R | undefined;

/** `failed` is told of everything that a guarded function throws, or that a promise it returns is rejected with. */
export function guardWith(failed: (error: unknown) => void): Guard {
  return (fn) =>
    (...args) => {
      try {
        const result = fn(...args);
        // What waits for it goes on without a result.
        return result instanceof Promise ? (result.catch(failed) as typeof result) : result;
      } catch (error) {
        return failed(error) as undefined;
      }
    };
}

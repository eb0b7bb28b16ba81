/** A DSN to the addresses it stands for. */

export interface Dsn {
  key: string;
  /** Where the server is: `https://host[/prefix]`. */
  base: string;
  /** Where envelopes go: `https://host[/prefix]/v2/KEY`. */
  endpoint: string;
}

/** `path` is the endpoint's name where the server's is renamed. Undefined when the text is no DSN. */
export function parseDsn(dsn: string, path = "v2"): Dsn | undefined {
  // https://KEY@host[/prefix]/ID, as Sentry has it; or https://host[/prefix]/tracking/KEY and …/v2/KEY, whatever the
  // endpoint is called. Not a constant of the module: before the first expression is made, 0.03 ms of a page's start pass.
  const [, scheme, user, place, host = place, key = user] = /^(https?:\/\/)(?:(\w+)@(.+)\/\d+|([^@]+)\/[\w-]+\/(\w+))\/?$/.exec(dsn) || [];
  const base = `${scheme}${host}`;
  return (key && { base, key, endpoint: `${base}/${path}/${key}` }) as Dsn | undefined;
}

/** As `parseDsn`, for those who send by themselves. Throws a TypeError that says which forms there are. */
export function endpointOf(dsn: string, path?: string): string {
  const found = parseDsn(dsn, path);
  if (!found) throw new TypeError(`"${dsn}" is no DSN: https://KEY@host/ID, https://host/tracking/KEY or https://host/v2/KEY`);
  return found.endpoint;
}

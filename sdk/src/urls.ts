/** Addresses without secrets: no credentials, and of parameters the names only. */

const MAX_URL = 1000;

/** `https://u:p@x.com/a?token=1&page=2#k=v` → `https://x.com/a?token=*&page=*#k=*`; data: addresses without their data. */
export function cleanUrl(url: string): string {
  return url
    .replace(/^(data:[^,;]*)[^]*/i, "$1")
    .replace(/^([\w+.-]*:?\/\/)[^/?#]*@/, "$1")
    .replace(/[?#][^]*/, (tail) =>
      tail.replace(/([?&#;])([^=&#?;]*)(=[^&#?;]*)?/g, (all, before: string, name: string, value?: string) =>
        value ? `${before + name}=*` : before === "#" || !name ? all : `${before}*`,
      ),
    )
    .slice(0, MAX_URL);
}

/** A stack without the queries and fragments of its addresses: a page's own scripts have the page's, `?code=…` and all. */
export const cleanStack = (stack?: string): string | undefined => stack?.replace(/(:\/\/[^\s?#]*)[?#]\S*?(?=(:\d+){0,2}\)*,?(\s|$))/g, "$1");

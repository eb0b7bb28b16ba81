/** Client-side navigation: a breadcrumb for each change of the address, a page view for each change of the page. */
import { all, listen, patch, wants } from "../patch";
import type { Integration } from "../types";
import { cleanUrl } from "../urls";

export const navigation: Integration = {
  name: "navigation",
  setup(client) {
    const { breadcrumbs, pageViews } = client.options;
    let last = document.URL; // `location` costs a page's start 0.05 ms

    const begin = (): void => {
      if (pageViews !== false) client.startPageView(cleanUrl(last));
    };
    const changed = client.guard(() => {
      const before = last;
      last = document.URL;
      if (last === before) return;
      if (wants(breadcrumbs, "navigation")) client.addBreadcrumb({ category: "navigation", message: cleanUrl(last), data: { from: cleanUrl(before) } });
      if (pageOf(last) !== pageOf(before)) begin();
    });

    const { navigation } = window as { navigation?: EventTarget };
    const after = (): typeof changed => changed;
    return all(
      // From the back/forward cache: seen again.
      listen(window, "pageshow", client.guard((event: PageTransitionEvent) => event.persisted && begin())),
      ...(navigation
        ? [listen(navigation, "currententrychange", changed)]
        : [
            listen(window, "popstate", changed), // of a new hash, too
            patch(client, history, "pushState", after),
            patch(client, history, "replaceState", after),
          ]),
    );
  },
};

/** What makes a page of its own: the path, or the route that a hash router keeps in the hash. Searches and anchors do not. */
function pageOf(url: string): string {
  const { pathname, hash } = new URL(url);
  return pathname + (/^#!?\//.test(hash) ? hash.split("?")[0] : "");
}

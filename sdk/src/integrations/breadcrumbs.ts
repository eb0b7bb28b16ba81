/** Clicks as breadcrumbs: which element, never what it says or holds. */
import { listen, wants } from "../patch";
import { selectorOf } from "../selector";
import type { Integration } from "../types";

export const clicks: Integration = {
  name: "breadcrumbs",
  setup(client) {
    if (!wants(client.options.breadcrumbs, "click")) return;
    const onClick = (event: Event): void => {
      client.addBreadcrumb({ category: "click", message: selectorOf(event.composedPath()[0]) });
    };
    return listen(window, "click", client.guard(onClick));
  },
};

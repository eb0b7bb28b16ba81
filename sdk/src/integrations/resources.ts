/** Scripts, styles, pictures and media that did not load. */
import { listen } from "../patch";
import { isOwn } from "../patterns";
import { selectorOf } from "../selector";
import type { Integration } from "../types";
import { cleanUrl } from "../urls";
import { blocked } from "./csp";

interface Loading extends HTMLElement {
  currentSrc?: string;
  src?: string;
  href?: string;
  data?: string;
}

export const resources: Integration = {
  name: "resourceErrors",
  setup(client) {
    const onError = ({ target: element }: { target: Loading }): void => {
      const address = element.currentSrc || element.src || element.href || element.data;
      if (!element.localName || typeof address !== "string" || address === location.href || isOwn(client, address)) return;
      const tag = element.localName;
      const url = cleanUrl(address);
      const message = `Failed to load ${tag}: ${url}`;
      const level = /script|link/.test(tag) ? "error" : "warning";
      // Chrome's currentSrc of a blocked picture is what the page wrote, which may be relative.
      if (![url, cleanUrl(element.src || "")].some((one) => blocked.includes(one.replace(/^data:.*/, "data")))) {
        client.captureEvent(
          { kind: "resource_error", level, message, contexts: { resource: { url, tag, element: selectorOf(element) } } },
          { element },
        );
      }
      client.addBreadcrumb({ category: "resource", level, message });
    };
    return listen(window, "error", client.guard(onError as never));
  },
};

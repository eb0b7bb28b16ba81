/** What the page's Content Security Policy blocked, or would have. */
import { listen } from "../patch";
import { isOwn } from "../patterns";
import type { Integration } from "../types";
import { cleanUrl } from "../urls";

const KEPT = 100;

/** What was not loaded because of it: the element's own error says no more. Of a data: address it says the scheme alone. */
export const blocked: string[] = [];

export const csp: Integration = {
  name: "csp",
  setup(client) {
    const onViolation = (event: SecurityPolicyViolationEvent): void => {
      const { effectiveDirective, disposition, lineNumber, sample } = event;
      const blockedURI = cleanUrl(event.blockedURI);
      const sourceFile = cleanUrl(event.sourceFile || "");
      // A person's own, or ours: not the page's.
      if (/^[\w-]+-extension/.test(sourceFile || blockedURI) || isOwn(client, event.blockedURI)) return;
      // Enforced, not only reported. The element's own error comes soon after.
      if (/^e/.test(disposition) && blocked.push(blockedURI) > KEPT) blocked.shift();
      client.captureEvent({
        kind: "csp",
        level: "warning",
        message: `Blocked by ${effectiveDirective}: ${blockedURI}`,
        contexts: { csp: { blockedURI, effectiveDirective, disposition, sourceFile, lineNumber, sample } },
      });
    };
    return listen(window, "securitypolicyviolation", client.guard(onViolation));
  },
};

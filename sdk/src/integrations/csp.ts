/** What the page's Content Security Policy blocked, or would have. */
import { listen } from "../patch";
import { isOwn } from "../patterns";
import type { Integration } from "../types";
import { cleanUrl } from "../urls";

export const csp: Integration = {
  name: "csp",
  setup(client) {
    const onViolation = (event: SecurityPolicyViolationEvent): void => {
      const { effectiveDirective, disposition, lineNumber, sample } = event;
      const blockedURI = cleanUrl(event.blockedURI);
      const sourceFile = cleanUrl(event.sourceFile || "");
      // A person's own, or ours: not the page's.
      if (/^[\w-]+-extension/.test(sourceFile || blockedURI) || isOwn(client, event.blockedURI)) return;
      client.captureEvent({
        kind: "csp",
        level: "warning",
        message: `Blocked by ${effectiveDirective}: ${blockedURI}`,
        contexts: { csp: { blockedURI, effectiveDirective, disposition, sourceFile, lineNumber, sample } },
      });
    };
    return listen(document, "securitypolicyviolation", client.guard(onViolation));
  },
};

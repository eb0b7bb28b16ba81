/** What the page's Content Security Policy blocked, or would have. */
import { listen } from "../patch";
import type { Integration } from "../types";
import { cleanUrl } from "../urls";

export const csp: Integration = {
  name: "csp",
  setup(client) {
    const onViolation = (event: SecurityPolicyViolationEvent): void => {
      const { effectiveDirective, disposition, lineNumber, columnNumber, sample } = event;
      const blockedURI = cleanUrl(event.blockedURI);
      const sourceFile = cleanUrl(event.sourceFile || "");
      if (/^[\w-]+-extension/.test(sourceFile || blockedURI)) return; // a person's own, not the page's
      client.captureEvent({
        kind: "csp",
        level: "warning",
        message: `Blocked by ${effectiveDirective}: ${blockedURI}`,
        contexts: { csp: { blockedURI, effectiveDirective, disposition, sourceFile, lineNumber, columnNumber, sample } },
      });
    };
    return listen(document, "securitypolicyviolation", client.guard(onViolation));
  },
};

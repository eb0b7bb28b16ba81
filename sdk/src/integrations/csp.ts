/** What the page's Content Security Policy blocked, or would have. */
import { listen } from "../patch";
import type { Integration } from "../types";
import { cleanUrl } from "../urls";

export const csp: Integration = {
  name: "csp",
  setup(client) {
    const onViolation = (event: SecurityPolicyViolationEvent): void => {
      const { blockedURI, effectiveDirective, disposition, sample } = event;
      const source = cleanUrl(event.sourceFile || "");
      if (/^[\w-]+-extension/.test(source || blockedURI)) return; // a person's own, not the page's
      const blocked = cleanUrl(blockedURI);
      client.captureEvent({
        kind: "csp",
        level: disposition === "report" ? "info" : "warning",
        message: `Blocked by ${effectiveDirective}: ${blocked}`,
        contexts: {
          csp: { blocked, directive: effectiveDirective, disposition, source, line: event.lineNumber, column: event.columnNumber, sample },
        },
      });
    };
    return listen(document, "securitypolicyviolation", client.guard(onViolation));
  },
};

/**
 * For React 17 and later: an error boundary, the handlers that React 19's roots take, and two hooks. Events carry
 * React's component stack in `contexts.react.componentStack`. The client is the one that `init` made.
 */
import { Component, createElement, Fragment, useCallback, useEffect, useState } from "react";
import type { ErrorInfo, ReactNode } from "react";
import { getClient } from "../current";
import type { Client, Hint } from "../types";
import { cleanStack } from "../urls";

export interface FallbackProps {
  error: unknown;
  componentStack: string;
  /** Of the report; empty until it was made, and when nothing reports. */
  eventId: string;
  /** Show the children again. */
  reset: () => void;
}

export interface ErrorBoundaryProps {
  children?: ReactNode;
  /** Shown in the place of what failed; nothing if there is none. */
  fallback?: ReactNode | ((props: FallbackProps) => ReactNode);
  /** Added to the event: tags, contexts, level, … */
  hint?: Hint;
  onError?: (error: unknown, componentStack: string, eventId: string) => void;
  onReset?: () => void;
  /** The boundary tries again by itself when one of these is another than it was. */
  resetKeys?: readonly unknown[];
}

interface Caught {
  error: unknown;
  componentStack: string;
  eventId: string;
}

interface State {
  caught: Caught | undefined;
}

/** Reports what its children throw while rendering, and shows the fallback instead of them. */
export class ErrorBoundary extends Component<ErrorBoundaryProps, State> {
  override state: State = { caught: undefined };

  static getDerivedStateFromError(error: unknown): State {
    return { caught: { error, componentStack: "", eventId: "" } };
  }

  override componentDidCatch(error: unknown, info: ErrorInfo): void {
    const componentStack = info.componentStack || "";
    const eventId = report(error, componentStack, { mechanism: "react.boundary", ...this.props.hint });
    this.setState({ caught: { error, componentStack, eventId } });
    this.props.onError?.(error, componentStack, eventId);
  }

  override componentDidUpdate(before: ErrorBoundaryProps, state: State): void {
    // Not in the update that shows the fallback: the key that changed may be what broke the children.
    if (this.state.caught && state.caught && differ(before.resetKeys, this.props.resetKeys)) this.reset();
  }

  reset = (): void => {
    this.props.onReset?.();
    this.setState({ caught: undefined });
  };

  override render(): ReactNode {
    const { children, fallback } = this.props;
    const { caught } = this.state;
    if (!caught) return children;
    return createElement(Fragment, null, typeof fallback === "function" ? fallback({ ...caught, reset: this.reset }) : fallback);
  }
}

function differ(before: readonly unknown[] = [], after: readonly unknown[] = []): boolean {
  return before.length !== after.length || before.some((value, index) => !Object.is(value, after[index]));
}

/** What React hands to a root's handlers. */
export interface RootErrorInfo {
  componentStack?: string | null | undefined;
  errorBoundary?: unknown;
}

export interface RootOptions {
  onUncaughtError: (error: unknown, info: RootErrorInfo) => void;
  onCaughtError: (error: unknown, info: RootErrorInfo) => void;
  onRecoverableError: (error: unknown, info: RootErrorInfo) => void;
}

/**
 * `createRoot(element, reactRootOptions())` and `hydrateRoot(element, app, reactRootOptions())`: reports what no
 * boundary caught, what other boundaries caught, and what React recovered from (hydration). React 18 takes the third.
 */
export function reactRootOptions(hint: Hint = {}): RootOptions {
  return {
    onUncaughtError(error, { componentStack }) {
      report(error, componentStack, { mechanism: "react.uncaught", handled: false, ...hint });
      hand(error);
    },
    onCaughtError(error, { componentStack, errorBoundary }) {
      // Ours reports by itself, with its own hint.
      if (!(errorBoundary instanceof ErrorBoundary)) report(error, componentStack, { mechanism: "react.caught", ...hint });
      console.error(error);
    },
    onRecoverableError(error, { componentStack }) {
      report(error, componentStack, { mechanism: "react.recoverable", level: "warning", ...hint });
      hand(error);
    },
  };
}

/** As React does without a handler: the console and the development overlay hear of it, the SDK knows it already. */
function hand(error: unknown): void {
  // What is no object cannot be told from another of its kind, and would be reported twice.
  if (typeof reportError === "function" && error && typeof error === "object") reportError(error);
  else console.error(error);
}

function report(error: unknown, stack: string | null | undefined, hint: Hint): string {
  const componentStack = cleanStack(stack || undefined); // an inline script's frames have its page's address
  const contexts = { ...hint.contexts, ...(componentStack && { react: { componentStack } }) };
  return getClient()?.captureException(error, { ...hint, contexts }) || "";
}

export interface Condev {
  /** Undefined where `init` was not called, as on a server. */
  client: Client | undefined;
  captureException: (error: unknown, hint?: Hint) => string;
  /** Let the nearest boundary report and show an error of an event handler or a promise, which it does not see itself. */
  showBoundary: (error: unknown) => void;
}

export function useCondev(): Condev {
  const [, update] = useState<null>(null);
  const captureException = useCallback((error: unknown, hint?: Hint) => getClient()?.captureException(error, hint) || "", []);
  const showBoundary = useCallback((error: unknown) => {
    update(() => {
      throw error;
    });
  }, []);
  return { client: getClient(), captureException, showBoundary };
}

/** Names the page view for as long as nobody names it otherwise: `useRoute("/orders/:id")`. */
export function useRoute(route: string | undefined): void {
  useEffect(() => {
    if (route) getClient()?.setRoute(route);
  }, [route]);
}

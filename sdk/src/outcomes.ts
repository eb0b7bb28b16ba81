/** What was not sent, and why: counted here, reported with the next envelope. */
import type { Category, DropReason, OutcomeItem } from "./types";

export interface Outcomes {
  add(reason: DropReason, category: Category, quantity: number, numbers?: number[]): void;
  /** All that was counted since the last time, as items. */
  take(at: number): OutcomeItem[];
}

export function countOutcomes(): Outcomes {
  let counted = new Map<string, OutcomeItem>();
  return {
    add(reason, category, quantity, numbers = []) {
      const name = `${reason} ${category}`;
      const outcome = counted.get(name) || { type: "outcome", at: 0, reason, category, quantity: 0, numbers: [] };
      outcome.quantity += quantity;
      outcome.numbers?.push(...numbers);
      counted.set(name, outcome);
    },
    take(at) {
      const items = [...counted.values()];
      counted = new Map();
      for (const item of items) item.at = at;
      return items;
    },
  };
}

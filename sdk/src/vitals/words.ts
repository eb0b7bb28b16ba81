/** Values and addresses as they travel. */

/** To a tenth, as milliseconds are known; shares of the page (CLS) to a ten-thousandth. */
export const rounded = (value: number, metric?: string): number => Number(value.toFixed(metric === "CLS" ? 4 : 1));

/** An address to group by: without what follows its path, and without a data: address's data. */
export const address = (url: string): string => url.replace(/[?#,].*/s, "").slice(0, 200);

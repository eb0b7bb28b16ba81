/** As much of Node as the tests use; its own types would make the SDK's sources believe that they run there. */
declare module "node:vm" {
  export function runInNewContext(code: string): unknown;
}
declare module "node:http" {
  export interface IncomingMessage {
    method?: string;
    url?: string;
    headers: Record<string, string | undefined>;
    socket: { destroy(): void };
  }
  interface ServerResponse {
    statusCode: number;
    setHeader(name: string, value: string): void;
    end(body: string): void;
  }
  export interface Server {
    listen(port: number, host: string, ready: () => void): void;
    address(): { port: number };
    close(): void;
    closeAllConnections(): void;
  }
  export function createServer(answer: (request: IncomingMessage, response: ServerResponse) => void): Server;
}
declare const process: {
  on(name: string, listener: (reason: unknown) => unknown): void;
  off(name: string, listener: (reason: unknown) => unknown): void;
};
declare module "node:buffer" {
  export const Blob: { new (parts?: unknown[], options?: { type?: string }): Blob; prototype: Blob };
  export type Blob = globalThis.Blob;
}
declare module "node:zlib" {
  export function gzipSync(data: Uint8Array): Uint8Array;
  export function gunzipSync(data: Uint8Array): { toString(): string };
}
declare const Buffer: { from(data: ArrayBuffer): Uint8Array; concat(parts: Uint8Array[]): Uint8Array };
declare function setImmediate(work: (value: unknown) => void): void;

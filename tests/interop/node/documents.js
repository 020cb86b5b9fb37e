// Fetches public documents of an agent under test, which has no public name.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { request } from "node:https";

/** The options of a program that fetches documents; see `authorization_server.js`. */
export const documentOptions = { documents: { type: "string" }, ca: { type: "string" } };

/**
 * What `fetch` would do, with another address and authority for one origin. Each answer is told
 * to `emit`.
 */
export function fetcher({ documents, ca: file }, emit) {
  const [publicOrigin, realOrigin] = documents?.split("=") ?? [];
  const ca = file && readFileSync(file);
  return (address, { headers }) => {
    const url = String(address);
    assert.ok(publicOrigin && url.startsWith(`${publicOrigin}/`), `${url} is nowhere`);
    const target = new URL(url.slice(publicOrigin.length), realOrigin);
    return new Promise((resolve, reject) => {
      const sent = request(target, { ca, headers: Object.fromEntries(headers) }, (answer) => {
        const chunks = [];
        answer.on("data", (chunk) => chunks.push(chunk));
        answer.on("error", reject);
        answer.on("end", () => {
          emit({ event: "fetched", url, status: answer.statusCode });
          const init = { status: answer.statusCode, headers: answer.headers };
          resolve(new Response(Buffer.concat(chunks), init));
        });
      });
      sent.on("error", reject);
      sent.end();
    });
  };
}

/**
 * Work that goes on when its request is answered (`Prefer: respond-async`, RFC 7240): followed to its
 * end, also after the page was loaded anew.
 */

import { PAGE } from "./paths.js";

/**
 * @typedef {{href: string, label: string}} Kept
 * @typedef {(done: number, all: number | null) => void} Progress members that are done, and in all
 */

/** Seconds that the ordinary answer may take. */
export const ASYNC = "respond-async, wait=2";

const STORED = "davserver.jobs";
/** Milliseconds between two looks. */
const PACE = 500;

/** @returns {Kept[]} what was going on when the page was left */
export function keptJobs() {
  try {
    return JSON.parse(localStorage.getItem(STORED) ?? "[]");
  } catch {
    return [];
  }
}

/** @param {Kept[]} jobs */
function keep(jobs) {
  localStorage.setItem(STORED, JSON.stringify(jobs));
}

/**
 * @param {Kept} job
 * @param {{signal?: AbortSignal, onProgress?: Progress}} options `signal` ends the job itself
 * @returns {Promise<Response>} the very answer that the request would have had
 */
export async function followJob(job, { signal, onProgress } = {}) {
  keep([...keptJobs().filter((one) => one.href !== job.href), job]);
  signal?.addEventListener("abort", () => void fetch(job.href, { method: "DELETE", headers: PAGE }));
  for (;;) {
    const told = await look(job.href);
    if (told === null || told.ended) break;
    onProgress?.(told.progress.members, told.progress.members_total);
    await new Promise((resolve) => window.setTimeout(resolve, PACE));
  }
  keep(keptJobs().filter((one) => one.href !== job.href));
  return fetch(`${job.href}/result`, { cache: "no-store", headers: PAGE });
}

/** @param {string} href @returns {Promise<any>} null where there is no such job any more */
async function look(href) {
  try {
    const response = await fetch(href, { cache: "no-store", headers: PAGE });
    return response.ok ? await response.json() : null;
  } catch {
    return { progress: {} }; // the server will be back
  }
}

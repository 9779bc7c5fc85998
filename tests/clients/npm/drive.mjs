// Runs the steps that come on standard input with webdav's client, and prints what they return:
//
//   node drive.mjs FOLDER-WITH-NODE_MODULES URL < steps.js
//
// The steps are the body of an async function of `dav` (a client), `connect` (makes one), `refused`
// (gives the status with which a promise fails), `fs` and `Buffer`.

import fs from "node:fs";
import path from "node:path";
import { pathToFileURL } from "node:url";

const [folder, url] = process.argv.slice(2);
const entry = path.join(folder, "node_modules", "webdav", "dist", "node", "index.js");
const { createClient } = await import(pathToFileURL(entry));

const connect = (options) => createClient(url, options);
const refused = async (promise) => {
    try {
        await promise;
    } catch (error) {
        return error.status;
    }
    return null;
};
const AsyncFunction = (async () => {}).constructor;
const steps = new AsyncFunction("dav", "connect", "refused", "fs", fs.readFileSync(0, "utf8"));
const result = await steps(connect(), connect, refused, fs);
console.log(JSON.stringify(result ?? null));

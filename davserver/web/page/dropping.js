/** Drag and drop: files and folders from outside are uploaded, members of the table are moved. */

/**
 * @typedef {import("./uploads.js").Picked} Picked
 * @typedef {import("./dav.js").Entry} Entry
 */

/** @param {DataTransfer} data @returns {Promise<Picked[]>} files and folders, with what is in them */
export async function picked(data) {
  // The items are gone after the first await.
  const entries = [...data.items].map((item) => item.webkitGetAsEntry()).filter(Boolean);
  if (entries.length === 0) return [...data.files].map((file) => ({ file, path: [file.name] }));
  /** @type {Picked[]} */
  const found = [];
  for (const entry of entries) await collect(entry, [], found);
  return found;
}

/** @param {FileSystemEntry} entry @param {string[]} above @param {Picked[]} found */
async function collect(entry, above, found) {
  const path = [...above, entry.name];
  if (entry.isFile) {
    const file = await new Promise((resolve, reject) => entry.file(resolve, reject));
    found.push({ file, path });
    return;
  }
  found.push({ file: null, path });
  const reader = entry.createReader();
  for (;;) {
    // A reader gives a hundred at a time, and none when there are no more.
    const batch = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (batch.length === 0) return;
    for (const one of batch) await collect(one, path, found);
  }
}

/** @param {FileList} files of an input, of a folder or not @returns {Picked[]} */
export function chosen(files) {
  return [...files].map((file) => ({ file, path: (file.webkitRelativePath || file.name).split("/") }));
}

/** Of a drag that goes on the page hears more often. */
const QUIET_MS = 1000;

/**
 * @typedef {object} Zone
 * @property {() => Entry[]} dragged what is taken along from the table
 * @property {(event: DragEvent) => {href: string, node: Element} | null} target the folder that is
 *   pointed at, with the element that shows it; null: nothing can be dropped there
 * @property {() => void} refuse tells why
 * @property {(data: DataTransfer, href: string) => void} upload
 * @property {(method: "COPY" | "MOVE", entries: Entry[], href: string) => void} transfer
 */

/** @param {Zone} zone */
export function enableDropping(zone) {
  /** @type {Entry[]} */
  let own = [];
  /** @type {Element | null} */
  let lit = null;
  let refused = -QUIET_MS;
  const light = (node) => {
    if (node === lit) return;
    lit?.classList.remove("drop");
    node?.classList.add("drop");
    lit = node;
  };
  // While it is dragged, but once: of what is refused no browser tells that it was let fall.
  const refuse = () => {
    const now = performance.now();
    if (now - refused >= QUIET_MS) zone.refuse();
    refused = now;
  };
  document.addEventListener("dragstart", (event) => {
    own = zone.dragged();
    if (own.length === 0 || !event.dataTransfer) return;
    event.dataTransfer.effectAllowed = "copyMove";
    event.dataTransfer.setData("text/uri-list", own.map((one) => location.origin + one.href).join("\r\n"));
  });
  document.addEventListener("dragend", () => {
    own = [];
    light(null);
  });
  document.addEventListener("dragover", (event) => {
    const data = event.dataTransfer;
    const target = zone.target(event);
    const isKnown = own.length > 0 || data?.types.includes("Files");
    if (!data || !isKnown) return;
    // What is not taken is not opened either: the browser would leave the page for it.
    event.preventDefault();
    if (!target) refuse();
    const isSelf = target && own.some((one) => one.href === target.href);
    data.dropEffect = !target || isSelf ? "none" : own.length > 0 && !event.ctrlKey ? "move" : "copy";
    light(data.dropEffect === "none" ? null : target?.node ?? null);
  });
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) light(null);
  });
  document.addEventListener("drop", (event) => {
    const data = event.dataTransfer;
    const target = zone.target(event);
    light(null);
    if (!data || (own.length === 0 && !data.types.includes("Files"))) return;
    event.preventDefault();
    if (!target) return void refuse();
    if (own.length > 0) zone.transfer(event.ctrlKey ? "COPY" : "MOVE", own, target.href);
    else zone.upload(data, target.href);
  });
}

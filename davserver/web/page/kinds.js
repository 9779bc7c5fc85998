/** What a file is, by its name: how it is shown, and which icon stands for it. */

const EXTENSIONS = {
  image: "png jpg jpeg gif webp avif bmp ico svg",
  audio: "mp3 m4a ogg oga opus flac wav aac",
  video: "mp4 m4v webm ogv mov mkv",
  pdf: "pdf",
  markdown: "md markdown",
  text:
    "txt text log conf cfg ini diff patch rst adoc nfo srt toml asc csv tsv html htm css js mjs ts " +
    "json xml yaml yml py rs go c h cc cpp hpp java sh bash zsh sql tex bib ics vcf vtt env list me",
  archive: "zip gz tgz bz2 xz 7z tar rar zst jar",
};

/** @typedef {keyof typeof EXTENSIONS | "file" | "folder"} Kind */

/** @type {Map<string, Kind>} */
const KINDS = new Map(
  Object.entries(EXTENSIONS).flatMap(([kind, all]) =>
    all.split(/\s+/).map((one) => [one, kind]),
  ),
);

/** Names without an extension that are text all the same. */
const TEXT_NAMES = /^(readme|license|copying|makefile|dockerfile|changelog|authors|todo)$/i;

/** @param {{name: string, isFolder: boolean}} entry @returns {Kind} */
export function kindOf(entry) {
  if (entry.isFolder) return "folder";
  const dot = entry.name.lastIndexOf(".");
  const found = dot > 0 ? KINDS.get(entry.name.slice(dot + 1).toLowerCase()) : undefined;
  return found ?? (TEXT_NAMES.test(entry.name) ? "text" : "file");
}

/** @param {Kind} kind @returns {string} the name of its icon */
export function iconOf(kind) {
  return kind === "markdown" ? "text" : kind;
}

// Pictures, sounds and films, found in an output and shown.

import { h } from "./dom.js";
import { local } from "./service.js";

const EXTENSIONS = {
  image: /\.(png|jpe?g|webp|gif|avif|svg)$/i,
  video: /\.(mp4|webm|mov|m4v)$/i,
  audio: /\.(wav|mp3|ogg|flac|m4a|aac|opus)$/i,
};

/** Every file in an output: `{ url, type, name }`, with the path of the field as its name. */
export function filesIn(value, path = [], found = []) {
  if (typeof value === "string") {
    if (/^(https?:\/\/|data:(image|audio|video)\/)/.test(value) && mediumOf(value, "")) found.push({ url: value, type: "", name: path.join(".") });
  } else if (value !== null && typeof value === "object") {
    const { url, content_type: type } = value;
    const isFile = typeof url === "string" && /^(https?|data):/.test(url);
    if (isFile) found.push({ url, type: typeof type === "string" ? type : "", name: path.join(".") });
    for (const [key, member] of Object.entries(value)) if (!(isFile && key === "url")) filesIn(member, [...path, key], found);
  }
  return found;
}

/** `image`, `video` or `audio`; null for anything else. */
function mediumOf(url, type) {
  const said = type || (url.startsWith("data:") ? url.slice(5) : "");
  const [medium] = said.split("/");
  if (medium in EXTENSIONS) return medium;
  const [path] = url.split(/[?#]/);
  return Object.keys(EXTENSIONS).find((name) => !url.startsWith("data:") && EXTENSIONS[name].test(path)) ?? null;
}

/** What shows a file: a picture, a player, or null for what a browser cannot show. */
export async function player({ url, type, name }) {
  const src = await local(url);
  const medium = mediumOf(url, type);
  if (medium === "image") return h("img", { src, alt: name, loading: "lazy" });
  if (medium === "video") return h("video", { src, controls: true, loop: true, muted: true, preload: "metadata", "aria-label": name });
  if (medium === "audio") return h("audio", { src, controls: true, preload: "metadata", "aria-label": name });
  return null;
}

/** A file with a link to it. */
export async function figure(file) {
  const href = await local(file.url);
  const shown = file.url.startsWith("data:") ? file.name : h("a", { href, target: "_blank", rel: "noopener" }, file.name || "file");
  return h("figure", {}, await player(file), h("figcaption", {}, shown, file.type ? ` · ${file.type}` : ""));
}

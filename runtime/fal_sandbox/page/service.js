// Talking to the sandbox: what the page reads about it, and calls as any client makes them.

let index;

async function read(path) {
  const response = await fetch(path);
  if (!response.ok) throw new Error((await response.json().catch(() => ({}))).detail ?? `HTTP ${response.status}`);
  return response.json();
}

/** The list of all endpoints, and what is needed to call them; read once. */
export function readIndex() {
  index ??= read("/sandbox/page/index.json").catch((error) => {
    index = undefined; // so that it is asked for again
    throw error;
  });
  return index;
}

/** What somebody should know who makes calls now; null if there is nothing. */
export function warning(cassette) {
  if (cassette === "recorded") return "A cassette is being recorded: calls go to the live platform, and cost what they cost.";
  if (cassette === "replayed") return "A cassette is being replayed: it answers what was recorded, and refuses all else.";
  return null;
}

/** All that is known of one endpoint. */
export function readEndpoint(id) {
  return read(`/sandbox/page/endpoints/${encodePath(id)}`);
}

/** The last jobs and requests. */
export function readActivity() {
  return read("/sandbox/page/activity.json");
}

/** A path or an id with every segment made safe for a URL. */
export function encodePath(path) {
  return path.split("/").map(encodeURIComponent).join("/");
}

async function keyed(path, options = {}) {
  const { key } = await readIndex();
  return fetch(path, { ...options, headers: { authorization: `Key ${key}`, ...options.headers } });
}

/** The URL of a file of the sandbox's as this page may load it, whatever name or port the page was opened at. */
export async function local(url) {
  const { cdn, url: here } = await readIndex();
  if (url.startsWith(`${cdn}/`)) return `/cdn${url.slice(cdn.length)}`;
  return url.startsWith(`${here}/`) ? url.slice(here.length) : url;
}

/** Put a file into the sandbox's storage; its URL. */
export async function upload(file) {
  const type = file.type || "application/octet-stream";
  const begun = await keyed("/rest/storage/upload/initiate?storage_type=fal-cdn-v3", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ file_name: file.name, content_type: type }),
  });
  if (!begun.ok) throw new Error(`the upload was refused with ${begun.status}`);
  const { upload_url: target, file_url: url } = await begun.json();
  const put = await fetch(await local(target), { method: "PUT", headers: { "content-type": type }, body: file });
  if (!put.ok) throw new Error(`the upload failed with ${put.status}`);
  return url;
}

/** One call of an endpoint through the queue. */
export class Call {
  constructor(endpointId) {
    this.endpointId = endpointId;
    this.requestId = null;
    this.stop = new AbortController();
  }

  /** Submit the input, follow the job, and give its answer: `{ status, body }`. Tells `onStatus` of each change. */
  async run(input, onStatus) {
    const { signal } = this.stop;
    const accepted = await keyed(`/queue/${encodePath(this.endpointId)}`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(input),
      signal,
    });
    const told = await accepted.json();
    if (!accepted.ok) return { status: accepted.status, body: told };
    this.requestId = told.request_id;
    const { pathname } = new URL(told.response_url);
    this.path = pathname.startsWith("/queue/") ? pathname : `/queue${pathname}`;
    onStatus(told);
    await this.#follow(onStatus);
    const answer = await keyed(this.path, { signal });
    return { status: answer.status, body: await answer.json() };
  }

  /** Ask for the job's end. */
  async cancel() {
    if (this.path) await keyed(`${this.path}/cancel`, { method: "PUT" });
  }

  /** Follow no longer; the job goes on. */
  leave() {
    this.stop.abort();
  }

  async #follow(onStatus) {
    const { signal } = this.stop;
    const stream = await keyed(`${this.path}/status/stream?logs=1`, { signal });
    if (stream.ok) {
      let completed = false;
      for await (const status of events(stream)) {
        onStatus(status);
        completed = status.status === "COMPLETED";
      }
      if (completed) return;
    }
    // A stream that was refused or cut off: ask now and then.
    for (;;) {
      const status = await (await keyed(`${this.path}/status?logs=0`, { signal })).json();
      onStatus(status);
      if (status.status === "COMPLETED" || status.status === "NOT_FOUND") return;
      await new Promise((resolve) => setTimeout(resolve, 500));
    }
  }
}

/** The JSON values of an event stream. */
async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let buffered = "";
  for (;;) {
    const { value, done } = await reader.read().catch((error) => {
      if (error.name === "AbortError") throw error;
      return { done: true };
    });
    if (done) return;
    const parts = (buffered + value).split("\n\n");
    buffered = parts.pop();
    for (const part of parts) {
      const lines = part.split("\n").filter((line) => line.startsWith("data:"));
      if (lines.length) yield JSON.parse(lines.map((line) => line.slice(5)).join("\n"));
    }
  }
}

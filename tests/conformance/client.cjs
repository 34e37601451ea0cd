// Drives @fal-ai/client through everything it can do, against the addresses in the environment.
// It prints one JSON object: what each scenario came to. Nothing of the client is changed but where its requests go.
"use strict";

const fs = require("node:fs");
const path = require("node:path");
const { createRequire } = require("node:module");

const load = createRequire(path.join(process.env.CONFORMANCE_MODULES, "package.json"));
const { createFalClient, ApiError, ValidationError } = load("@fal-ai/client");

const ADDRESSES = [
  ["https://queue.fal.run", process.env.FAL_QUEUE_URL],
  ["https://fal.run", process.env.FAL_RUN_URL],
  ["https://rest.fal.ai", process.env.FAL_REST_URL],
  ["wss://fal.run", process.env.FAL_REALTIME_URL],
];
const EASEL = "acme/easel/fast";
const INPUT = { prompt: "a cat", seed: 7 };

function here(url) {
  for (const [there, address] of ADDRESSES) {
    if (url.startsWith(there)) return address + url.slice(there.length);
  }
  return url;
}

const Socket = globalThis.WebSocket;
globalThis.WebSocket = class extends Socket {
  constructor(url) {
    super(here(String(url)));
  }
};

const fal = createFalClient({
  credentials: process.env.FAL_KEY,
  fetch: (url, options) => fetch(here(String(url)), options),
});

async function failure(promise) {
  try {
    await promise;
  } catch (error) {
    const kind = error instanceof ValidationError ? "ValidationError" : error instanceof ApiError ? "ApiError" : "Error";
    return { kind, status: error.status, body: error.body, requestId: error.requestId, timeoutType: error.timeoutType };
  }
  return null;
}

const scenarios = {
  async run() {
    return await fal.run(EASEL, { input: INPUT });
  },
  async run_invalid() {
    return await failure(fal.run(EASEL, { input: { prompt: 3 } }));
  },
  async queue() {
    const submitted = await fal.queue.submit(EASEL, { input: INPUT, priority: "low", hint: "here" });
    const states = [];
    let status;
    do {
      status = await fal.queue.status(EASEL, { requestId: submitted.request_id, logs: true });
      states.push(status.status);
      await new Promise((done) => setTimeout(done, 20));
    } while (status.status !== "COMPLETED");
    const result = await fal.queue.result(EASEL, { requestId: submitted.request_id });
    const late = await failure(fal.queue.cancel(EASEL, { requestId: submitted.request_id }));
    return { submitted, states, status, result, late };
  },
  async cancel() {
    const submitted = await fal.queue.submit("acme/slow", { input: {} });
    await fal.queue.cancel("acme/slow", { requestId: submitted.request_id });
    return await failure(fal.queue.result("acme/slow", { requestId: submitted.request_id }));
  },
  async stream_status() {
    const submitted = await fal.queue.submit(EASEL, { input: INPUT });
    const stream = await fal.queue.streamStatus(EASEL, { requestId: submitted.request_id, logs: true });
    const events = [];
    for await (const event of stream) events.push(event);
    return { events, last: await stream.done() };
  },
  async subscribe_polling() {
    const updates = [];
    let enqueued;
    const result = await fal.subscribe(EASEL, {
      input: INPUT,
      logs: true,
      pollInterval: 30,
      onEnqueue: (id) => (enqueued = id),
      onQueueUpdate: (update) => updates.push(update),
    });
    return { result, enqueued, updates };
  },
  async subscribe_streaming() {
    const updates = [];
    const result = await fal.subscribe(EASEL, {
      input: INPUT,
      mode: "streaming",
      logs: true,
      onQueueUpdate: (update) => updates.push(update),
    });
    return { result, updates };
  },
  async subscribe_invalid() {
    return await failure(fal.subscribe(EASEL, { input: { prompt: 3 } }));
  },
  async start_timeout() {
    const submitted = await fal.queue.submit("acme/slow", { input: {}, startTimeout: 1.1 });
    await new Promise((done) => setTimeout(done, 1200));
    return await failure(fal.queue.result("acme/slow", { requestId: submitted.request_id }));
  },
  async unknown() {
    return await failure(fal.queue.submit("acme/nothing", { input: {} }));
  },
  async workflow() {
    return await fal.subscribe("workflows/acme/story", { input: {}, pollInterval: 20 });
  },
  async stream() {
    const stream = await fal.stream(EASEL, { input: INPUT });
    const events = [];
    for await (const event of stream) events.push(event);
    return { events, done: await stream.done() };
  },
  async stream_with_token() {
    const stream = await fal.stream(EASEL, {
      input: INPUT,
      connectionMode: "client",
      tokenProvider: async (app) => {
        const response = await fetch(here("https://rest.fal.ai/tokens/"), {
          method: "POST",
          headers: { authorization: `Key ${process.env.FAL_KEY}`, "content-type": "application/json" },
          body: JSON.stringify({ allowed_apps: [app], token_expiration: 60 }),
        });
        return await response.json();
      },
    });
    return await stream.done();
  },
  async stream_binary() {
    const stream = await fal.stream("acme/radio/stream", { input: {}, accept: "audio/mpeg" });
    let bytes = 0;
    for await (const chunk of stream) bytes += chunk.length;
    return { bytes };
  },
  async stream_refused() {
    const stream = await fal.stream("acme/easel/mute", { input: INPUT });
    return await failure(stream.done());
  },
  async realtime() {
    const results = [];
    const errors = [];
    await new Promise((done) => {
      const connection = fal.realtime.connect(EASEL, {
        throttleInterval: 0,
        maxBuffering: 4,
        onResult: (result) => {
          results.push(result);
          if (results.length === 3) {
            connection.close();
            setTimeout(done, 50);
          } else connection.send({ prompt: `cat ${results.length}` });
        },
        // A close without a code, which is what the client's own is, counts as an error to it.
        onError: (error) => results.length < 3 && errors.push(String(error.message)),
      });
      connection.send({ prompt: "cat 0" });
    });
    return { results, errors };
  },
  async realtime_error() {
    return await new Promise((done) => {
      const connection = fal.realtime.connect(EASEL, {
        onResult: (result) => done({ result }),
        onError: (error) => done({ status: error.status, message: error.message, body: error.body }),
      });
      connection.send({ prompt: 3 });
    });
  },
  async upload() {
    const lifecycle = { expiresIn: "1h", initialAcl: { default: "allow" } };
    const file = new File([new Uint8Array([1, 2, 3])], "three.bin", { type: "application/x-three" });
    return await fal.storage.upload(file, { lifecycle });
  },
  async upload_multipart() {
    const part = fs.readFileSync(process.env.CONFORMANCE_LARGE);
    return await fal.storage.upload(new File([part], "large.bin", { type: "application/octet-stream" }));
  },
  async upload_in_input() {
    return await fal.run("acme/echo", { input: { nested: [{ file: new Blob(["hello"], { type: "text/plain" }) }] } });
  },
};

(async () => {
  const outcomes = {};
  for (const name of process.argv.slice(2)) {
    outcomes[name] = await scenarios[name]();
  }
  process.stdout.write(JSON.stringify(outcomes));
  process.exit(0);
})().catch((error) => {
  console.error(error);
  process.exit(1);
});

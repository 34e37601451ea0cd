// @fal-ai/client at work: node clients.mjs TASK OPTIONS, both of them and the answer as `clients.py` has them.

import fs from "node:fs";
import path from "node:path";
import { createRequire } from "node:module";

const load = createRequire(path.join(process.env.BENCH_MODULES, "package.json"));
const { createFalClient } = load("@fal-ai/client");

const ADDRESSES = [
  ["https://queue.fal.run", process.env.FAL_QUEUE_URL],
  ["https://fal.run", process.env.FAL_RUN_URL],
  ["https://rest.fal.ai", process.env.FAL_REST_URL],
  ["wss://fal.run", process.env.FAL_REALTIME_URL],
];
const FLUX = "fal-ai/flux/dev";
const ENOUGH = 1.5;

function here(url) {
  for (const [there, address] of ADDRESSES) {
    if (url.startsWith(there)) return address + url.slice(there.length);
  }
  return url;
}

const Socket = globalThis.WebSocket;
if (Socket) {
  globalThis.WebSocket = class extends Socket {
    constructor(url) {
      super(here(String(url)));
    }
  };
}

const fal = createFalClient({ credentials: "id:secret", fetch: (url, options) => fetch(here(String(url)), options) });

function now() {
  return (performance.timeOrigin + performance.now()) / 1000;
}

function spent() {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
}

function peak() {
  return process.resourceUsage().maxRSS * 1024;
}

async function measured(calls, work) {
  const [start, cpu] = [now(), spent()];
  await work();
  return { calls, wall: now() - start, cpu: spent() - cpu };
}

async function loops(inFlight, calls, one) {
  const each = Math.max(1, Math.floor(calls / inFlight));
  let done = 0;
  const loop = async () => {
    const end = now() + ENOUGH;
    for (let i = 0; i < each && now() < end; i++) {
      await one();
      done++;
    }
  };
  await Promise.all(Array.from({ length: inFlight }, one));
  const outcome = await measured(0, () => Promise.all(Array.from({ length: inFlight }, loop)));
  return { ...outcome, calls: done };
}

async function subscribe(milliseconds, mode) {
  const result = await fal.subscribe(FLUX, { input: { prompt: String(milliseconds) }, mode });
  return now() - result.data.seed / 1e6;
}

function connection(message) {
  let received;
  const live = fal.realtime.connect("acme/live/fast", {
    throttleInterval: 0,
    onResult: (result) => received(result),
    onError: (error) => console.error(error),
  });
  return {
    close: () => live.close(),
    trip: () =>
      new Promise((done) => {
        received = done;
        live.send(message);
      }),
  };
}

const tasks = {
  run: ({ in_flight, calls }) => loops(in_flight, calls, () => fal.run(FLUX, { input: { prompt: "a cat" } })),
  async subscribe({ milliseconds, calls, mode }) {
    await subscribe(1, mode);
    const counted = async () => (await (await fetch(`${new URL(process.env.FAL_RUN_URL).origin}/count`)).json()).requests;
    await counted();
    const late = [];
    const outcome = await measured(calls, async () => {
      for (let i = 0; i < calls; i++) late.push(await subscribe(milliseconds + 5 * i, mode));
    });
    return { ...outcome, late, requests: await counted() };
  },
  async many({ milliseconds, calls, mode }) {
    await subscribe(1, mode);
    const before = peak();
    const outcome = await measured(calls, () =>
      Promise.all(Array.from({ length: calls }, () => subscribe(milliseconds, mode))),
    );
    return { ...outcome, memory: peak() - before };
  },
  async stream({ calls }) {
    let events = 0;
    const one = async () => {
      const stream = await fal.stream(FLUX, { input: { prompt: "a cat" } });
      for await (const event of stream) events += event.images.length;
    };
    await one();
    events = 0;
    const outcome = await measured(0, async () => {
      const end = now() + ENOUGH;
      for (let i = 0; i < calls && now() < end; i++) await one();
    });
    return { ...outcome, calls: events };
  },
  async realtime({ size, calls }) {
    const live = connection({ prompt: "a cat", image: new Uint8Array(size).fill(0x55) });
    for (let i = 0; i < 5; i++) await live.trip();
    const outcome = await measured(calls, async () => {
      for (let i = 0; i < calls; i++) await live.trip();
    });
    live.close();
    return outcome;
  },
  async upload({ file, size }) {
    await fal.storage.upload(new File(["a"], "small.bin"));
    const before = peak();
    const outcome = await measured(size, async () => {
      const blob = fs.openAsBlob ? await fs.openAsBlob(file) : new Blob([fs.readFileSync(file)]);
      await fal.storage.upload(new File([blob], "large.bin", { type: "application/octet-stream" }));
    });
    return { ...outcome, memory: peak() - before };
  },
};

const outcome = await tasks[process.argv[2]](JSON.parse(process.argv[3]));
process.stdout.write(JSON.stringify(outcome));
process.exit(0);

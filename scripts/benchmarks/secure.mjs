// The server for what is measured over TLS: node secure.mjs CERTIFICATE KEY. It speaks HTTP/2 to whoever wants it, as the
// front of a platform does, and otherwise says the same as `server.py`, of which it has the run and the queue.

import fs from "node:fs";
import http2 from "node:http2";

const IMAGE = { url: "https://files.invalid/cat.png", width: 1024, height: 768, content_type: "image/png" };
const OUTPUT = { images: [IMAGE], timings: { inference: 0.2 }, seed: 7, has_nsfw_concepts: [false], prompt: "a cat" };
const REQUEST_ID = { "x-fal-request-id": "764cabcf-b745-4b3e-ae38-1200304cf45b" };

const server = http2.createSecureServer({
  cert: fs.readFileSync(process.argv[2]),
  key: fs.readFileSync(process.argv[3]),
  allowHTTP1: true,
  settings: { maxConcurrentStreams: 100 }, // as most servers have it
});
const ends = [];
let [connections, busy] = [0, 0];

function answer(response, body, status = 200, headers = REQUEST_ID) {
  const text = JSON.stringify(body);
  response.writeHead(status, { "content-type": "application/json", "content-length": text.length, ...headers });
  response.end(text);
}

function event(value) {
  return `data: ${JSON.stringify(value)}\n\n`;
}

function queue(request, response, body) {
  const url = new URL(request.url, `https://${request.headers.host ?? request.authority}`);
  if (request.method === "POST") {
    const prompt = Number(JSON.parse(body).prompt);
    const id = ends.push(Date.now() + (prompt || 0)) - 1;
    const job = `${url.origin}${url.pathname.split("/").slice(0, 4).join("/")}/requests/${id}`;
    const urls = { response_url: job, status_url: `${job}/status`, cancel_url: `${job}/cancel` };
    return answer(response, { status: "IN_QUEUE", request_id: String(id), queue_position: 0, ...urls });
  }
  const [id, rest] = url.pathname.split("/requests/")[1].split(/\/(.*)/);
  const left = ends[id] - Date.now();
  if (rest === "status/stream") {
    response.writeHead(200, { "content-type": "text/event-stream", ...REQUEST_ID });
    response.write(event({ status: "IN_PROGRESS", request_id: id, logs: null }));
    const last = event({ status: "COMPLETED", request_id: id, metrics: {} });
    return setTimeout(() => response.end(last), Math.max(0, left));
  }
  if (rest === "status") {
    const status = left > 0 ? "IN_PROGRESS" : "COMPLETED";
    return answer(response, { status, request_id: id, logs: null }, left > 0 ? 202 : 200);
  }
  return answer(response, { ...OUTPUT, seed: ends[id] * 1000 });
}

server.on("secureConnection", () => connections++);
server.on("request", (request, response) => {
  let body = "";
  request.on("data", (chunk) => (body += chunk));
  request.on("end", () => {
    if (request.url === "/count") {
      answer(response, { connections: connections - 1 });
      connections = 0;
    } else if (request.url.endsWith("/flaky") && ++busy % 2) {
      answer(response, "busy", 503, {});
    } else if (request.url.startsWith("/queue")) {
      queue(request, response, body);
    } else {
      answer(response, OUTPUT);
    }
  });
});
server.listen(0, "127.0.0.1", 4096, () => console.log(server.address().port));
process.stdin.resume().on("end", () => process.exit(0));

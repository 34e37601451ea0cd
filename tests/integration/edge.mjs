// What stands before a sandbox and speaks TLS, as the front of a platform does: node edge.mjs SANDBOX FOLDER PROTOCOL PORT.
//
// PROTOCOL is h2, which leaves HTTP/1.1 to whoever wants that; or http/1.1; or none, and then it agrees on no protocol by
// TLS and speaks HTTP/1.1. Each line on its input is an order, and is answered with what it has counted so far. `goaway`
// ends every session in good order. Any other, `WHAT PATH`, goes wrong with the next request whose path contains PATH:
//
// refuse   the stream is refused before the request is passed on
// destroy  the connection is cut when the sandbox has answered
// leave    the connection is ended when the sandbox has answered, with a GOAWAY for what comes after this request
// cut      the stream is reset, with an error, after the first piece of the answer
// end      the stream is reset, without an error, in the middle of that piece

import fs from "node:fs";
import http from "node:http";
import http2 from "node:http2";
import https from "node:https";
import readline from "node:readline";

const { NGHTTP2_INTERNAL_ERROR, NGHTTP2_NO_ERROR, NGHTTP2_REFUSED_STREAM } = http2.constants;
const [sandbox, folder, protocol, port] = process.argv.slice(2);
const counts = { connections: 0, http1: 0, http2: 0 };
const orders = {};
const sessions = new Set();
const sockets = new Map(); // by the client's port: HTTP/2 hands out none that could be closed

function due(what, request) {
  return what in orders && request.url.includes(orders[what]) && delete orders[what];
}

function passed(headers) {
  const dropped = ["connection", "keep-alive", "transfer-encoding"];
  return Object.fromEntries(Object.entries(headers).filter(([name]) => name[0] !== ":" && !dropped.includes(name)));
}

function pass(request, response) {
  counts[response.stream ? "http2" : "http1"]++;
  const socket = sockets.get(request.socket.remotePort);
  const reset = (code) => (response.stream ? response.stream.close(code) : socket.destroy());
  // The sandbox's connection may still fail when all is said, and by then ours may have the next request.
  const cut = () => response.writableEnded || reset(NGHTTP2_INTERNAL_ERROR);
  request.on("error", () => {});
  if (due("refuse", request)) return reset(NGHTTP2_REFUSED_STREAM);
  const options = { method: request.method, headers: passed(request.headers), agent: false };
  const onward = http.request(sandbox + request.url, options);
  response.on("close", () => onward.destroy());
  onward.on("error", cut);
  onward.on("response", (answer) => {
    if (due("destroy", request)) return socket.destroy();
    if (due("leave", request)) return response.stream.session.destroy();
    const [cutting, ending] = [due("cut", request), due("end", request)];
    response.writeHead(answer.statusCode, passed(answer.headers));
    response.flushHeaders();
    answer.on("data", (piece) => {
      if (cutting) response.write(piece, cut);
      else if (ending) response.write(piece.subarray(0, piece.length / 2), () => reset(NGHTTP2_NO_ERROR));
      else if (!response.write(piece)) answer.pause();
    });
    response.on("drain", () => answer.resume());
    answer.on("end", () => cutting || ending || response.end());
    answer.on("error", cut);
  });
  request.pipe(onward);
}

const own = { cert: fs.readFileSync(`${folder}/certificate`), key: fs.readFileSync(`${folder}/key`) };
const server =
  protocol === "h2"
    ? http2.createSecureServer({ ...own, allowHTTP1: true, settings: { maxConcurrentStreams: 100 } })
    : https.createServer({ ...own, ALPNProtocols: protocol === "none" ? [] : [protocol] });
server.on("request", pass);
server.on("session", (session) => {
  sessions.add(session);
  session.on("close", () => sessions.delete(session));
});
server.on("secureConnection", (socket) => {
  const { remotePort } = socket;
  counts.connections++;
  sockets.set(remotePort, socket);
  socket.on("error", () => {});
  socket.on("close", () => sockets.delete(remotePort));
});
server.listen(Number(port), "127.0.0.1", 4096, () => console.log(server.address().port));

const input = readline.createInterface({ input: process.stdin });
input.on("line", (line) => {
  const [what, path] = line.split(" ");
  if (what === "goaway") sessions.forEach((session) => session.close());
  else if (what) orders[what] = path;
  console.log(JSON.stringify({ ...counts, open: sockets.size }));
});
input.on("close", () => process.exit(0));

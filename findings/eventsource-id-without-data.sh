#!/bin/sh
# eventsource 4.1.1 (npm): an event that has an id and no data does not move the position sent on reconnection.
#
# A good guess: a message with "id: 9" and nothing else sets the last event ID and calls no listener. The standard says so
# (the ID is set before the test for empty data), and servers use it to mark progress without an event to show.
# What happens: the parser forgets the id of a message that has no data. The next connection asks with
# "Last-Event-ID: 5", the id of the last event that a listener saw, however many marks came after it.
# Why it matters: a watcher of a quiet key is kept near the current revision by such marks. Without them it resumes from
# the last event, which may be compacted, or is sent all that it was told it has. Send a mark as an event with a name of
# its own and some data: then the position moves, and listeners for messages do not see it.
set -eu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp"
npm install --silent --no-audit --no-fund --prefix "$tmp" eventsource@4.1.1 eventsource-parser@3.1.1
cat >"$tmp/show.mjs" <<'JS'
import { readFileSync } from "node:fs";
import http from "node:http";
import { EventSource } from "eventsource";

// What the server sends on the first connection, and what the client asks with on the second.
const resume = (messages) => new Promise((resolve, reject) => {
  const seen = [];
  let connections = 0;
  let client;
  const server = http.createServer((request, response) => {
    connections += 1;
    if (connections > 1) {
      client.close();
      response.end();
      server.close();
      resolve({ seen, position: request.headers["last-event-id"] });
      return;
    }
    response.writeHead(200, { "content-type": "text/event-stream" });
    response.end(`retry: 50\n\n${messages}`);
  });
  server.listen(0, "127.0.0.1", () => {
    client = new EventSource(`http://127.0.0.1:${server.address().port}/`);
    client.onmessage = ({ data }) => seen.push(data);
  });
  setTimeout(() => reject(new Error("no second connection")), 20000).unref();
});

const bare = await resume("id: 5\ndata: put\n\nid: 9\n\n");
const named = await resume("id: 5\ndata: put\n\nid: 9\nevent: progress\ndata: -\n\n");
const { version } = JSON.parse(readFileSync("node_modules/eventsource/package.json"));
console.log(`eventsource ${version}, after an event with id 5 and a mark with id 9`);
console.log(`  mark without data:   messages ${JSON.stringify(bare.seen)}, asks again with Last-Event-ID ${bare.position}`);
console.log(`  mark with a name and data: messages ${JSON.stringify(named.seen)}, Last-Event-ID ${named.position}`);
const asStated = bare.position === "5" && named.position === "9" &&
  JSON.stringify([bare.seen, named.seen]) === '[["put"],["put"]]';
process.exit(asStated ? 0 : 1);
JS
timeout 60 node "$tmp/show.mjs"

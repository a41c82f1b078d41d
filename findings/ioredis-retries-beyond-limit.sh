#!/bin/sh
# ioredis 6.0.0: maxRetriesPerRequest (20) does not bound how often one command is sent.
#
# A good guess: with the default of 20, a command whose connection breaks is sent at most 21 times and then rejected with
# MaxRetriesPerRequestError. The name of the setting says so.
# What happens: the number counts reconnections since the client was last ready, and becoming ready sets it to zero. A
# server that completes the handshake, reads the INCR and closes without an answer gets the same INCR again after each
# reconnect, and the promise of the one call stays pending. Here it is stopped after 30. With
# autoResendUnfulfilledCommands: false the command is sent once, but its promise is not rejected either: it is pending
# still, seconds later, while the client is connected and ready again.
# Why it matters: a store whose answers are lost (a proxy that drops, a leader that steps down after it applied the
# command) applies one INCR as often as the client reconnects. The store must recognise repeats, and neither of the two
# settings shown turns the lost answer into an error: users need a deadline of their own.
set -eu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp"
npm install --silent --no-audit --no-fund --prefix "$tmp" ioredis@6.0.0
cat >"$tmp/show.js" <<'JS'
const net = require("net");
const Redis = require("ioredis");

const ENOUGH = 30;
const LIMIT_MS = 30000;
let received = 0;
let outcome = "pending";

// A server that speaks RESP2: it answers the handshake, reads INCR and closes in place of the answer.
const answers = {
  hello: "-ERR unknown command 'hello', with args beginning with: '3' \r\n",
  info: "$9\r\nloading:0\r\n",
  client: "+OK\r\n",
};
const server = net.createServer((socket) => {
  socket.on("error", () => {});
  socket.on("data", (bytes) => {
    for (const [, name] of bytes.toString().toLowerCase().matchAll(/\*\d+\r\n\$\d+\r\n(hello|info|client|incr)\r\n/g)) {
      if (name === "incr") {
        received += 1;
        socket.destroy();
        return;
      }
      socket.write(answers[name]);
    }
  });
});

// One call of incr(), watched until it is settled, was received often enough, or the time is up.
const watch = async (options, milliseconds) => {
  received = 0;
  outcome = "pending";
  const client = new Redis({ host: "127.0.0.1", port: server.address().port, ...options });
  client.on("error", () => {});
  client.incr("counter").then(
    () => { outcome = "answered"; },
    (error) => { outcome = error.name; },
  );
  const end = Date.now() + milliseconds;
  while (received < ENOUGH && outcome === "pending" && Date.now() < end) {
    await new Promise((resolve) => { setTimeout(resolve, 20); });
  }
  const seen = { limit: client.options.maxRetriesPerRequest, received, outcome, status: client.status };
  client.disconnect();
  return seen;
};

server.listen(0, "127.0.0.1", async () => {
  const usual = await watch({}, LIMIT_MS);
  const once = await watch({ autoResendUnfulfilledCommands: false }, 3000);
  console.log(`ioredis ${require("ioredis/package.json").version}, maxRetriesPerRequest ${usual.limit}, one call of incr()`);
  console.log(`  by default: received ${usual.received} times, the promise is ${usual.outcome}`);
  console.log(`  autoResendUnfulfilledCommands false: received ${once.received} times, ` +
    `after 3 s the promise is ${once.outcome} and the client ${once.status}`);
  const asStated = usual.limit === 20 && usual.received >= ENOUGH && usual.outcome === "pending" &&
    once.received === 1 && once.outcome === "pending" && once.status === "ready";
  process.exit(asStated ? 0 : 1);
});
JS
timeout 60 node "$tmp/show.js"

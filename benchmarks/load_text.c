/* The protocols of kvraft and Redis for the load generator: lines, a connection for each line, and RESP2. */
#include "load.h"

#include <stdio.h>
#include <string.h>

/* ---- kvraft's line protocol ---- */

static void lines_greet(struct connection *c) { put(&c->out, "KEEP\n", 5); }

static void put_text(struct buffer *b, const char *text) { put(b, text, strlen(text)); }

/* A transaction that reads two keys and overwrites them. */
static void put_txn(struct buffer *b) {
    char keys[2][KEY_BYTES + 1];
    next_two_keys(keys);
    for (int i = 0; i < 2; i++) {
        put_text(b, i ? ",{\"get\":\"" : "TXN {\"then\":[{\"get\":\"");
        put_text(b, keys[i]);
        put_text(b, "\"},{\"set\":\"");
        put_text(b, keys[i]);
        put_text(b, "\",\"value\":\"");
        put(b, run.value, (size_t)run.value_bytes);
        put_text(b, "\"}");
    }
    put_text(b, "]}\n");
}

static bool lines_ask(struct connection *c, uint64_t now) {
    char key[KEY_BYTES + 1];
    if (run.operation == TXN) {
        put_txn(&c->out);
        note_asked(c, now);
        return true;
    }
    if (!next_key(key)) return false;
    put(&c->out, run.operation == GET ? "GET " : "SET ", 4);
    put(&c->out, key, KEY_BYTES);
    if (run.operation != GET) {
        put_u8(&c->out, ' ');
        put(&c->out, run.value, (size_t)run.value_bytes);
    }
    put_u8(&c->out, '\n');
    note_asked(c, now);
    return true;
}

static bool lines_reply(struct connection *c, uint64_t now) {
    if (!held(&c->in)) return false;
    const char *line = (const char *)c->in.bytes + c->in.begin;
    const char *end = memchr(line, '\n', held(&c->in));
    if (!end) return false;
    size_t size = (size_t)(end - line);
    c->in.begin += size + 1;
    bool ok = starts_with(line, size, "{\"status\":\"OK\"}");
    if (!c->greeted) {
        c->greeted = true;
        if (!ok) lose(c, "KEEP was refused");
    } else if (!c->in_flight) {
        lose(c, "an answer that nobody asked for");
    } else { /* a GET that finds nothing is an error: it would be cheaper than one that does */
        const char *wanted = run.operation == GET ? "{\"value\":\"" : "{\"succeeded\":true";
        bool good = run.operation == GET || run.operation == TXN ? starts_with(line, size, wanted) : ok;
        complete(c, c->replied++ % SLOTS, now, good, line, size);
    }
    return true;
}

const struct protocol LINES = {.name = "lines",
                               .value_bytes_max = VALUE_BYTES_MAX,
                               .greet = lines_greet,
                               .ask = lines_ask,
                               .reply = lines_reply};

/* ---- the same, one connection a request ---- */

static void nothing_to_greet(struct connection *c) { c->greeted = true; }

static bool once_ask(struct connection *c, uint64_t now) {
    if (c->asked != c->opened) return false; /* its one request; the server has not closed it yet */
    return lines_ask(c, now);
}

static void once_greet(struct connection *c) {
    c->opened = c->asked;
    c->greeted = true;
}

const struct protocol ONCE = {.name = "once",
                              .value_bytes_max = VALUE_BYTES_MAX,
                              .once = true,
                              .greet = once_greet,
                              .ask = once_ask,
                              .reply = lines_reply};

/* ---- RESP2 ---- */

static bool resp_ask(struct connection *c, uint64_t now) {
    char key[KEY_BYTES + 1], head[80];
    if (!next_key(key)) return false;
    if (run.operation == GET) {
        put(&c->out, head, (size_t)snprintf(head, sizeof head, "*2\r\n$3\r\nGET\r\n$%d\r\n%s\r\n", KEY_BYTES, key));
    } else {
        int size = snprintf(head, sizeof head, "*3\r\n$3\r\nSET\r\n$%d\r\n%s\r\n$%d\r\n", KEY_BYTES, key, run.value_bytes);
        put(&c->out, head, (size_t)size);
        put(&c->out, run.value, (size_t)run.value_bytes);
        put(&c->out, "\r\n", 2);
    }
    note_asked(c, now);
    return true;
}

/* A GET is answered with a header line, the value and an empty line; every value has the same size here. */
static bool resp_reply(struct connection *c, uint64_t now) {
    if (!held(&c->in)) return false;
    const char *line = (const char *)c->in.bytes + c->in.begin;
    const char *end = memchr(line, '\n', held(&c->in));
    if (!end) return false;
    size_t size = (size_t)(end - line) + 1, whole = size;
    char head[24];
    snprintf(head, sizeof head, "$%d\r\n", run.value_bytes);
    bool good = run.operation == GET ? starts_with(line, size, head) : starts_with(line, size, "+OK\r");
    if (good && run.operation == GET) whole += (size_t)run.value_bytes + 2;
    if (held(&c->in) < whole) return false;
    c->in.begin += whole;
    if (!c->in_flight) lose(c, "an answer that nobody asked for");
    else complete(c, c->replied++ % SLOTS, now, good, line, size);
    return true;
}

const struct protocol RESP = {.name = "resp",
                              .value_bytes_max = VALUE_BYTES_MAX,
                              .greet = nothing_to_greet,
                              .ask = resp_ask,
                              .reply = resp_reply};

/* ZooKeeper's own protocol for the load generator: a session, then setData, getData, and create for `fill`.
 *
 * Every request and reply is a length and that many bytes; replies come in the order of the requests. Keys are nodes
 * below the root, "/bench:0000000001". */
#include "load.h"

#include <string.h>

enum { CREATE = 1, GET_DATA = 4, SET_DATA = 5, CLOSE_SESSION = -11 };
enum { PERMIT_ALL = 31, ANY_VERSION = -1, PERSISTENT = 0 };
enum { SESSION_MS = 30000, PASSWORD_BYTES = 16, REPLY_HEADER = 16, REPLY_BYTES_MAX = 1 << 20 };
enum { PATH_BYTES = KEY_BYTES + 1 };

static uint32_t get_u32(const uint8_t *p) {
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static void put_string(struct buffer *b, const void *bytes, size_t size) {
    put_u32(b, (uint32_t)size);
    put(b, bytes, size);
}

static void zookeeper_greet(struct connection *c) {
    static const uint8_t nothing[PASSWORD_BYTES];
    put_u32(&c->out, 4 + 8 + 4 + 8 + 4 + PASSWORD_BYTES + 1);
    put_u32(&c->out, 0); /* version of the protocol */
    put(&c->out, nothing, 8); /* last transaction seen */
    put_u32(&c->out, SESSION_MS);
    put(&c->out, nothing, 8); /* session, a new one */
    put_string(&c->out, nothing, PASSWORD_BYTES);
    put_u8(&c->out, 0); /* not read-only */
}

static bool zookeeper_ask(struct connection *c, uint64_t now) {
    char path[PATH_BYTES + 1] = "/";
    if (!next_key(path + 1)) return false;
    size_t value = 4 + (size_t)run.value_bytes;
    size_t rest = run.operation == GET ? 1 : run.operation == SET ? value + 4 : value + 4 + 4 + 4 + 5 + 4 + 6 + 4;
    put_u32(&c->out, (uint32_t)(4 + 4 + 4 + PATH_BYTES + rest));
    put_u32(&c->out, c->asked & 0x7fffffff);
    put_u32(&c->out, run.operation == GET ? GET_DATA : run.operation == SET ? SET_DATA : CREATE);
    put_string(&c->out, path, PATH_BYTES);
    if (run.operation == GET) {
        put_u8(&c->out, 0); /* no watch */
    } else {
        put_string(&c->out, run.value, (size_t)run.value_bytes);
        if (run.operation == SET) {
            put_u32(&c->out, (uint32_t)ANY_VERSION);
        } else {
            put_u32(&c->out, 1); /* one rule of access */
            put_u32(&c->out, PERMIT_ALL);
            put_string(&c->out, "world", 5);
            put_string(&c->out, "anyone", 6);
            put_u32(&c->out, PERSISTENT);
        }
    }
    note_asked(c, now);
    return true;
}

static bool zookeeper_reply(struct connection *c, uint64_t now) {
    if (held(&c->in) < 4) return false;
    const uint8_t *frame = c->in.bytes + c->in.begin;
    size_t size = get_u32(frame);
    if (size > REPLY_BYTES_MAX) {
        lose(c, "a reply beyond the limit");
        return false;
    }
    if (held(&c->in) < 4 + size) return false;
    c->in.begin += 4 + size;
    if (!c->greeted) {
        c->greeted = true;
        if (size < 8 || !get_u32(frame + 8)) lose(c, "no session"); /* a timeout of 0 says so */
    } else if (size < REPLY_HEADER) {
        lose(c, "a reply without a header");
    } else if (!c->in_flight) {
        lose(c, "an answer that nobody asked for");
    } else { /* xid, transaction (8 bytes), error, and then the data */
        size_t least = run.operation == GET ? REPLY_HEADER + 4 + (size_t)run.value_bytes : REPLY_HEADER;
        bool good = !get_u32(frame + 4 + 12) && size >= least;
        complete(c, c->replied++ % SLOTS, now, good, "ZooKeeper error", 15);
    }
    return true;
}

static void zookeeper_leave(struct connection *c) { /* else its session would end, with a write, in another's time */
    put_u32(&c->out, 8);
    put_u32(&c->out, c->asked & 0x7fffffff);
    put_u32(&c->out, (uint32_t)CLOSE_SESSION);
}

const struct protocol ZOOKEEPER = {.name = "zookeeper",
                                   .value_bytes_max = 8192,
                                   .greet = zookeeper_greet,
                                   .ask = zookeeper_ask,
                                   .reply = zookeeper_reply,
                                   .leave = zookeeper_leave};

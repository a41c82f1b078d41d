/* etcd v3's KV/Put, KV/Range and KV/Txn for the load generator: gRPC, that is HTTP/2 (RFC 9113), framed by hand.
 *
 * Only what one unary call needs: a header block and one DATA frame a request, windows and settings obeyed. */
#include "load.h"

#include <stdlib.h>
#include <string.h>

enum frame_type { DATA, HEADERS, RST_STREAM = 3, SETTINGS, PING = 6, GOAWAY, WINDOW_UPDATE };
enum { END_STREAM = 1, ACK = 1, END_HEADERS = 4 };
enum { FRAME_HEADER = 9, GRPC_PREFIX = 5, FRAME_BYTES_MAX = 16384, SETTINGS_MAX_CONCURRENT_STREAMS = 3 };
enum { WINDOW_INITIAL = 65535, WINDOW_GRANTED = 1 << 24, WINDOW_RENEWED_AT = 1 << 20 }; /* bytes */

static uint32_t get_u32(const uint8_t *p) {
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static void put_frame(struct buffer *b, size_t size, enum frame_type type, unsigned flags, uint32_t stream) {
    put_u32(b, (uint32_t)size << 8 | type);
    put_u8(b, flags);
    put_u32(b, stream);
}

static void etcd_greet(struct connection *c) {
    put(&c->out, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24);
    put_frame(&c->out, 0, SETTINGS, 0, 0);
    put_frame(&c->out, 4, WINDOW_UPDATE, 0, 0);
    put_u32(&c->out, WINDOW_GRANTED - WINDOW_INITIAL);
    c->greeted = true;
    c->stream = 1;
    c->window = WINDOW_INITIAL;
}

/* An HPACK string, not Huffman-coded (RFC 7541 §5.2); short ones only. */
static void put_hpack(struct buffer *b, const char *text) {
    put_u8(b, (unsigned)strlen(text));
    put(b, text, strlen(text));
}

static const char *const PATHS[] = {
    [SET] = "/etcdserverpb.KV/Put",
    [GET] = "/etcdserverpb.KV/Range",
    [FILL] = "/etcdserverpb.KV/Put",
    [TXN] = "/etcdserverpb.KV/Txn",
};

/* The request's header block. The first one of a connection teaches the server four fields, the others name them by
 * their index in the dynamic table (RFC 7541 §2.3.3), as every gRPC client does. */
static void put_headers(struct connection *c) {
    static const uint8_t again[] = {0x83, 0x86, 0xc1, 0xc0, 0xbf, 0xbe}; /* static 3 and 6, dynamic 65 to 62 */
    if (c->stream > 1) {
        put_frame(&c->out, sizeof again, HEADERS, END_HEADERS, c->stream);
        put(&c->out, again, sizeof again);
        return;
    }
    struct buffer block = {0};
    put(&block, again, 2); /* :method POST, :scheme http */
    put_u8(&block, 0x40 | 4);
    put_hpack(&block, PATHS[run.operation]);
    put_u8(&block, 0x40 | 1);
    put_hpack(&block, run.authority);
    put_u8(&block, 0x40 | 31); /* content-type */
    put_hpack(&block, "application/grpc");
    put_u8(&block, 0x40);
    put_hpack(&block, "te");
    put_hpack(&block, "trailers");
    put_frame(&c->out, held(&block), HEADERS, END_HEADERS, c->stream);
    put(&c->out, block.bytes, held(&block));
    free(block.bytes);
}

static void put_field(struct buffer *b, unsigned field, const void *bytes, size_t size) {
    put_u8(b, field << 3 | 2);
    size_t left = size;
    for (; left >= 0x80; left >>= 7) put_u8(b, 0x80u | (unsigned)(left & 0x7f));
    put_u8(b, (unsigned)left);
    put(b, bytes, size);
}

/* One operation of a transaction: a RequestOp, which is field 2 of a TxnRequest. */
static void put_operation(struct buffer *message, unsigned kind, const char *key, bool writes) {
    static struct buffer request, operation;
    request.begin = request.end = operation.begin = operation.end = 0;
    put_field(&request, 1, key, KEY_BYTES);
    if (writes) put_field(&request, 2, run.value, (size_t)run.value_bytes);
    put_field(&operation, kind, request.bytes, held(&request));
    put_field(message, 2, operation.bytes, held(&operation));
}

/* Queue the frames of one call. */
static void etcd_send(struct connection *c, const struct buffer *message, uint64_t now) {
    while (c->sent_at[c->stream / 2 % SLOTS]) c->stream += 2; /* ids may be left out (§5.1.1) */
    uint32_t slot = c->stream / 2 % SLOTS;
    put_headers(c);
    put_frame(&c->out, GRPC_PREFIX + held(message), DATA, END_STREAM, c->stream);
    put_u8(&c->out, 0); /* not compressed */
    put_u32(&c->out, (uint32_t)held(message));
    put(&c->out, message->bytes, held(message));
    c->window -= (int64_t)(GRPC_PREFIX + held(message));
    c->sent_at[slot] = now;
    c->reply_bytes[slot] = 0;
    c->stream += 2;
    c->in_flight++;
}

/* A transaction that reads two keys and overwrites them. */
static bool etcd_ask_txn(struct connection *c, uint64_t now) {
    static struct buffer message;
    char keys[2][KEY_BYTES + 1];
    if (c->window < FRAME_BYTES_MAX + GRPC_PREFIX) return false;
    next_two_keys(keys);
    message.begin = message.end = 0;
    for (int i = 0; i < 2; i++) {
        put_operation(&message, 1, keys[i], false);
        put_operation(&message, 2, keys[i], true);
    }
    etcd_send(c, &message, now);
    return true;
}

static bool etcd_ask(struct connection *c, uint64_t now) {
    static struct buffer message;
    char key[KEY_BYTES + 1];
    bool writes = run.operation != GET;
    if (run.operation == TXN) return etcd_ask_txn(c, now);
    size_t most = 2 * 4 + KEY_BYTES + (size_t)run.value_bytes;
    if (c->window < (int64_t)(GRPC_PREFIX + most) || !next_key(key)) return false;
    message.begin = message.end = 0;
    put_field(&message, 1, key, KEY_BYTES); /* both in PutRequest and in RangeRequest */
    if (writes) put_field(&message, 2, run.value, (size_t)run.value_bytes);
    etcd_send(c, &message, now);
    return true;
}

static void etcd_settings(struct connection *c, const uint8_t *body, size_t size) {
    for (size_t i = 0; i + 6 <= size; i += 6) {
        uint32_t limit = get_u32(body + i + 2);
        if ((body[i] << 8 | body[i + 1]) == SETTINGS_MAX_CONCURRENT_STREAMS && limit < (uint32_t)c->in_flight_max)
            c->in_flight_max = (int)limit;
    }
    put_frame(&c->out, 0, SETTINGS, ACK, 0);
}

/* DATA and HEADERS of an answer. A failed call has trailers only, so a call that brought a message succeeded; one that
 * brought less than the value did not find the key. */
static void etcd_answer(struct connection *c, uint32_t stream, unsigned type, bool ends, size_t size, uint64_t now) {
    uint32_t slot = stream / 2 % SLOTS;
    if (!c->sent_at[slot]) {
        lose(c, "an answer that nobody asked for");
        return;
    }
    if (type == DATA) {
        c->reply_bytes[slot] += (uint32_t)size;
        c->consumed += (uint32_t)size;
    }
    size_t least = run.operation == GET ? GRPC_PREFIX + (size_t)run.value_bytes : GRPC_PREFIX;
    if (ends) complete(c, slot, now, c->reply_bytes[slot] > least, "gRPC error", 10);
    if (c->consumed < WINDOW_RENEWED_AT) return;
    put_frame(&c->out, 4, WINDOW_UPDATE, 0, 0);
    put_u32(&c->out, c->consumed);
    c->consumed = 0;
}

static bool etcd_reply(struct connection *c, uint64_t now) {
    if (held(&c->in) < FRAME_HEADER) return false;
    const uint8_t *frame = c->in.bytes + c->in.begin, *body = frame + FRAME_HEADER;
    size_t size = get_u32(frame) >> 8;
    unsigned type = frame[3], flags = frame[4];
    uint32_t stream = get_u32(frame + 5) & 0x7fffffff;
    if (size > FRAME_BYTES_MAX) {
        lose(c, "a frame beyond the limit");
        return false;
    }
    if (held(&c->in) < FRAME_HEADER + size) return false;
    c->in.begin += FRAME_HEADER + size;
    if (type == DATA || type == HEADERS) etcd_answer(c, stream, type, flags & END_STREAM, size, now);
    else if (type == RST_STREAM && c->sent_at[stream / 2 % SLOTS])
        complete(c, stream / 2 % SLOTS, now, false, "RST_STREAM", 10);
    else if (type == SETTINGS && !(flags & ACK)) etcd_settings(c, body, size);
    else if (type == PING && !(flags & ACK) && size == 8) {
        put_frame(&c->out, 8, PING, ACK, 0);
        put(&c->out, body, 8);
    } else if (type == WINDOW_UPDATE && !stream && size == 4) c->window += get_u32(body) & 0x7fffffff;
    else if (type == GOAWAY) lose(c, "GOAWAY");
    return true;
}

const struct protocol ETCD = {.name = "etcd",
                              .value_bytes_max = 8192, /* fits one HTTP/2 frame and every initial window of a stream */
                              .greet = etcd_greet,
                              .ask = etcd_ask,
                              .reply = etcd_reply};

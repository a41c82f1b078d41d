/* What the load generator's parts share: byte buffers, the run's parameters, connections, and the seam between the loop
 * and a protocol. */
#ifndef LOAD_H
#define LOAD_H

#include <arpa/inet.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    CONNECTIONS_MAX = 10000,
    IN_FLIGHT_MAX = 1024,       /* a connection */
    SLOTS = 4 * IN_FLIGHT_MAX,  /* a power of two, with room for streams that overtake each other */
    VALUE_BYTES_MAX = 1 << 20,
    RATE_MAX = 1000000,         /* arrivals a second */
    KEYS_MAX = 1000000000,
    SECONDS_MAX = 300,          /* warm-up included */
    STARTUP_SECONDS_MAX = 30,   /* for connecting; past that and the run's own time the process is ended */
    STALL_SECONDS = 2,          /* without an answer, at the end of a run, that make a request an error */
    PIDS_MAX = 16,
    READ_BYTES = 65536,
    TIMER_NS_MIN = 100000,      /* an open loop looks so often at most; arrivals between two looks leave together */
    LATENCY_US_MAX = 5000000,   /* one counter a microsecond; slower answers count as this */
};

struct buffer {
    uint8_t *bytes;
    size_t begin, end, capacity;
};

static inline size_t held(const struct buffer *b) { return b->end - b->begin; }
uint8_t *reserve(struct buffer *, size_t more); /* room for `more` bytes at the end */
void put(struct buffer *, const void *bytes, size_t size);
static inline void put_u8(struct buffer *b, unsigned value) { put(b, &(uint8_t){(uint8_t)value}, 1); }
static inline void put_u32(struct buffer *b, uint32_t value) { put(b, &(uint32_t){htonl(value)}, 4); }

struct run {
    enum operation { SET, GET, FILL, TXN } operation;
    int connections, in_flight, value_bytes, pid_count;
    long keys;
    double seconds, warmup;
    double rate;                /* arrivals a second of the open loop; 0: the loop is closed */
    char authority[32]; /* of the server, "127.0.0.1:8080" */
    char value[VALUE_BYTES_MAX];
    int pids[PIDS_MAX];
};
extern struct run run;

struct connection {
    int fd;                     /* -1 once it is lost */
    bool greeted;               /* the protocol's opening is over, requests may leave */
    bool write_watched;
    int in_flight, in_flight_max;
    struct buffer in, out;
    uint64_t sent_at[SLOTS];    /* by slot, 0 when free */
    uint32_t asked, replied;    /* where answers keep the order: how many ever, which is the slot of the next */
    uint32_t opened;            /* once: what `asked` was when the connection was opened */
    uint32_t stream;            /* etcd: the next stream's id */
    int64_t window;             /* etcd: bytes of DATA that the server still takes on this connection */
    uint32_t consumed;          /* etcd: bytes of DATA received and not yet granted anew */
    uint32_t reply_bytes[SLOTS];
};

struct protocol {
    const char *name;
    int value_bytes_max;
    bool once;                  /* one connection a request: the server closes it, and the next one is opened */
    void (*greet)(struct connection *);
    bool (*ask)(struct connection *, uint64_t now);   /* queue one request; false when it must wait */
    bool (*reply)(struct connection *, uint64_t now); /* take one reply from `in`; false when there is no whole one */
    void (*leave)(struct connection *);               /* queue a farewell; may be NULL */
};

enum { KEY_BYTES = 16 };

bool next_key(char key[KEY_BYTES + 1]); /* false when `fill` has named them all */
void next_two_keys(char keys[2][KEY_BYTES + 1]); /* two different ones */
void lose(struct connection *, const char *why);
void complete(struct connection *, uint32_t slot, uint64_t now, bool good, const char *text, size_t size);

bool starts_with(const char *text, size_t size, const char *prefix);
void note_asked(struct connection *, uint64_t now);   /* book a request whose answer comes in its turn */

extern const struct protocol LINES, ONCE, RESP, ETCD, ZOOKEEPER;

#endif

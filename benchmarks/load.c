/* load: a load generator that costs so little CPU that it can share a machine with what it measures.
 *
 * One thread and one epoll loop serve C connections, each of which has at most P requests in flight. Requests draw a
 * random key of the keyspace; `fill` instead writes every key once and ends, and `txn` reads and overwrites two keys in
 * one transaction.
 *
 * The loop is closed, unless --rate is given: as soon as an answer is there, the next request leaves, and latency runs
 * from a request's queueing here to its answer's arrival. With --rate R the loop is open: requests are due R times a
 * second, whatever becomes of those before, and latency runs from the moment at which a request was due. So a stall of
 * the server delays all that were due meanwhile, as it would delay visitors. Requests that are due while every connection
 * has P in flight wait here, and that counts. At the end what was due is waited for, up to STALL_SECONDS.
 *
 *   lines       kvraft's line protocol, opened with KEEP so that the connection stays
 *   once        the same with a connection for each request
 *   resp        SET and GET of the Redis protocol, RESP2
 *   etcd        etcd v3's KV/Put, KV/Range and KV/Txn: gRPC, that is HTTP/2 (RFC 9113), framed by hand
 *   zookeeper   setData and getData of ZooKeeper's own protocol; `fill` creates the nodes
 *
 * It speaks to loopback addresses only, ends by itself, and prints one line of JSON:
 *
 *   load --protocol lines --address 127.0.0.1:8080 --connections 64 --in-flight 1 --seconds 8 --pids 11,12,13
 *
 * Build: cc -O2 -o load load*.c
 */
#define _GNU_SOURCE
#include "load.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

/* ---- small things ---- */

__attribute__((noreturn, format(printf, 1, 2))) static void fail(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fputs("load: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    exit(2);
}

static uint64_t clock_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint64_t random_u64(void) { /* splitmix64: any seed will do, each run differs */
    static uint64_t state;
    if (!state) state = clock_ns();
    uint64_t z = (state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

uint8_t *reserve(struct buffer *b, size_t more) {
    if (b->begin == b->end) b->begin = b->end = 0;
    if (b->end + more > b->capacity && b->begin) {
        memmove(b->bytes, b->bytes + b->begin, held(b));
        b->end -= b->begin;
        b->begin = 0;
    }
    if (b->end + more > b->capacity) {
        b->capacity = 2 * (b->end + more);
        b->bytes = realloc(b->bytes, b->capacity);
        if (!b->bytes) fail("out of memory");
    }
    return b->bytes + b->end;
}

void put(struct buffer *b, const void *bytes, size_t size) {
    memcpy(reserve(b, size), bytes, size);
    b->end += size;
}

/* ---- the run ---- */

static const char *const OPERATIONS[] = {"set", "get", "fill", "txn"};

struct run run = {.connections = 64, .in_flight = 1, .value_bytes = 64, .keys = 100000, .seconds = 8, .warmup = 2};
static struct sockaddr_in server;
static long filled;

static bool measuring;
static uint64_t measured_from, ok_count, error_count, answered;
static uint32_t latencies[LATENCY_US_MAX + 1];
static char first_error[120];

static void note_error(const char *text, size_t size) {
    if (first_error[0]) return;
    if (size >= sizeof first_error) size = sizeof first_error - 1;
    for (size_t i = 0; i < size; i++) /* printable, and harmless inside a JSON string */
        first_error[i] = text[i] < ' ' || text[i] > '~' || text[i] == '"' || text[i] == '\\' ? '.' : text[i];
}

void lose(struct connection *c, const char *why) {
    note_error(why, strlen(why));
    error_count += (uint64_t)c->in_flight;
    c->in_flight = 0;
    close(c->fd);
    c->fd = -1;
}

/* Book one answer; requests that left before the measured time are not counted. */
void complete(struct connection *c, uint32_t slot, uint64_t now, bool good, const char *text, size_t size) {
    uint64_t sent_at = c->sent_at[slot];
    c->sent_at[slot] = 0;
    c->in_flight--;
    answered++;
    if (!good) note_error(text, size);
    if (!measuring || sent_at < measured_from) return;
    if (!good) {
        error_count++;
        return;
    }
    uint64_t us = (now - sent_at) / 1000;
    ok_count++;
    latencies[us > LATENCY_US_MAX ? LATENCY_US_MAX : us]++;
}

bool next_key(char key[KEY_BYTES + 1]) {
    if (run.operation == FILL && filled == run.keys) return false;
    long number = run.operation == FILL ? filled++ : (long)(random_u64() % (uint64_t)run.keys);
    snprintf(key, KEY_BYTES + 1, "bench:%010ld", number);
    return true;
}

void next_two_keys(char keys[2][KEY_BYTES + 1]) {
    long first = (long)(random_u64() % (uint64_t)run.keys);
    long second = (first + 1 + (long)(random_u64() % (uint64_t)(run.keys - 1))) % run.keys % KEYS_MAX;
    snprintf(keys[0], KEY_BYTES + 1, "bench:%010ld", first);
    snprintf(keys[1], KEY_BYTES + 1, "bench:%010ld", second);
}

void note_asked(struct connection *c, uint64_t now) {
    c->sent_at[c->asked++ % SLOTS] = now;
    c->in_flight++;
}

bool starts_with(const char *text, size_t size, const char *prefix) {
    return size >= strlen(prefix) && !memcmp(text, prefix, strlen(prefix));
}

static const struct protocol *const PROTOCOLS[] = {&LINES, &ONCE, &RESP, &ETCD, &ZOOKEEPER};
enum { PROTOCOLS_COUNT = sizeof PROTOCOLS / sizeof *PROTOCOLS };
static const struct protocol *protocol = &LINES;

/* ---- the open loop ---- */

static uint64_t open_from;         /* when the first request was due */
static uint64_t arrived;           /* requests that were due and have left */
static uint64_t no_arrivals_after; /* 0 as long as that is not known */

/* The moment at which the next request is due. */
static uint64_t due_at(void) { return open_from + (uint64_t)((double)arrived * 1e9 / run.rate); }

static bool is_due(uint64_t now) {
    uint64_t at = due_at();
    return at <= now && (!no_arrivals_after || at < no_arrivals_after);
}

static bool may_ask(const struct connection *c) {
    return c->fd >= 0 && c->greeted && c->in_flight < c->in_flight_max;
}

/* ---- connections ---- */

static void watch(int epoll, struct connection *c, int how, bool writable) {
    struct epoll_event event = {.events = EPOLLIN | (writable ? EPOLLOUT : 0), .data.ptr = c};
    if (epoll_ctl(epoll, how, c->fd, &event)) fail("epoll_ctl: %s", strerror(errno));
    c->write_watched = writable;
}

/* Keep the connection's bytes moving. */
static void flush(int epoll, struct connection *c) {
    while (held(&c->out)) {
        ssize_t sent = send(c->fd, c->out.bytes + c->out.begin, held(&c->out), MSG_NOSIGNAL);
        if (sent > 0) c->out.begin += (size_t)sent;
        else if (errno == EAGAIN) break;
        else if (errno != EINTR) {
            lose(c, strerror(errno));
            return;
        }
    }
    bool blocked = held(&c->out) > 0;
    if (blocked != c->write_watched) watch(epoll, c, EPOLL_CTL_MOD, blocked);
}

/* Keep the requests of a closed loop in flight; those of an open loop leave when they are due. */
static void push(int epoll, struct connection *c, uint64_t now) {
    while (!run.rate && may_ask(c) && protocol->ask(c, now)) {}
    flush(epoll, c);
}

/* Let what is due leave, each request on the next connection that may ask. */
static void begin_arrivals(int epoll, struct connection *connections, uint64_t now) {
    static int cursor;
    for (int refused = 0; refused < run.connections && is_due(now);) {
        struct connection *c = &connections[cursor++ % run.connections];
        if (cursor == run.connections) cursor = 0;
        if (!may_ask(c) || !protocol->ask(c, due_at())) {
            refused++;
            continue;
        }
        refused = 0;
        arrived++;
        flush(epoll, c);
    }
}

static void connect_to_server(int epoll, struct connection *c) {
    int blocks = protocol->once ? SOCK_NONBLOCK : 0; /* an opening that is not measured may wait */
    c->fd = socket(AF_INET, SOCK_STREAM | blocks, 0);
    if (c->fd < 0) fail("socket: %s", strerror(errno));
    if (connect(c->fd, (struct sockaddr *)&server, sizeof server) && errno != EINPROGRESS)
        fail("%s: %s", run.authority, strerror(errno));
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    if (fcntl(c->fd, F_SETFL, O_NONBLOCK)) fail("fcntl: %s", strerror(errno));
    c->in_flight_max = run.in_flight;
    watch(epoll, c, EPOLL_CTL_ADD, false);
    protocol->greet(c);
    push(epoll, c, clock_ns());
}

/* The server has closed a connection for one request: open the next one. */
static void renew(int epoll, struct connection *c) {
    close(c->fd);
    c->in.begin = c->in.end = c->out.begin = c->out.end = 0;
    connect_to_server(epoll, c);
}

static void serve(int epoll, struct connection *c) {
    ssize_t got = recv(c->fd, reserve(&c->in, READ_BYTES), READ_BYTES, 0);
    if (got == 0 && protocol->once && !c->in_flight) {
        renew(epoll, c);
        return;
    }
    if (got == 0) lose(c, "the server closed the connection");
    else if (got < 0 && errno != EAGAIN && errno != EINTR) lose(c, strerror(errno));
    else if (got > 0) c->in.end += (size_t)got;
    uint64_t now = clock_ns();
    while (c->fd >= 0 && protocol->reply(c, now)) {}
    if (c->fd >= 0) push(epoll, c, now);
}

/* ---- processor time, in seconds ---- */

struct cpu {
    double self, busy, steal, servers[PIDS_MAX];
};

static double process_cpu(int pid) {
    char path[40], text[1024];
    unsigned long user = 0, kernel = 0;
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    FILE *file = fopen(path, "r");
    if (!file) return 0;
    text[fread(text, 1, sizeof text - 1, file)] = 0;
    fclose(file);
    char *after_name = strrchr(text, ')'); /* a name may hold spaces and brackets */
    if (after_name) sscanf(after_name + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &kernel);
    return (double)(user + kernel) / (double)sysconf(_SC_CLK_TCK);
}

static struct cpu cpu_now(void) {
    struct cpu cpu = {0};
    struct rusage own;
    unsigned long long t[8] = {0}; /* user nice system idle iowait irq softirq steal */
    double tick = (double)sysconf(_SC_CLK_TCK);
    FILE *file = fopen("/proc/stat", "r");
    if (!file) fail("/proc/stat: %s", strerror(errno));
    for (int i = 0; i < 8; i++)
        if (fscanf(file, i ? "%llu" : "cpu %llu", t + i) != 1) fail("/proc/stat has an unknown form");
    fclose(file);
    getrusage(RUSAGE_SELF, &own);
    cpu.self = (double)(own.ru_utime.tv_sec + own.ru_stime.tv_sec);
    cpu.self += (double)(own.ru_utime.tv_usec + own.ru_stime.tv_usec) / 1e6;
    cpu.busy = (double)(t[0] + t[1] + t[2] + t[5] + t[6]) / tick;
    cpu.steal = (double)t[7] / tick;
    for (int i = 0; i < run.pid_count; i++) cpu.servers[i] = process_cpu(run.pids[i]);
    return cpu;
}

/* ---- the whole ---- */

static double percentile_ms(double percent) {
    uint64_t seen = 0;
    for (int us = 0; us <= LATENCY_US_MAX; us++)
        if (seen += latencies[us], seen && (double)seen >= percent / 100 * (double)ok_count) return us / 1e3;
    return 0;
}

static void print_result(double elapsed, const struct cpu *from, const struct cpu *to) {
    double self = to->self - from->self, servers = 0;
    printf("{\"protocol\":\"%s\",\"op\":\"%s\",\"connections\":%d,\"in_flight\":%d,", protocol->name,
           OPERATIONS[run.operation], run.connections, run.in_flight);
    printf("\"seconds\":%.3f,\"ok\":%llu,\"err\":%llu,\"rps\":%.1f,", elapsed, (unsigned long long)ok_count,
           (unsigned long long)error_count, (double)ok_count / elapsed);
    printf("\"rate\":%.1f,\"p50_ms\":%.3f,\"p99_ms\":%.3f,\"p999_ms\":%.3f,\"max_ms\":%.3f,\"server_cores\":[", run.rate,
           percentile_ms(50), percentile_ms(99), percentile_ms(99.9), percentile_ms(100));
    for (int i = 0; i < run.pid_count; i++) {
        double used = to->servers[i] - from->servers[i];
        servers += used;
        printf("%s%.3f", i ? "," : "", used / elapsed);
    }
    printf("],\"load_cores\":%.3f,\"other_cores\":%.3f,\"steal_cores\":%.3f,\"first_error\":\"%s\"}\n", self / elapsed,
           (to->busy - from->busy - self - servers) / elapsed, (to->steal - from->steal) / elapsed, first_error);
}

static long number(const char *name, const char *text, long low, long high) {
    char *end;
    long n = strtol(text, &end, 10);
    if (!*text || *end || n < low || n > high) fail("--%s takes a whole number from %ld to %ld", name, low, high);
    return n;
}

static void read_address(const char *text) {
    char host[32];
    const char *colon = strrchr(text, ':');
    if (!colon || strlen(text) >= sizeof host) fail("--address takes HOST:PORT");
    snprintf(run.authority, sizeof run.authority, "%s", text);
    snprintf(host, sizeof host, "%.*s", (int)(colon - text), text);
    server.sin_family = AF_INET;
    server.sin_port = htons((uint16_t)number("address", colon + 1, 1, 65535));
    if (inet_pton(AF_INET, host, &server.sin_addr) != 1 || ntohl(server.sin_addr.s_addr) >> 24 != 127)
        fail("--address must be on 127.0.0.0/8: a load generator points at nobody else's machine");
}

static int choice(const char *name, const char *text, const char *const *names, int count) {
    for (int i = 0; i < count; i++)
        if (!strcmp(text, names[i])) return i;
    fail("--%s does not know '%s'", name, text);
}

static void read_pids(char *list) {
    for (char *pid = strtok(list, ","); pid; pid = strtok(NULL, ",")) {
        if (run.pid_count == PIDS_MAX) fail("--pids takes at most %d", PIDS_MAX);
        run.pids[run.pid_count++] = (int)number("pids", pid, 1, INT32_MAX);
    }
}

static void read_options(int argc, char **argv) {
    static const struct option options[] = {
        {"protocol", 1, 0, 'p'}, {"op", 1, 0, 'o'},      {"address", 1, 0, 'a'}, {"connections", 1, 0, 'c'},
        {"in-flight", 1, 0, 'f'}, {"seconds", 1, 0, 's'}, {"warmup", 1, 0, 'w'},  {"keys", 1, 0, 'k'},
        {"value-bytes", 1, 0, 'v'}, {"pids", 1, 0, 'i'}, {"rate", 1, 0, 'r'},      {0}};
    const char *protocols[PROTOCOLS_COUNT];
    for (int i = 0; i < PROTOCOLS_COUNT; i++) protocols[i] = PROTOCOLS[i]->name;
    for (int o; (o = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (o == 'p') protocol = PROTOCOLS[choice("protocol", optarg, protocols, PROTOCOLS_COUNT)];
        else if (o == 'o') run.operation = (enum operation)choice("op", optarg, OPERATIONS, 4);
        else if (o == 'a') read_address(optarg);
        else if (o == 'c') run.connections = (int)number("connections", optarg, 1, CONNECTIONS_MAX);
        else if (o == 'f') run.in_flight = (int)number("in-flight", optarg, 1, IN_FLIGHT_MAX);
        else if (o == 's') run.seconds = (double)number("seconds", optarg, 1, SECONDS_MAX);
        else if (o == 'w') run.warmup = (double)number("warmup", optarg, 0, SECONDS_MAX);
        else if (o == 'k') run.keys = number("keys", optarg, 1, KEYS_MAX);
        else if (o == 'v') run.value_bytes = (int)number("value-bytes", optarg, 1, VALUE_BYTES_MAX);
        else if (o == 'r') run.rate = (double)number("rate", optarg, 1, RATE_MAX);
        else if (o == 'i') read_pids(optarg);
        else exit(2);
    }
    if (optind < argc) fail("'%s' is one argument too many", argv[optind]);
    if (!server.sin_port) fail("--address is needed");
    if (run.seconds + run.warmup > SECONDS_MAX) fail("at most %d s with the warm-up", SECONDS_MAX);
    if (run.value_bytes > protocol->value_bytes_max)
        fail("--value-bytes: at most %d with %s", protocol->value_bytes_max, protocol->name);
    if (protocol->once && run.in_flight > 1) fail("--in-flight: a connection that takes one request has one in flight");
    if (run.rate && run.operation == FILL) fail("--rate is for set, get and txn");
    if (run.operation == TXN && (run.keys < 2 || protocol == &RESP || protocol == &ZOOKEEPER))
        fail("txn needs two keys, and the protocol lines, once or etcd");
    if (run.operation == FILL) run.warmup = 0; /* every write counts */
    for (int i = 0; i < run.value_bytes; i++) run.value[i] = "0123456789abcdefghijklmnopqrstuv"[random_u64() % 32];
}

/* Latencies know only what was answered. So what has waited for long at the end is an error, and so is a connection that
 * may ask and has nothing in flight: a run in which the server hung must not pass for a slow one. */
static void count_stalled(const struct connection *connections, uint64_t now) {
    for (int i = 0; i < run.connections; i++) {
        const struct connection *c = &connections[i];
        uint64_t stalled = c->fd >= 0 && !c->in_flight && !protocol->once;
        for (int slot = 0; c->fd >= 0 && slot < SLOTS; slot++)
            stalled += c->sent_at[slot] && now - c->sent_at[slot] > (uint64_t)STALL_SECONDS * 1000000000u;
        if (stalled) note_error("stalled", 7);
        error_count += stalled;
    }
}

static int timer_of_arrivals(int epoll) {
    int timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
    long every = (long)(1e9 / run.rate) > TIMER_NS_MIN ? (long)(1e9 / run.rate) : TIMER_NS_MIN;
    struct itimerspec spec = {{every / 1000000000, every % 1000000000}, {0, TIMER_NS_MIN}};
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    if (timer < 0 || timerfd_settime(timer, 0, &spec, NULL) || epoll_ctl(epoll, EPOLL_CTL_ADD, timer, &event))
        fail("timerfd: %s", strerror(errno));
    return timer;
}

/* Serve all connections that have something, and return how many were lost. */
static int serve_ready(int epoll, struct connection *connections, int timer) {
    struct epoll_event events[64];
    int count = epoll_wait(epoll, events, 64, 10), lost = 0;
    for (int i = 0; i < count; i++) {
        struct connection *c = events[i].data.ptr;
        uint64_t expirations;
        if (!c) {
            if (read(timer, &expirations, sizeof expirations) < 0 && errno != EAGAIN) fail("timer: %s", strerror(errno));
            continue;
        }
        serve(epoll, c);
        lost += c->fd < 0; /* a closed one has no more events */
    }
    if (run.rate) begin_arrivals(epoll, connections, clock_ns());
    return lost;
}

/* Wait for the answers to what was due until the end; what does not come is an error. */
static void drain(int epoll, struct connection *connections, int timer, uint64_t until) {
    no_arrivals_after = until;
    uint64_t give_up = until + (uint64_t)STALL_SECONDS * 1000000000u;
    for (uint64_t now = clock_ns(); now < give_up && (answered < arrived || is_due(now)); now = clock_ns())
        serve_ready(epoll, connections, timer);
    uint64_t asked = (uint64_t)((double)(until - open_from) * run.rate / 1e9);
    if (answered + 1 < asked) { /* the last one may be due at `until` */
        note_error("not answered in time", 20);
        error_count += asked - answered;
    }
}

/* Serve the connections until the time is over, all is filled, or nobody is left to ask. */
static void drive(int epoll, struct connection *connections) {
    int open = run.connections, timer = run.rate ? timer_of_arrivals(epoll) : -1;
    uint64_t from = clock_ns() + (uint64_t)(run.warmup * 1e9), until = from + (uint64_t)(run.seconds * 1e9);
    struct cpu cpu_from = {0}, cpu_to;
    uint64_t now = open_from = clock_ns();
    do {
        if (!measuring && now >= from) {
            measuring = true;
            measured_from = run.operation == FILL ? 0 : now;
            from = now;
            until = now + (uint64_t)(run.seconds * 1e9);
            cpu_from = cpu_now();
        }
        open -= serve_ready(epoll, connections, timer);
        now = clock_ns();
    } while (now < until && open && !(run.operation == FILL && answered == (uint64_t)run.keys));
    cpu_to = cpu_now();
    if (run.rate) drain(epoll, connections, timer, until);
    else if (run.operation != FILL) count_stalled(connections, now);
    else error_count += (uint64_t)run.keys - answered;
    if (!ok_count) fail("nothing succeeded: %s", first_error[0] ? first_error : "no answer came");
    print_result((double)(now - from) / 1e9, &cpu_from, &cpu_to);
}

/* As many open files as the machine lets us have: a connection is one. */
static void raise_open_files(void) {
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files)) fail("getrlimit: %s", strerror(errno));
    files.rlim_cur = files.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &files)) fail("setrlimit: %s", strerror(errno));
}

int main(int argc, char **argv) {
    read_options(argc, argv);
    raise_open_files();
    alarm((unsigned)(run.seconds + run.warmup) + STARTUP_SECONDS_MAX);
    int epoll = epoll_create1(0);
    struct connection *connections = calloc((size_t)run.connections, sizeof *connections);
    if (epoll < 0 || !connections) fail("cannot start: %s", strerror(errno));
    for (int i = 0; i < run.connections; i++) connect_to_server(epoll, &connections[i]);
    drive(epoll, connections);
    for (int i = 0; protocol->leave && i < run.connections; i++) {
        if (connections[i].fd < 0) continue;
        protocol->leave(&connections[i]);
        flush(epoll, &connections[i]);
    }
    return error_count ? 1 : 0;
}

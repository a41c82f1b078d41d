/* load: a closed-loop load generator that costs so little CPU that it can share a machine with what it measures.
 *
 * One thread and one epoll loop serve C connections, each of which keeps P requests in flight: as soon as an answer is
 * there, the next request leaves. Latency runs from a request's queueing here to its answer's arrival. Requests draw a
 * random key of the keyspace; `fill` instead writes every key once and ends. Protocols:
 *
 *   lines   kvraft's line protocol, opened with KEEP so that the connection stays
 *   etcd    etcd v3's KV/Put and KV/Range: gRPC, that is HTTP/2 (RFC 9113), framed by hand
 *
 * It speaks to loopback addresses only, ends by itself, and prints one line of JSON:
 *
 *   load --protocol lines --address 127.0.0.1:8080 --connections 64 --in-flight 1 --seconds 8 --pids 11,12,13
 *
 * Build: cc -O2 -o load load.c load_etcd.c
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

static const char *const OPERATIONS[] = {"set", "get", "fill"};

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

/* ---- kvraft's line protocol ---- */

static void lines_greet(struct connection *c) { put(&c->out, "KEEP\n", 5); }

static bool lines_ask(struct connection *c, uint64_t now) {
    char key[KEY_BYTES + 1];
    if (!next_key(key)) return false;
    put(&c->out, run.operation == GET ? "GET " : "SET ", 4);
    put(&c->out, key, KEY_BYTES);
    if (run.operation != GET) {
        put_u8(&c->out, ' ');
        put(&c->out, run.value, (size_t)run.value_bytes);
    }
    put_u8(&c->out, '\n');
    c->sent_at[c->asked++ % SLOTS] = now;
    c->in_flight++;
    return true;
}

static bool starts_with(const char *text, size_t size, const char *prefix) {
    return size >= strlen(prefix) && !memcmp(text, prefix, strlen(prefix));
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
        bool good = run.operation == GET ? starts_with(line, size, "{\"value\":\"") : ok;
        complete(c, c->replied++ % SLOTS, now, good, line, size);
    }
    return true;
}

const struct protocol LINES = {"lines", lines_greet, lines_ask, lines_reply};
static const struct protocol *protocol = &LINES;

/* ---- connections ---- */

static void watch(int epoll, struct connection *c, int how, bool writable) {
    struct epoll_event event = {.events = EPOLLIN | (writable ? EPOLLOUT : 0), .data.ptr = c};
    if (epoll_ctl(epoll, how, c->fd, &event)) fail("epoll_ctl: %s", strerror(errno));
    c->write_watched = writable;
}

/* Keep the connection's requests in flight and its bytes moving. */
static void push(int epoll, struct connection *c, uint64_t now) {
    while (c->greeted && c->in_flight < c->in_flight_max && protocol->ask(c, now)) {}
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

static void connect_to_server(int epoll, struct connection *c) {
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (c->fd < 0) fail("socket: %s", strerror(errno));
    if (connect(c->fd, (struct sockaddr *)&server, sizeof server)) fail("%s: %s", run.authority, strerror(errno));
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    if (fcntl(c->fd, F_SETFL, O_NONBLOCK)) fail("fcntl: %s", strerror(errno));
    c->in_flight_max = run.in_flight;
    watch(epoll, c, EPOLL_CTL_ADD, false);
    protocol->greet(c);
    push(epoll, c, clock_ns());
}

static void serve(int epoll, struct connection *c) {
    ssize_t got = recv(c->fd, reserve(&c->in, READ_BYTES), READ_BYTES, 0);
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
    printf("\"p50_ms\":%.3f,\"p99_ms\":%.3f,\"server_cores\":[", percentile_ms(50), percentile_ms(99));
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
        {"value-bytes", 1, 0, 'v'}, {"pids", 1, 0, 'i'}, {0}};
    const char *const protocols[] = {LINES.name, ETCD.name};
    for (int o; (o = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (o == 'p') protocol = choice("protocol", optarg, protocols, 2) ? &ETCD : &LINES;
        else if (o == 'o') run.operation = (enum operation)choice("op", optarg, OPERATIONS, 3);
        else if (o == 'a') read_address(optarg);
        else if (o == 'c') run.connections = (int)number("connections", optarg, 1, CONNECTIONS_MAX);
        else if (o == 'f') run.in_flight = (int)number("in-flight", optarg, 1, IN_FLIGHT_MAX);
        else if (o == 's') run.seconds = (double)number("seconds", optarg, 1, SECONDS_MAX);
        else if (o == 'w') run.warmup = (double)number("warmup", optarg, 0, SECONDS_MAX);
        else if (o == 'k') run.keys = number("keys", optarg, 1, KEYS_MAX);
        else if (o == 'v') run.value_bytes = (int)number("value-bytes", optarg, 1, VALUE_BYTES_MAX);
        else if (o == 'i') read_pids(optarg);
        else exit(2);
    }
    if (optind < argc) fail("'%s' is one argument too many", argv[optind]);
    if (!server.sin_port) fail("--address is needed");
    if (run.seconds + run.warmup > SECONDS_MAX) fail("at most %d s with the warm-up", SECONDS_MAX);
    if (run.operation == FILL) run.warmup = 0; /* every write counts */
    for (int i = 0; i < run.value_bytes; i++) run.value[i] = "0123456789abcdefghijklmnopqrstuv"[random_u64() % 32];
}

/* Latencies know only what was answered. So what has waited for long at the end is an error, and so is a connection that
 * may ask and has nothing in flight: a run in which the server hung must not pass for a slow one. */
static void count_stalled(const struct connection *connections, uint64_t now) {
    for (int i = 0; i < run.connections; i++) {
        const struct connection *c = &connections[i];
        uint64_t stalled = c->fd >= 0 && !c->in_flight;
        for (int slot = 0; c->fd >= 0 && slot < SLOTS; slot++)
            stalled += c->sent_at[slot] && now - c->sent_at[slot] > (uint64_t)STALL_SECONDS * 1000000000u;
        if (stalled) note_error("stalled", 7);
        error_count += stalled;
    }
}

/* Serve the connections until the time is over, all is filled, or nobody is left to ask. */
static void drive(int epoll, const struct connection *connections) {
    int open = run.connections;
    uint64_t from = clock_ns() + (uint64_t)(run.warmup * 1e9), until = from + (uint64_t)(run.seconds * 1e9);
    struct cpu cpu_from = {0}, cpu_to;
    uint64_t now = clock_ns();
    do {
        if (!measuring && now >= from) {
            measuring = true;
            measured_from = run.operation == FILL ? 0 : now;
            from = now;
            until = now + (uint64_t)(run.seconds * 1e9);
            cpu_from = cpu_now();
        }
        struct epoll_event events[64];
        int count = epoll_wait(epoll, events, 64, 10);
        for (int i = 0; i < count; i++) {
            struct connection *c = events[i].data.ptr;
            serve(epoll, c);
            open -= c->fd < 0; /* a closed one has no more events */
        }
        now = clock_ns();
    } while (now < until && open && !(run.operation == FILL && answered == (uint64_t)run.keys));
    cpu_to = cpu_now();
    if (run.operation != FILL) count_stalled(connections, now);
    else error_count += (uint64_t)run.keys - answered;
    if (!ok_count) fail("nothing succeeded: %s", first_error[0] ? first_error : "no answer came");
    print_result((double)(now - from) / 1e9, &cpu_from, &cpu_to);
}

int main(int argc, char **argv) {
    read_options(argc, argv);
    alarm((unsigned)(run.seconds + run.warmup) + STARTUP_SECONDS_MAX);
    int epoll = epoll_create1(0);
    struct connection *connections = calloc((size_t)run.connections, sizeof *connections);
    if (epoll < 0 || !connections) fail("cannot start: %s", strerror(errno));
    for (int i = 0; i < run.connections; i++) connect_to_server(epoll, &connections[i]);
    drive(epoll, connections);
    return error_count ? 1 : 0;
}

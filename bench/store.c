/* bench-store SPEC N CLIENTS IN_FLIGHT: how many events CLIENTS programs append to event stores at the same time.
 *
 * Each is a process with a handle of its own, which appends commands of one event like those of the platform's log,
 * IN_FLIGHT at once. `{}` in SPEC becomes the client's number: a log for each, N appends each. Without it they contend
 * on one log until it has N appends for each of them: who was overtaken reads the news and tries again, and after
 * HOLD_AFTER conflicts in a row holds the log, as the runtime does. Prints {"events_per_s":…,"conflicts":…,
 * "waits_us":[…],"accepted":[…]}: each client's longest, and how many of its commands were accepted. Not installed;
 * bench/run calls it. */
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/own.h"
#include "base/random.h"
#include "store/store.h"

/* An InstanceStatusChange: the commonest event of a log. */
#define PAYLOAD                                                                                                        \
    "{\"instanceId\":\"01900000-0000-7000-8000-000000000011\",\"status\":\"running\",\"health\":\"NOMINAL\","          \
    "\"cause\":\"\",\"bootId\":\"0b5a2f6e-6a1e-4c58-9b7e-4c6f4c2b1a90/1\",\"reportSeq\":17}"
enum { N_MAX = 100000, CLIENTS_MAX = 32, IN_FLIGHT_MAX = 256, HOLD_AFTER = 3, PATIENCE_S = 30 };

/* Of all clients: in shared memory. */
struct shared {
    _Atomic uint64_t appends, conflicts;
    int64_t longest_us[CLIENTS_MAX]; /* from a command until it is in the log, conflicts and all */
    uint64_t accepted[CLIENTS_MAX];
};

struct client {
    const char *spec;
    uint64_t number, n;
    size_t in_flight;
    bool contends;
    uint64_t appends_max; /* of all, when they contend */
    struct shared *shared;
    struct store *store;
    struct store_pos end; /* as far as it has read */
};

static enum err append_once(struct client *c, struct errinfo *err)
{
    struct store_event events[IN_FLIGHT_MAX];
    struct store_group groups[IN_FLIGHT_MAX];
    struct store_record records[IN_FLIGHT_MAX];
    size_t taken = 0;
    for (size_t k = 0; k < c->in_flight; k++) {
        events[k] = (struct store_event){.type = STR("InstanceStatusChange"), .payload = STR(PAYLOAD)};
        random_bytes(&events[k].id, sizeof(events[k].id));
        groups[k] = (struct store_group){&events[k], 1};
    }
    enum err rc = store_append_many(c->store, c->end, groups, c->in_flight, records, &taken, err);
    if (rc == OK && taken < c->in_flight)
        rc = err_set(err, ERR_LIMIT, "only %zu of %zu commands fit", taken, c->in_flight);
    if (rc == OK)
        c->end = (struct store_pos){records[taken - 1].seq, records[taken - 1].e.sum};
    return rc;
}

/* What others have appended. */
static enum err read_news(struct client *c, struct errinfo *err)
{
    AUTO(store_batch) struct store_batch b = {0};
    enum err rc = store_read(c->store, c->end.seq, 0, ENVELOPE_BATCH_SIZE_MAX, &b, err);
    if (rc == OK && b.n > 0)
        c->end = (struct store_pos){b.items[b.n - 1].seq, b.items[b.n - 1].e.sum};
    return rc;
}

/* On a machine that is busy enough servers elect a new leader for no other reason. */
static enum err read_patiently(struct client *c, struct errinfo *err)
{
    int64_t until_us = clock_mono_us() + (int64_t)PATIENCE_S * 1000000;
    enum err rc = read_news(c, err);
    while (rc == ERR_UNAVAILABLE && clock_mono_us() < until_us)
        rc = read_news(c, err);
    return rc;
}

/* One command, until it is in the log. */
static enum err append_patiently(struct client *c, struct errinfo *err)
{
    int64_t from_us = clock_mono_us();
    enum err rc = append_once(c, err);
    for (int conflicts = 1; rc == ERR_CONFLICT; conflicts++) {
        atomic_fetch_add(&c->shared->conflicts, 1);
        rc = conflicts < HOLD_AFTER ? OK : store_hold(c->store, err);
        if (rc == OK)
            rc = read_patiently(c, err);
        if (rc == OK)
            rc = append_once(c, err);
    }
    int64_t took_us = clock_mono_us() - from_us;
    if (took_us > c->shared->longest_us[c->number])
        c->shared->longest_us[c->number] = took_us;
    return rc;
}

static enum err append_all(struct client *c, struct errinfo *err)
{
    enum err rc = OK;
    for (uint64_t i = 0; rc == OK && i < (c->contends ? c->appends_max : c->n); i++) {
        if (c->contends && atomic_fetch_add(&c->shared->appends, 1) >= c->appends_max)
            break;
        rc = append_patiently(c, err);
        c->shared->accepted[c->number] += rc == OK;
    }
    return rc;
}

static enum err open_own(struct client *c, struct errinfo *err)
{
    const char *mark = strstr(c->spec, "{}");
    auto_free char *own = mark == NULL ? mem_strdup(c->spec)
                                       : mem_printf("%.*s%llu%s", (int)(mark - c->spec), c->spec,
                                                    (unsigned long long)c->number, mark + 2);
    enum err rc = store_open(own, NULL, &c->store, NULL, err);
    if (rc == OK)
        rc = store_end(c->store, &c->end, err);
    return rc;
}

/* In a process of its own: say that the log is open, wait for the start, append. */
static int client(struct client *c, int open_fd, int start_fd)
{
    struct errinfo err = {0};
    char one = '1';
    enum err rc = open_own(c, &err);
    if (rc == OK)
        rc = append_patiently(c, &err); /* what is asked once a connection is asked */
    c->shared->longest_us[c->number] = 0;
    bool is_started = write(open_fd, &one, 1) == 1 && read(start_fd, &one, 1) == 0;
    if (rc == OK && is_started)
        rc = append_all(c, &err);
    store_close(c->store);
    if (rc != OK)
        (void)fprintf(stderr, "bench-store: %s\n", err.msg);
    return rc == OK ? 0 : 1;
}

static void tell(const struct shared *shared, uint64_t clients, double events, int64_t took_us)
{
    (void)printf("{\"events_per_s\":%.1f,\"conflicts\":%llu,\"waits_us\":[", events * 1e6 / (double)took_us,
                 (unsigned long long)shared->conflicts);
    for (uint64_t i = 0; i < clients; i++)
        (void)printf("%s%lld", i > 0 ? "," : "", (long long)shared->longest_us[i]);
    (void)printf("],\"accepted\":[");
    for (uint64_t i = 0; i < clients; i++)
        (void)printf("%s%llu", i > 0 ? "," : "", (unsigned long long)shared->accepted[i]);
    (void)printf("]}\n");
}

int main(int argc, char **argv)
{
    uint64_t n = 0, clients = 0, in_flight = 0;
    int open_fds[2], start_fds[2], failed = 0;
    if (argc != 5 || !str_parse_u64(str_from(argv[2]), N_MAX, &n) ||
        !str_parse_u64(str_from(argv[3]), CLIENTS_MAX, &clients) ||
        !str_parse_u64(str_from(argv[4]), IN_FLIGHT_MAX, &in_flight) || clients == 0 || in_flight == 0) {
        (void)fprintf(stderr, "usage: bench-store SPEC N CLIENTS IN_FLIGHT\n");
        return 2;
    }
    struct shared *shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED || pipe(open_fds) != 0 || pipe(start_fds) != 0)
        return 1;
    for (uint64_t i = 0; i < clients; i++) {
        struct client c = {argv[1], i,    n,  (size_t)in_flight, strstr(argv[1], "{}") == NULL, n * clients,
                           shared,  NULL, {0}};
        if (fork() == 0) {
            (void)close(start_fds[1]);
            _exit(client(&c, open_fds[1], start_fds[0]));
        }
    }
    (void)close(open_fds[1]);
    char one;
    for (uint64_t i = 0; i < clients; i++)
        failed += read(open_fds[0], &one, 1) != 1;
    atomic_store(&shared->conflicts, 0);
    int64_t from_us = clock_mono_us();
    (void)close(start_fds[1]);
    for (uint64_t i = 0; i < clients; i++) {
        int status = 0;
        failed += wait(&status) < 0 || status != 0;
    }
    tell(shared, clients, (double)(n * clients * in_flight), clock_mono_us() - from_us);
    return failed == 0 ? 0 : 1;
}

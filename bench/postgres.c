/* bench-postgres SPEC N CLIENTS IN_FLIGHT: how many events CLIENTS programs append to a postgres store, a log each, at
 * the same time.
 *
 * Each is a process with a handle of its own: N appends of IN_FLIGHT commands of one event like those of the platform's
 * log. SPEC lacks the name of the log, which is put behind it. Prints {"events_per_s":…}. Not installed;
 * bench/run calls it. */
#include <stdio.h>
#include <string.h>
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
enum { N_MAX = 100000, CLIENTS_MAX = 32, IN_FLIGHT_MAX = 256 };

static enum err append_all(struct store *s, struct store_pos end, uint64_t n, size_t in_flight, struct errinfo *err)
{
    struct store_event events[IN_FLIGHT_MAX];
    struct store_group groups[IN_FLIGHT_MAX];
    struct store_record records[IN_FLIGHT_MAX];
    size_t taken = 0;
    for (uint64_t i = 0; i < n; i++) {
        for (size_t k = 0; k < in_flight; k++) {
            events[k] = (struct store_event){.type = STR("InstanceStatusChange"), .payload = STR(PAYLOAD)};
            random_bytes(&events[k].id, sizeof(events[k].id));
            groups[k] = (struct store_group){&events[k], 1};
        }
        enum err rc = store_append_many(s, end, groups, in_flight, records, &taken, err);
        if (rc == OK && taken < in_flight)
            rc = err_set(err, ERR_LIMIT, "only %zu of %zu commands fit", taken, in_flight);
        if (rc != OK)
            return rc;
        end = (struct store_pos){records[taken - 1].seq, records[taken - 1].e.sum};
    }
    return OK;
}

/* In a process of its own: say that the log is open, wait for the start, append. */
static int client(const char *spec, uint64_t number, uint64_t n, size_t in_flight, int open_fd, int start_fd)
{
    auto_free char *own = mem_printf("%s;log=bench-%llu", spec, (unsigned long long)number);
    struct store *s = NULL;
    struct store_pos end = {0};
    struct errinfo err = {0};
    char one = '1';
    enum err rc = store_open(own, NULL, &s, NULL, &err);
    if (rc == OK)
        rc = store_end(s, &end, &err);
    if (rc == OK)
        rc = append_all(s, end, 1, 1, &err); /* what is asked once a connection is asked */
    if (rc == OK)
        rc = store_end(s, &end, &err);
    bool is_started = write(open_fd, &one, 1) == 1 && read(start_fd, &one, 1) == 0;
    if (rc == OK && is_started)
        rc = append_all(s, end, n, in_flight, &err);
    store_close(s);
    if (rc != OK)
        (void)fprintf(stderr, "bench-postgres: %s\n", err.msg);
    return rc == OK ? 0 : 1;
}

int main(int argc, char **argv)
{
    uint64_t n = 0, clients = 0, in_flight = 0;
    int open_fds[2], start_fds[2], failed = 0;
    if (argc != 5 || !str_parse_u64(str_from(argv[2]), N_MAX, &n) ||
        !str_parse_u64(str_from(argv[3]), CLIENTS_MAX, &clients) ||
        !str_parse_u64(str_from(argv[4]), IN_FLIGHT_MAX, &in_flight) || clients == 0 || in_flight == 0) {
        (void)fprintf(stderr, "usage: bench-postgres SPEC N CLIENTS IN_FLIGHT\n");
        return 2;
    }
    if (pipe(open_fds) != 0 || pipe(start_fds) != 0)
        return 1;
    for (uint64_t i = 0; i < clients; i++) {
        if (fork() == 0) {
            (void)close(start_fds[1]);
            _exit(client(argv[1], i, n, in_flight, open_fds[1], start_fds[0]));
        }
    }
    (void)close(open_fds[1]);
    char one;
    for (uint64_t i = 0; i < clients; i++)
        failed += read(open_fds[0], &one, 1) != 1;
    int64_t from_us = clock_mono_us();
    (void)close(start_fds[1]);
    for (uint64_t i = 0; i < clients; i++) {
        int status = 0;
        failed += wait(&status) < 0 || status != 0;
    }
    int64_t took_us = clock_mono_us() - from_us;
    (void)printf("{\"events_per_s\":%.1f}\n", (double)(n * clients * in_flight) * 1e6 / (double)took_us);
    return failed == 0 ? 0 : 1;
}

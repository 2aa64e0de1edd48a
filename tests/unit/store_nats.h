#pragma once
/* unit/store_nats.h - a nats-server of its own for a test, and a way to it that cuts connections. Both are processes
 * that die with the test. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct test_nats_faults;
struct test_nats {
    char dir[64];
    pid_t server, relay;
    int relay_port;
    char address[64], monitor[64];   /* "127.0.0.1:4222", "http://…" */
    struct test_nats_faults *faults; /* shared with the relay */
};

/* Start both; before anything of libnats runs in this process. more: lines for its configuration; sync: `always`, or
 * another value of sync_interval. False: there is no nats-server on this machine, and that was said. */
bool test_nats_start(struct test_nats *n, const char *sync, const char *more);
void test_nats_stop(struct test_nats *n);
/* From now on one append in `one_in` loses its connection: before the server has it, after, or it comes late. 0: none
 */
void test_nats_cut(struct test_nats *n, uint64_t seed, uint32_t one_in);
/* Wait until the server has what was held back, and some 20 ms to take it. */
void test_nats_await_late(const struct test_nats *n);

/* One of several servers that are a cluster. */
struct test_nats_member {
    char dir[64];
    pid_t pid; /* 0: not running */
    int port, cluster_port;
};
/* Start n. more: lines for the configuration of each. False: there is no nats-server, and that was said. */
bool test_nats_cluster_start(struct test_nats_member *members, size_t n, const char *more);
void test_nats_cluster_stop(struct test_nats_member *members, size_t n);
void test_nats_member_kill(struct test_nats_member *m);
/* Again, with what it had on disk. */
void test_nats_member_start(struct test_nats_member *m);

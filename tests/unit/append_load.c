/* append_load SPEC WHO: what a replica of the control plane asks of a log, without end: read the news, append one event
 * behind them. A test plays the world around it. It ends when its stdin does, or when the log is not the one it read.
 *
 * Each line of its stdout is a word and its figures; times are microseconds of the monotonic clock:
 *   saw SEQ ID          an event of the log, in its order; also its own
 *   ack SEQ N US        its N-th event is in the log: a replica would tell somebody
 *   again N WHY         the answer was lost, and the event is not there: it is decided anew
 *   away WHY            nothing was written; it is tried again soon
 *   stopped CODE WHY    it goes on no more */
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/own.h"
#include "base/random.h"
#include "store/store.h"

/* How soon it tries again. */
enum { AGAIN_MS = 5, RECORDS_MAX = 1000 };

struct load {
    struct store *store;
    const char *who;
    struct store_pos at;
    uint64_t n;
    bool must_reopen, is_over;
};

static bool is_asked_to_end(int wait_ms)
{
    struct pollfd fd = {.fd = STDIN_FILENO, .events = POLLIN};
    return poll(&fd, 1, wait_ms) != 0;
}

static void saw(struct load *l, const struct store_record *r)
{
    char id[ID_TEXT_SIZE];
    id_format(r->e.id, id);
    (void)printf("saw %" PRIu64 " %s\n", r->seq, id);
    l->at = (struct store_pos){r->seq, r->e.sum};
}

static void stop(struct load *l, enum err rc, const char *why)
{
    (void)printf("stopped %s %s\n", err_name(rc), why);
    l->is_over = true;
}

static enum err read_news(struct load *l, struct errinfo *err)
{
    AUTO(store_batch) struct store_batch b = {0};
    enum err rc = store_read(l->store, l->at.seq, RECORDS_MAX, 0, &b, err);
    if (rc == OK && b.after.sum != l->at.sum)
        rc = err_set(err, ERR_CORRUPT, "seq %" PRIu64 " is another event than it was", l->at.seq);
    for (size_t i = 0; rc == OK && i < b.n; i++)
        saw(l, &b.items[i]);
    return rc;
}

static void acked(struct load *l, uint64_t seq)
{
    (void)printf("ack %" PRIu64 " %" PRIu64 " %" PRId64 "\n", seq, l->n, clock_mono_us());
    l->n++;
}

/* As app/append.c looks back. */
static enum err look_back(struct load *l, struct id id, const char *lost, struct errinfo *err)
{
    uint64_t seq = 0;
    for (;;) {
        enum err rc = store_reopen(l->store, NULL, err);
        if (rc == OK)
            rc = store_find_id(l->store, l->at.seq, id, &seq, err);
        if (rc == OK)
            acked(l, seq);
        else if (rc == ERR_NOT_FOUND)
            (void)printf("again %" PRIu64 " %s\n", l->n, lost);
        else if (rc == ERR_UNAVAILABLE || rc == ERR_IO)
            (void)printf("away %s\n", err->msg);
        if ((rc != ERR_UNAVAILABLE && rc != ERR_IO) || is_asked_to_end(AGAIN_MS))
            return rc == ERR_NOT_FOUND ? OK : rc;
    }
}

static enum err append_one(struct load *l, struct errinfo *err)
{
    auto_free char *payload = mem_printf("{\"who\":\"%s\",\"n\":%" PRIu64 "}", l->who, l->n);
    struct store_event e = {.type = STR("Loaded"), .payload = str_from(payload)};
    struct store_record r = {0};
    random_bytes(&e.id, sizeof(e.id));
    enum err rc = store_append(l->store, l->at, &e, 1, &r, err);
    if (rc == OK) {
        acked(l, r.seq);
        saw(l, &r);
    } else if (rc == ERR_IO) {
        struct errinfo lost = *err;
        rc = look_back(l, e.id, lost.msg, err);
    }
    return rc == ERR_CONFLICT ? OK : rc;
}

static void step(struct load *l)
{
    struct errinfo err = {0};
    enum err rc = l->must_reopen ? store_reopen(l->store, NULL, &err) : OK;
    l->must_reopen = rc != OK;
    if (rc == OK)
        rc = read_news(l, &err);
    bool has_read = rc == OK;
    if (has_read)
        rc = append_one(l, &err);
    if (rc == ERR_UNAVAILABLE || rc == ERR_IO) {
        l->must_reopen = !has_read; /* as app/input.c; an append that was refused is no reason */
        (void)printf("away %s\n", err.msg);
        (void)is_asked_to_end(AGAIN_MS);
    } else if (rc != OK) {
        stop(l, rc, err.msg);
    }
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        (void)fprintf(stderr, "usage: append_load SPEC WHO\n");
        return 2;
    }
    struct load l = {.who = argv[2]};
    struct errinfo err = {0};
    (void)setvbuf(stdout, NULL, _IOLBF, 0);
    enum err rc = store_open(argv[1], &(struct store_options){.mode = STORE_APPEND}, &l.store, NULL, &err);
    if (rc != OK)
        stop(&l, rc, err.msg);
    while (!l.is_over && !is_asked_to_end(0))
        step(&l);
    store_close(l.store);
    return l.is_over ? 1 : 0;
}

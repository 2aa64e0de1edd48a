/* bench-append FOLDER N: what one append to an event log costs, against a write and an fdatasync of the same bytes; and
 * what IN_FLIGHT commands cost in one append.
 *
 * N pairs, in turn, each of one event like those of the platform's own log; all files lie in FOLDER, so on one disk.
 * With every EVERY-th pair one append of IN_FLIGHT commands, each of one such event, to another log. Prints
 * {"ours_us":[…],"plain_us":[…],"many_us":[…],"in_flight":…,"bytes":…}. Not installed; bench/run calls it. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/own.h"
#include "base/random.h"
#include "store/store.h"

/* An InstanceStatusChange: the commonest event of a log. */
#define PAYLOAD                                                                                                        \
    "{\"instanceId\":\"01900000-0000-7000-8000-000000000011\",\"status\":\"running\",\"health\":\"NOMINAL\","          \
    "\"cause\":\"\",\"bootId\":\"0b5a2f6e-6a1e-4c58-9b7e-4c6f4c2b1a90/1\",\"reportSeq\":17}"
enum { N_MAX = 100000, IN_FLIGHT = 64, EVERY = 4 };

struct bench {
    struct store *store, *many;
    struct store_pos end, many_end;
    int plain_fd;
    off_t plain_at;
    struct buf line; /* that the log has got last */
};

static enum err append_ours(struct bench *b, int64_t *ret_us, struct errinfo *err)
{
    struct store_event event = {.type = STR("InstanceStatusChange"), .payload = STR(PAYLOAD)};
    struct store_record record;
    random_bytes(&event.id, sizeof(event.id));
    int64_t from_us = clock_mono_us();
    enum err rc = store_append(b->store, b->end, &event, 1, &record, err);
    *ret_us = clock_mono_us() - from_us;
    if (rc != OK)
        return rc;
    buf_clear(&b->line);
    b->end = (struct store_pos){record.seq, envelope_encode(&record.e, b->end.sum, &b->line)};
    return OK;
}

static enum err append_plain(struct bench *b, int64_t *ret_us, struct errinfo *err)
{
    int64_t from_us = clock_mono_us();
    ssize_t n = pwrite(b->plain_fd, b->line.ptr, b->line.len, b->plain_at);
    if (n != (ssize_t)b->line.len || fdatasync(b->plain_fd) != 0)
        return err_set_os(err, ERR_IO, errno, "write the plain file");
    *ret_us = clock_mono_us() - from_us;
    b->plain_at += n;
    return OK;
}

static enum err append_many(struct bench *b, int64_t *ret_us, struct errinfo *err)
{
    struct store_event events[IN_FLIGHT];
    struct store_group groups[IN_FLIGHT];
    struct store_record records[IN_FLIGHT];
    size_t taken = 0;
    for (size_t i = 0; i < IN_FLIGHT; i++) {
        events[i] = (struct store_event){.type = STR("InstanceStatusChange"), .payload = STR(PAYLOAD)};
        random_bytes(&events[i].id, sizeof(events[i].id));
        groups[i] = (struct store_group){&events[i], 1};
    }
    int64_t from_us = clock_mono_us();
    enum err rc = store_append_many(b->many, b->many_end, groups, IN_FLIGHT, records, &taken, err);
    *ret_us = clock_mono_us() - from_us;
    if (rc == OK && taken < IN_FLIGHT)
        rc = err_set(err, ERR_LIMIT, "only %zu of %d commands fit", taken, IN_FLIGHT);
    if (rc == OK)
        b->many_end = (struct store_pos){records[taken - 1].seq, records[taken - 1].e.sum};
    return rc;
}

static enum err open_all(struct bench *b, const char *folder, struct errinfo *err)
{
    auto_free char *spec = mem_printf("files;path=%s/log", folder), *plain = mem_printf("%s/plain", folder);
    auto_free char *many = mem_printf("files;path=%s/many", folder);
    enum err rc = store_open(spec, NULL, &b->store, NULL, err);
    if (rc == OK)
        rc = store_end(b->store, &b->end, err);
    if (rc == OK)
        rc = store_open(many, NULL, &b->many, NULL, err);
    if (rc != OK)
        return rc;
    b->plain_fd = open(plain, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    return b->plain_fd >= 0 ? OK : err_set_os(err, ERR_IO, errno, "open '%s'", plain);
}

static enum err run(struct bench *b, uint64_t n, json_t *ours, json_t *plain, json_t *many, struct errinfo *err)
{
    for (uint64_t i = 0; i < n; i++) {
        int64_t ours_us = 0, plain_us = 0, many_us = 0;
        enum err rc = append_ours(b, &ours_us, err);
        if (rc == OK)
            rc = append_plain(b, &plain_us, err);
        if (rc == OK && i % EVERY == 0)
            rc = append_many(b, &many_us, err);
        if (rc != OK)
            return rc;
        json_array_append_new(ours, json_integer(ours_us));
        json_array_append_new(plain, json_integer(plain_us));
        if (i % EVERY == 0)
            json_array_append_new(many, json_integer(many_us));
    }
    return OK;
}

int main(int argc, char **argv)
{
    struct bench b = {.plain_fd = -1};
    struct errinfo err = {0};
    uint64_t n = 0;
    if (argc != 3 || !str_parse_u64(str_from(argv[2]), N_MAX, &n)) {
        (void)fprintf(stderr, "usage: bench-append FOLDER N\n");
        return 2;
    }
    json_t *ours = json_array(), *plain = json_array(), *many = json_array();
    enum err rc = open_all(&b, argv[1], &err);
    if (rc == OK)
        rc = run(&b, n, ours, plain, many, &err);
    auto_json json_t *doc = json_pack("{s:o,s:o,s:o,s:i,s:I}", "ours_us", ours, "plain_us", plain, "many_us", many,
                                      "in_flight", IN_FLIGHT, "bytes", (json_int_t)b.line.len);
    auto_free char *text = json_format(doc);
    store_close(b.store);
    store_close(b.many);
    buf_done(&b.line);
    if (b.plain_fd >= 0)
        (void)close(b.plain_fd);
    if (rc != OK) {
        (void)fprintf(stderr, "bench-append: %s\n", err.msg);
        return err_exit_code(rc);
    }
    (void)printf("%s\n", text);
    return 0;
}

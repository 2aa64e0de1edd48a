/* slipform eventlog cat, export: what a log holds, for people and for other programs. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/own.h"
#include "cli/eventlog.h"

/* A fifth of a second: what a person does not notice (chosen). */
enum { FOLLOW_MS = 200 };

/* --to of cat and export is a number. *ret 0: none was given. False: it is no number, and that was said. */
static bool until_of(struct cli *c, uint64_t *ret)
{
    const char *to = cli_text(c, "to");
    *ret = 0;
    if (to == NULL || (str_parse_u64(str_from(to), INT64_MAX, ret) && *ret > 0))
        return true;
    (void)cli_failf(c, ERR_INVALID, "'--to' is the number of a record here, not '%s'", to);
    return false;
}

/* ---- cat ---- */

struct cat {
    struct cli *c;
    struct store *store;
    const char *type;
    uint64_t after, until, printed_n;
    bool is_list; /* --json without --follow: one document */
    struct buf line;
};

static void print(struct cat *k, const struct store_record *r)
{
    buf_clear(&k->line);
    if (k->c->json) {
        if (k->is_list)
            buf_add_c(&k->line, k->printed_n == 0 ? "[" : ",\n");
        eventlog_add_json(&k->line, k->store, r);
    } else {
        char time[EVENT_TIME_TEXT_SIZE];
        event_time_format(r->e.time, time);
        buf_addf(&k->line, "%6llu  %s  %-22.*s  ", (unsigned long long)r->seq, time, STR_ARG(r->e.type));
        buf_add_str(&k->line, r->e.payload);
    }
    if (!k->is_list)
        buf_add_char(&k->line, '\n');
    (void)fwrite(k->line.ptr, 1, k->line.len, stdout);
    k->printed_n++;
}

/* All that is there. *ret_is_over: --to was reached. */
static enum err cat_some(struct cat *k, bool *ret_is_over, struct errinfo *err)
{
    for (;;) {
        AUTO(store_batch) struct store_batch b = {0};
        enum err rc = store_read(k->store, k->after, 1000, ENVELOPE_BATCH_SIZE_MAX, &b, err);
        if (rc != OK || b.n == 0)
            return rc;
        for (size_t i = 0; i < b.n; i++) {
            const struct store_record *r = &b.items[i];
            *ret_is_over = k->until > 0 && r->seq > k->until;
            if (*ret_is_over)
                return OK;
            if (k->type == NULL || str_eq_c(r->e.type, k->type))
                print(k, r);
            k->after = r->seq;
        }
    }
}

int eventlog_cat(struct cli *c, const char *log)
{
    struct errinfo err = {0};
    int64_t from = cli_count(c, "from", 1);
    struct cat k = {.c = c, .type = cli_text(c, "type"), .is_list = c->json && !cli_flag(c, "follow")};
    if (!until_of(c, &k.until))
        return 2;
    k.after = from > 0 ? (uint64_t)from - 1 : 0;
    enum err rc = eventlog_open(log, STORE_READ, &k.store, &err);
    bool is_over = false;
    while (rc == OK && !is_over) {
        rc = cat_some(&k, &is_over, &err);
        (void)fflush(stdout);
        if (!cli_flag(c, "follow") || ferror(stdout))
            break;
        if (rc == OK && !is_over)
            (void)poll(NULL, 0, FOLLOW_MS);
    }
    if (k.is_list && rc == OK)
        (void)puts(k.printed_n == 0 ? "[]" : "]");
    store_close(k.store);
    buf_done(&k.line);
    return rc == OK ? 0 : cli_fail(c, &err);
}

/* ---- export ---- */

static enum err export_to(struct store *s, FILE *out, uint64_t until, uint64_t *ret_n, struct errinfo *err)
{
    AUTO(buf) struct buf line = {0};
    uint32_t sum = 0;
    for (*ret_n = 0;;) {
        AUTO(store_batch) struct store_batch b = {0};
        enum err rc = store_read(s, *ret_n, 1000, ENVELOPE_BATCH_SIZE_MAX, &b, err);
        if (rc != OK || b.n == 0)
            return rc;
        for (size_t i = 0; i < b.n; i++) {
            if (until > 0 && b.items[i].seq > until)
                return OK;
            buf_clear(&line);
            sum = envelope_encode(&b.items[i].e, sum, &line);
            if (fwrite(line.ptr, 1, line.len, out) != line.len)
                return err_set_os(err, ERR_IO, errno, "write the export");
            *ret_n = b.items[i].seq;
        }
    }
}

/* Under another name first: a file that is there is whole. */
static enum err export_file(struct store *s, const char *file, uint64_t until, uint64_t *ret_n, struct errinfo *err)
{
    auto_free char *fresh = mem_printf("%s.new", file);
    int fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    FILE *out = fd < 0 ? NULL : fdopen(fd, "w");
    if (out == NULL) {
        int why = errno;
        if (fd >= 0)
            (void)close(fd);
        return err_set_os(err, ERR_IO, why, "open '%s'", fresh);
    }
    enum err rc = export_to(s, out, until, ret_n, err);
    if (rc == OK && (fflush(out) != 0 || fsync(fd) != 0))
        rc = err_set_os(err, ERR_IO, errno, "write '%s'", fresh);
    (void)fclose(out);
    if (rc == OK && rename(fresh, file) != 0)
        rc = err_set_os(err, ERR_IO, errno, "rename '%s'", fresh);
    if (rc != OK)
        (void)unlink(fresh);
    return rc;
}

int eventlog_export(struct cli *c, const char *log, const char *file)
{
    struct store *s = NULL;
    struct errinfo err = {0};
    uint64_t n = 0, until = 0;
    bool is_stdout = strcmp(file, "-") == 0;
    if (!until_of(c, &until))
        return 2;
    enum err rc = eventlog_open(log, STORE_READ, &s, &err);
    if (rc == OK)
        rc = is_stdout ? export_to(s, stdout, until, &n, &err) : export_file(s, file, until, &n, &err);
    store_close(s);
    if (rc != OK)
        return cli_fail(c, &err);
    if (!is_stdout)
        (void)printf(c->json ? "{\"events\":%llu}\n" : "%llu events\n", (unsigned long long)n);
    return 0;
}

/* slipform eventlog import FILE --to LOG: a log of the same model that others wrote.
 *
 * First every line is read, lifted to the shapes of today, folded, and written to a file of ours in /var/tmp; each bad
 * line is told with its reason. Only if all are good (or --skip-bad) that file is copied into LOG: an import that was
 * interrupted goes on when it is called again. A refused line changes nothing, so what stands on it is bad too. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/encode.h"
#include "base/json.h"
#include "base/own.h"
#include "cli/eventlog.h"
#include "event/fields.h"
#include "event/hash.h"

/* 1000: more than a person reads; the number of all is told too (chosen). */
enum { BAD_LINES_MAX = 1000 };

struct import {
    struct cli *c;
    FILE *in, *out;
    char path[64]; /* of `out` */
    struct model *model;
    struct arena arena; /* of a line */
    struct buf line;    /* ours */
    uint64_t lines_n, good_n, bad_n, unverified_n, lifted_n;
    uint32_t their_sum, our_sum;
    struct event_time last;
    struct envelope held; /* the last good one: `more` of it is known once the next is */
    struct buf held_payload, held_type;
    bool is_held;
    json_t *bad;
};

static void tell_bad(struct import *im, const char *cause)
{
    im->bad_n++;
    if (im->bad_n > BAD_LINES_MAX)
        return;
    json_t *one =
        json_pack("{s:I,s:b,s:o}", "line", (json_int_t)im->lines_n, "ok", 0, "cause", json_from_str(str_from(cause)));
    json_array_append_new(im->bad, one);
    if (!im->c->json)
        cli_say(im->c, "line %llu: %s", (unsigned long long)im->lines_n, cause);
}

/* Is the payload in a shape that event_lift made another one of? */
static bool is_old_shape(const struct envelope *e, struct arena *a, const struct event *lifted)
{
    struct event as_is = {.kind = lifted->kind};
    if (lifted->kind != EVENT_CREATE_INSTANCE && lifted->kind != EVENT_INSTANCE_STATUS_CHANGE)
        return false;
    if (fields_parse(event_kind_row(lifted->kind)->fields, e->payload, a, &as_is.create_region, NULL) != OK)
        return false;
    return lifted->kind == EVENT_CREATE_INSTANCE
               ? as_is.create_instance.partition_range.len > 0
               : !str_eq(as_is.instance_status_change.status, lifted->instance_status_change.status);
}

/* A payload of any shape may have line breaks between its tokens no more than a line can: none. */
static enum err check_payload(struct import *im, struct envelope *e, struct buf *ret_payload, struct errinfo *err)
{
    struct event ev;
    bool is_known = event_kind_find(e->type) != NULL;
    if (!is_known && cli_flag(im->c, "any-kind")) {
        auto_json json_t *doc = NULL;
        buf_add_str(ret_payload, e->payload);
        return json_parse(e->payload, &doc, err);
    }
    enum err rc = event_decode(e, &im->arena, &ev, err);
    if (rc == OK && !cli_flag(im->c, "any-kind"))
        rc = model_apply(im->model, &ev, err);
    if (rc != OK)
        return rc;
    if (is_old_shape(e, &im->arena, &ev)) {
        event_encode_payload(&ev, ret_payload);
        im->lifted_n++;
    } else {
        buf_add_str(ret_payload, e->payload);
    }
    return OK;
}

/* Lines without an id get the same one in each import of the same file. */
static struct id id_of_line(const struct import *im, struct str line)
{
    struct id id;
    uint8_t digest[HASH_SIZE];
    char place[32];
    hash_bytes(line.ptr, line.len, digest);
    memcpy(id.bytes, digest, sizeof(id.bytes));
    (void)snprintf(place, sizeof(place), "line %llu", (unsigned long long)im->lines_n);
    return id_derive(id, place);
}

static enum err write_held(struct import *im, bool more, struct errinfo *err)
{
    if (!im->is_held)
        return OK;
    im->is_held = false;
    im->held.type = buf_str(&im->held_type);
    im->held.payload = buf_str(&im->held_payload);
    im->held.more = im->held.more && more; /* a command that was cut off, or whose rest is bad, ends here */
    buf_clear(&im->line);
    im->our_sum = envelope_encode(&im->held, im->our_sum, &im->line);
    if (im->line.len > ENVELOPE_SIZE_MAX)
        return err_set(err, ERR_LIMIT, "line %llu is over %u bytes in our form", (unsigned long long)im->lines_n,
                       ENVELOPE_SIZE_MAX);
    if (fwrite(im->line.ptr, 1, im->line.len, im->out) != im->line.len)
        return err_set_os(err, ERR_IO, errno, "write '%s'", im->path);
    return OK;
}

/* What a line with a wrong sum said itself: the line behind it is checked against that, so that one line is told. */
static uint32_t said_sum(struct str line, uint32_t otherwise)
{
    static const char KEY[] = ",\"sum\":\"crc32c:";
    const char *at = memmem(line.ptr, line.len, KEY, sizeof(KEY) - 1);
    uint8_t bytes[4];
    size_t from = at == NULL ? 0 : (size_t)(at - line.ptr) + sizeof(KEY) - 1;
    if (at == NULL || line.len < from + 8 || !hex_parse(str_slice(line, from, from + 8), bytes, sizeof(bytes)))
        return otherwise;
    return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

/* What a good line is in our form. */
static void hold(struct import *im, const struct envelope *e, struct str line, struct buf *payload)
{
    im->held = *e;
    if (id_is_none(e->id))
        im->held.id = id_of_line(im, line);
    buf_clear(&im->held_type);
    buf_add_str(&im->held_type, e->type);
    buf_clear(&im->held_payload);
    buf_add_str(&im->held_payload, buf_str(payload));
    im->is_held = true;
    im->last = e->time;
    im->good_n++;
    im->unverified_n += !e->has_sum;
}

static enum err check_line(struct import *im, struct str line, struct envelope *ret, struct buf *ret_payload,
                           struct errinfo *err)
{
    enum err rc = envelope_decode(line, im->their_sum, ret, err);
    if (rc != OK) {
        im->their_sum = said_sum(line, im->their_sum);
        return rc;
    }
    im->their_sum = ret->has_sum ? ret->sum : crc32c(im->their_sum, line.ptr, line.len);
    if (event_time_cmp(ret->time, im->last) <= 0)
        return err_set(err, ERR_INVALID, "its time is not later than that of the line before");
    return check_payload(im, ret, ret_payload, err);
}

/* The next line without its end. Of one that is too long so much is kept that envelope_decode says so. False: no more.
 */
static bool next_line(struct import *im, struct buf *line)
{
    int byte = 0;
    buf_clear(line);
    while ((byte = getc_unlocked(im->in)) != EOF && byte != '\n')
        if (line->len <= ENVELOPE_SIZE_MAX)
            buf_add_char(line, (char)byte);
    return byte != EOF || line->len > 0;
}

static enum err take_line(struct import *im, struct str line, struct errinfo *err)
{
    AUTO(buf) struct buf payload = {0};
    struct errinfo why = {0};
    struct envelope e;
    im->lines_n++;
    arena_reset(&im->arena);
    if (check_line(im, line, &e, &payload, &why) != OK) {
        tell_bad(im, why.msg);
        return write_held(im, false, err);
    }
    enum err rc = write_held(im, true, err);
    hold(im, &e, line, &payload);
    return rc;
}

static enum err read_lines(struct import *im, struct errinfo *err)
{
    AUTO(buf) struct buf line = {0};
    enum err rc = OK;
    while (rc == OK && next_line(im, &line))
        rc = take_line(im, buf_str(&line), err);
    if (rc == OK)
        rc = write_held(im, false, err);
    if (rc == OK && ferror(im->in) != 0)
        rc = err_set_os(err, ERR_IO, errno, "read the file to import");
    if (rc == OK && fflush(im->out) != 0)
        rc = err_set_os(err, ERR_IO, errno, "write '%s'", im->path);
    return rc;
}

static enum err copy_into(const struct import *im, const char *to_text, struct store_copied *ret, struct errinfo *err)
{
    struct store *from = NULL, *to = NULL;
    struct store_pos after = {0};
    auto_free char *spec = mem_printf("jsonl;path=%s", im->path);
    enum err rc = store_open(spec, &(struct store_options){.mode = STORE_READ}, &from, NULL, err);
    if (rc == OK)
        rc = eventlog_open(to_text, STORE_CREATE, &to, err);
    if (rc == OK)
        rc = store_copy_place(from, to, &after, err);
    if (rc == ERR_CONFLICT)
        err_ignore(err_set(err, rc, "log '%s' holds other events: import into a log of its own", store_name(to)));
    if (rc == OK)
        rc = store_copy(from, after, to, ret, err);
    store_close(from);
    store_close(to);
    return rc;
}

static enum err begin(struct import *im, const char *file, struct errinfo *err)
{
    im->in = strcmp(file, "-") == 0 ? stdin : fopen(file, "re");
    if (im->in == NULL)
        return err_set_os(err, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, errno, "open '%s'", file);
    (void)snprintf(im->path, sizeof(im->path), "/var/tmp/slipform-import-XXXXXX");
    int fd = mkostemp(im->path, O_CLOEXEC);
    im->out = fd < 0 ? NULL : fdopen(fd, "w");
    return im->out != NULL ? OK : err_set_os(err, ERR_IO, errno, "make '%s'", im->path);
}

static void end(struct import *im)
{
    if (im->in != NULL && im->in != stdin)
        (void)fclose(im->in);
    if (im->out != NULL) {
        (void)fclose(im->out);
        (void)unlink(im->path);
    }
    model_free(im->model);
    arena_done(&im->arena);
    buf_done(&im->line);
    buf_done(&im->held_payload);
    buf_done(&im->held_type);
    json_decref(im->bad);
}

static void print_result(const struct import *im, bool is_imported, uint64_t copied)
{
    if (!im->c->json) {
        if (is_imported)
            (void)printf("%llu of %llu lines imported; %llu had no sum, %llu were lifted, %llu are left out\n",
                         (unsigned long long)im->good_n, (unsigned long long)im->lines_n,
                         (unsigned long long)im->unverified_n, (unsigned long long)im->lifted_n,
                         (unsigned long long)im->bad_n);
        else
            cli_say(im->c, "%llu of %llu lines are bad: nothing was imported (--skip-bad leaves them out)",
                    (unsigned long long)im->bad_n, (unsigned long long)im->lines_n);
        return;
    }
    auto_json json_t *doc =
        json_pack("{s:b,s:I,s:I,s:I,s:I,s:I,s:I,s:O}", "ok", is_imported, "lines", (json_int_t)im->lines_n, "imported",
                  is_imported ? (json_int_t)im->good_n : 0, "copied", (json_int_t)copied, "unverified",
                  (json_int_t)im->unverified_n, "lifted", (json_int_t)im->lifted_n, "bad_n", (json_int_t)im->bad_n,
                  "bad", im->bad);
    auto_free char *text = json_format(doc);
    (void)puts(text);
}

int eventlog_import(struct cli *c, const char *file)
{
    const char *to = cli_text(c, "to");
    if (to == NULL) {
        (void)cli_failf(c, ERR_INVALID, "'eventlog import FILE' needs '--to LOG'");
        return 2;
    }
    struct import im = {.c = c, .model = model_new(), .last = EVENT_TIME_MIN, .bad = json_array()};
    struct errinfo err = {0};
    struct store_copied copied = {0};
    enum err rc = begin(&im, file, &err);
    if (rc == OK)
        rc = read_lines(&im, &err);
    bool is_good = im.bad_n == 0 || cli_flag(c, "skip-bad");
    if (rc == OK && is_good && im.good_n > 0)
        rc = copy_into(&im, to, &copied, &err);
    if (rc == OK)
        print_result(&im, is_good, copied.records);
    end(&im);
    if (rc != OK)
        return cli_fail(c, &err);
    return is_good ? 0 : 1;
}

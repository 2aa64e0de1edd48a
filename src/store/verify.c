/* store_verify: read everything once, change nothing. */
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/own.h"
#include "store/files.h"

static uint64_t torn_bytes(const struct store *s)
{
    struct stat st;
    const struct files *f = s->impl;
    if (s->kind != &STORE_FILES || fstat(f->segment_fd, &st) < 0 || (uint64_t)st.st_size < f->head.length)
        return 0;
    return (uint64_t)st.st_size - f->head.length;
}

static enum err read_all(struct store *s, struct store_verdict *v, struct errinfo *err)
{
    for (;;) {
        AUTO(store_batch) struct store_batch b = {0};
        enum err rc = store_read(s, v->events, 1000, ENVELOPE_BATCH_SIZE_MAX, &b, err);
        if (rc != OK || b.n == 0)
            return rc;
        for (size_t i = 0; i < b.n; i++)
            v->unverified += !b.items[i].e.has_sum;
        v->events += b.n;
    }
}

/* A read that meets damage brings nothing: the good records before it are counted by its seq. */
static void set_bad(struct store_verdict *v, const struct store_damage *d)
{
    v->ok = false;
    v->first_bad = *d;
    if (d->seq > 0 && d->seq - 1 > v->events)
        v->events = d->seq - 1;
}

/* Seals, up to the first damage. */
static enum err check_seals(const struct store *s, struct store_verdict *v, struct errinfo *err)
{
    const struct files *f = s->impl;
    v->segments = f->segments_n;
    for (size_t i = 0; i + 1 < f->segments_n; i++) {
        struct store_damage d = {0};
        bool is_sealed = false;
        if (!v->ok && f->segments[i + 1] > v->first_bad.seq) /* bad itself, or behind what is */
            return OK;
        enum err rc = files_seal_check(s, f, i, &is_sealed, &d, err);
        v->sealed += is_sealed;
        if (rc == ERR_CORRUPT) {
            v->ok = false;
            v->first_bad = d;
            return OK;
        }
        if (rc != OK)
            return rc;
    }
    return OK;
}

static enum err verify_open(struct store *s, struct store_verdict *v, struct errinfo *err)
{
    enum err rc = read_all(s, v, err);
    v->torn_bytes = torn_bytes(s);
    const struct store_damage *d = store_damage(s);
    if (rc == ERR_CORRUPT && d != NULL) {
        set_bad(v, d);
        rc = OK;
    }
    return rc == OK && s->kind == &STORE_FILES ? check_seals(s, v, err) : rc;
}

enum err store_verify(const char *path, struct store_verdict *ret, struct errinfo *err)
{
    struct stat st = {0};
    bool is_server = str_starts(str_from(path), STR("postgres;")) || str_starts(str_from(path), STR("jetstream;"));
    if (!is_server && stat(path, &st) < 0)
        return err_set_os(err, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, errno, "open '%s'", path);
    if (!is_server && strchr(path, ';') != NULL)
        return err_set(err, ERR_INVALID, "a log's path must not have a ';': '%s'", path);
    auto_free char *spec =
        is_server ? mem_strdup(path) : mem_printf("%s;path=%s", S_ISDIR(st.st_mode) ? "files" : "jsonl", path);
    struct store_verdict v = {.ok = true};
    struct store *s = NULL;
    struct errinfo why = {0};
    struct store_damage damage = {0};
    enum err rc = store_open_damaged(spec, &(struct store_options){.mode = STORE_READ}, &s, NULL, &damage, &why);
    if (rc == ERR_CORRUPT) {
        v.ok = false;
        v.first_bad = damage;
        rc = OK;
    } else if (rc == OK) {
        rc = verify_open(s, &v, &why);
    }
    store_close(s);
    if (rc != OK)
        return err_set(err, rc, "%s", why.msg);
    *ret = v;
    return OK;
}

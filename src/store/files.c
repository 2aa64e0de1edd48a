/* The files store: its row in the table of kinds. Opening: files_open.c; appending: files_append.c; reading:
 * files_read.c. */
#include "store/files.h"
#include "store/key.h"
#include "store/lease.h"

#include "base/clock.h"

static enum err files_end(struct store *s, struct store_pos *ret_end, struct errinfo *err)
{
    struct files *f = s->impl;
    enum err rc = files_refresh(s, f, err);
    if (rc == OK)
        *ret_end = (struct store_pos){f->head.seq, f->head.sum};
    return rc;
}

static int64_t files_clock_us(struct store *s)
{
    (void)s;
    return clock_wall_us();
}

static char *files_watch_path(struct store *s)
{
    return mem_printf("%s/head", s->name);
}

const struct store_kind STORE_FILES = {
    .name = "files",
    .open = files_open,
    .close = files_close,
    .append = files_append,
    .hold = files_hold,
    .release = files_release,
    .prove = files_prove,
    .read = files_read,
    .end = files_end,
    .clock_us = files_clock_us,
    .watch_path = files_watch_path,
    .lease_put = files_lease_put,
    .lease_drop = files_lease_drop,
    .lease_list = files_lease_list,
    .key_put = files_key_put,
    .key_get = files_key_get,
    .key_drop = files_key_drop,
    .key_list = files_key_list,
};

/* The postgres store: its row, its clock. */
#include "store/postgres.h"

#include "base/clock.h"

void pg_saw_clock(struct store *s, int64_t server_us, int64_t mono_us)
{
    atomic_store(&s->clock_offset_us, server_us - mono_us);
}

/* The server's as last told, and the time that has passed here since. Another thread may ask during a call. */
static int64_t pg_clock_us(struct store *s)
{
    int64_t offset_us = atomic_load(&s->clock_offset_us);
    return offset_us == 0 ? clock_wall_us() : clock_mono_us() + offset_us;
}

const struct store_kind STORE_POSTGRES = {
    .name = "postgres",
    .open = pg_open,
    .close = pg_close,
    .append = pg_append,
    .hold = pg_hold,
    .release = pg_release,
    .prove = pg_prove,
    .read = pg_read,
    .end = pg_end,
    .find = pg_find,
    .clock_us = pg_clock_us,
    .lease_put = pg_lease_put,
    .lease_drop = pg_lease_drop,
    .lease_list = pg_lease_list,
    .key_put = pg_key_put,
    .key_get = pg_key_get,
    .key_drop = pg_key_drop,
    .key_list = pg_key_list,
    .watch_every_ms = POSTGRES_WATCH_MS,
};

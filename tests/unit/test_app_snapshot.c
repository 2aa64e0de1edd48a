/* Checkpoints that the runtime keeps: written while it goes on and at its end, used when they fit, thrown away and said
 * when not. */
#include "app_fixture.h"

#include "app/checkpoint.h"

/* The model's bytes: total, n, trace. */
static void encode(const void *model, struct buf *out)
{
    const struct ledger *l = model;
    assert_false(l->trial.is_on);
    buf_addf(out, "%lld %llu\n", (long long)l->total, (unsigned long long)l->n);
    buf_add_str(out, buf_str(&l->trace));
}

static enum err decode(void *model, struct str bytes, struct errinfo *err)
{
    struct ledger *l = model;
    struct str head, total;
    assert_true(l->n == 0 && l->total == 0 && l->trace.len == 0);
    l->total = -1; /* a decoder that fails half-way */
    if (!str_next(&bytes, '\n', &head) || !str_next(&head, ' ', &total) || !str_parse_i64(total, &l->total) ||
        !str_parse_u64(head, UINT64_MAX, &l->n))
        return err_set(err, ERR_CORRUPT, "no ledger");
    buf_add_str(&l->trace, bytes);
    return OK;
}

static void hash(const void *model, uint8_t ret_hash[static HASH_SIZE])
{
    const struct ledger *l = model;
    hash_bytes(l->trace.ptr, l->trace.len, ret_hash);
}

static void other_hash(const void *model, uint8_t ret_hash[static HASH_SIZE])
{
    (void)model;
    memset(ret_hash, 7, HASH_SIZE);
}

static void effects(void *ctx, const void *model, const struct store_record *r, struct app_effects *ret)
{
    (void)ctx;
    (void)model;
    if (str_eq_c(r->e.type, "Noted"))
        app_effects_add(ret, STR("\xff object"), r->e.payload);
}
static struct app_effect_run *held; /* the last that was carried out, and with what key */
static struct id held_id;
static void carry_out(void *ctx, const struct app_effect *e, struct app_effect_run *run)
{
    (void)ctx;
    assert_true(held == NULL);
    held = run;
    held_id = e->id;
}
static const struct gateway GATEWAY = {.name = "slow", .effects = effects, .carry_out = carry_out};

static void no_read(void *ctx, const void *model, int64_t instant_us, struct app_events *ret_events)
{
    (void)ctx;
    (void)model;
    (void)instant_us;
    (void)ret_events;
}

struct setup {
    struct app_options o;
    struct app_schedule schedule;
    const struct gateway *gateways[1];
    struct store *logs[2];
    char path[96];
};

static void set_up(struct world *w, struct setup *s, struct ledger *l)
{
    *s = (struct setup){.o = ledger_options(l), .gateways = {&GATEWAY}};
    s->schedule = (struct app_schedule){.name = "tick", .every_us = 1000000, .read = no_read};
    (void)snprintf(s->path, sizeof(s->path), "%s/checkpoint", w->dir);
    s->logs[0] = world_log(w, "a");
    s->o.inputs = s->logs;
    s->o.inputs_n = 1;
    s->o.gateways = s->gateways;
    s->o.gateways_n = 1;
    s->o.snapshot = (struct app_snapshot){
        .path = s->path, .format = 7, .every_events = 10, .encode = encode, .decode = decode, .hash = hash};
}

static void start(struct world *w, struct setup *s, struct ledger *l)
{
    ledger_start(w, l, &s->o);
    world_rest(w);
}

static void add(struct world *w, struct ledger *l, int n)
{
    for (int i = 0; i < n; i++) {
        struct ask ask = {.by = 1};
        ask_for(w, l, &ask);
        world_rest(w);
        assert_int_equal(ask.rc, OK);
    }
}

static void release(void)
{
    if (held != NULL)
        app_effect_done(held, OK, NULL);
    held = NULL;
}

/* A second life begins where the first one ended, and goes on as if it had folded everything. */
static void goes_on_from_a_checkpoint(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, 1);
    struct ledger l = {0};
    struct setup s;
    set_up(&w, &s, &l);
    start(&w, &s, &l);
    assert_null(app_snapshot_trouble(l.app)); /* that there is none is no trouble */
    add(&w, &l, 25);
    assert_int_equal(app_counts(l.app).snapshot_seq, 20); /* while it goes on */
    struct app_event later = {STR("Added"), chance_id(&w.chance), STR("{\"by\":500}")};
    struct app_event note = {STR("Noted"), chance_id(&w.chance), STR("{}")};
    app_emit_at(l.app, w.now_us + 5000000, &later, NULL, NULL);
    app_emit_event(l.app, &note, NULL, NULL);
    world_rest(&w);
    assert_true(held != NULL);
    struct id key = held_id;
    ledger_stop(&w, &l);
    release();
    AUTO(buf) struct buf before = {0};
    buf_add_str(&before, buf_str(&l.trace));
    int64_t total = l.total;
    ledger_clear(&l);

    set_up(&w, &s, &l);
    start(&w, &s, &l);
    assert_null(app_snapshot_trouble(l.app));
    assert_true(app_counts(l.app).events_in == 0 && app_counts(l.app).snapshot_seq == 27); /* nothing was replayed */
    assert_true(l.total == total && l.n == 26 && app_position(l.app).seq == 27);
    assert_int_equal(str_cmp(buf_str(&l.trace), buf_str(&before)), 0);
    assert_int_equal(app_timers_n(l.app), 1); /* what the runtime kept is there too */
    assert_true(held != NULL && id_eq(held_id, key));
    release();
    world_step(&w, 5000000);
    assert_int_equal(l.total, total + 500);
    struct ask same = {0};
    app_emit_event(l.app, &note, &same, ask_done); /* older than what is known by heart: searched */
    world_rest(&w);
    assert_true(same.rc == OK && same.at.seq == 27);
    ledger_stop(&w, &l);
    ledger_clear(&l);

    s = (struct setup){0}; /* and the whole log gives the same */
    ledger_open(&w, &l, world_log(&w, "a"));
    assert_int_equal(l.total, total + 500);
    assert_int_equal(app_timers_n(l.app), 0);
    ledger_stop(&w, &l);
    ledger_clear(&l);
    world_close(&w);
}

/* A consequence that a crash left open is in the checkpoint too. */
static void open_consequences_are_kept(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, 1);
    struct ledger l = {0};
    struct setup s;
    set_up(&w, &s, &l);
    start(&w, &s, &l);
    struct store *other = world_log(&w, "a");
    struct store_event e = {.type = STR("Asked"), .id = {{5}}, .payload = STR("{}")};
    assert_ok(store_append(other, (struct store_pos){0}, &e, 1, NULL, &why));
    store_world_set_odds(w.stores, &(struct store_odds){.conflict = 1000}); /* nothing can be written */
    world_step(&w, 1000);
    assert_true(l.n == 1 && app_due_n(l.app, &(const struct errinfo *){NULL}) == 2);
    ledger_stop(&w, &l);
    ledger_clear(&l);
    store_world_set_odds(w.stores, &(struct store_odds){0});
    set_up(&w, &s, &l);
    start(&w, &s, &l);
    assert_true(app_counts(l.app).snapshot_seq == 1 && l.n == 3);
    store_close(other);
    ledger_stop(&w, &l);
    ledger_clear(&l);
    world_close(&w);
}

static void damage(const char *path, const char *was, const char *is)
{
    FILE *f = fopen(path, "r+b");
    assert_non_null(f);
    char text[16384] = "";
    size_t n = fread(text, 1, sizeof(text) - 1, f);
    (void)n;
    char *at = strstr(text, was);
    assert_non_null(at);
    assert_int_equal(fseek(f, (long)(at - text), SEEK_SET), 0);
    (void)fputs(is, f);
    (void)fclose(f);
}

enum mismatch {
    OTHER_FORMAT,
    OTHER_HASH,
    OTHER_RANGES,
    OTHER_SCHEDULES,
    OTHER_INPUTS,
    OTHER_LOG,
    SHORTER_LOG,
    DAMAGED_MODEL,
    DAMAGED_RUNTIME,
    NO_CHECKPOINT,
    MISMATCHES_N
};
static const char *const WORDS[MISMATCHES_N] = {"format",  "hash", "ranges", "schedules", "inputs",
                                                "another", "hold", "bytes",  "bytes",     "first line"};

/* Whatever does not fit is said, and the log is folded from the first event. */
static void what_does_not_fit_is_thrown_away(void **state)
{
    (void)state;
    for (enum mismatch m = OTHER_FORMAT; m < MISMATCHES_N; m++) {
        struct world w;
        world_open(&w, 1);
        struct ledger l = {0};
        struct setup s;
        struct partition all = {0, 0xfffffffe};
        set_up(&w, &s, &l);
        start(&w, &s, &l);
        add(&w, &l, 5);
        ledger_stop(&w, &l);
        ledger_clear(&l);

        set_up(&w, &s, &l);
        uint64_t n = 5;
        if (m == OTHER_FORMAT)
            s.o.snapshot.format = 8;
        if (m == OTHER_HASH)
            s.o.snapshot.hash = other_hash;
        if (m == OTHER_RANGES) {
            s.o.ranges = &all;
            s.o.ranges_n = 1;
        }
        if (m == OTHER_SCHEDULES) {
            s.o.schedules = &s.schedule;
            s.o.schedules_n = 1;
        }
        if (m == OTHER_INPUTS) {
            s.logs[1] = world_log(&w, "b");
            s.o.inputs_n = 2;
        }
        if (m == OTHER_LOG) {
            store_close(s.logs[0]);
            s.logs[0] = world_log(&w, "c");
            n = 0;
        }
        if (m == SHORTER_LOG) {
            store_world_rewind(w.stores, "a", 3);
            n = 3;
        }
        if (m == DAMAGED_MODEL)
            damage(s.path, "5 5\n", "5 6\n");
        if (m == DAMAGED_RUNTIME)
            damage(s.path, "\"dues\"", "\"duet\"");
        if (m == NO_CHECKPOINT)
            damage(s.path, "{\"checkpoint\"", "[\"");
        start(&w, &s, &l);
        for (int i = 0; i < 3; i++)
            world_step(&w, 600000); /* several inputs wait for each other */
        if (app_snapshot_trouble(l.app) == NULL)
            fail_msg("mismatch %d: nothing is said", (int)m);
        if (strstr(app_snapshot_trouble(l.app)->msg, WORDS[m]) == NULL)
            fail_msg("mismatch %d: '%s' does not name the %s", (int)m, app_snapshot_trouble(l.app)->msg, WORDS[m]);
        if (l.n != n || l.total != (int64_t)n || app_counts(l.app).events_in != n || !app_is_live(l.app))
            fail_msg("mismatch %d: %d events, total %d", (int)m, (int)l.n, (int)l.total);
        ledger_stop(&w, &l);
        ledger_clear(&l);
        world_close(&w);
    }
}

/* The runtime's part is bytes from outside: a changed one is no crash. */
static void a_good_file_of_a_bad_runtime(void **state)
{
    (void)state;
    static const char *const PARTS[] = {
        "",
        "\n",
        "{}\n",
        "{\"ranges\":\"*\"}\n",
        "{\"ranges\":\"*\",\"inputs\":[{}],\"schedules\":[]}\n",
        "{\"ranges\":\"*\",\"inputs\":[1],\"schedules\":[]}\n",
        "{\"ranges\":\"*\",\"inputs\":%s,\"schedules\":[]}\n5 5\n",
        "{\"ranges\":\"*\",\"inputs\":%s,\"schedules\":[],\"dues\":[{}],\"time\":\"-inf#-1\"}\n5 5\n",
        "{\"ranges\":\"*\",\"inputs\":%s,\"schedules\":[],\"timers\":[3],\"time\":\"-inf#-1\"}\n5 5\n",
        "{\"ranges\":\"*\",\"inputs\":%s,\"schedules\":[],\"effects\":[{\"id\":7}],\"time\":\"-inf#-1\"}\n5 5\n",
        "{\"ranges\":\"*\",\"inputs\":%s,\"schedules\":[],\"time\":\"-inf#-1\"}\nno ledger",
    };
    for (size_t i = 0; i < sizeof(PARTS) / sizeof(PARTS[0]); i++) {
        struct world w;
        world_open(&w, 1);
        struct ledger l = {0};
        struct setup s;
        set_up(&w, &s, &l);
        start(&w, &s, &l);
        add(&w, &l, 5);
        struct app_position at = app_position(l.app);
        ledger_stop(&w, &l);
        ledger_clear(&l);
        set_up(&w, &s, &l);
        s.o.snapshot.hash = NULL;
        char log[ID_TEXT_SIZE];
        id_format(at.log, log);
        auto_free char *inputs = mem_printf("[{\"log\":\"%s\",\"seq\":5,\"sum\":%u}]", log, at.sum);
        struct str before = str_from(PARTS[i]);
        size_t place = 0;
        while (place + 1 < before.len && memcmp(before.ptr + place, "%s", 2) != 0)
            place++;
        AUTO(buf) struct buf bytes = {0};
        if (place + 1 < before.len) {
            buf_add(&bytes, before.ptr, place);
            buf_add_c(&bytes, inputs);
            buf_add_c(&bytes, before.ptr + place + 2);
        } else {
            buf_add_str(&bytes, before);
        }
        assert_ok(checkpoint_save(
            s.path, &(struct checkpoint){.log = at.log, .pos = {at.seq, at.sum}, .format = 7, .bytes = buf_str(&bytes)},
            &why));
        start(&w, &s, &l);
        if (app_snapshot_trouble(l.app) == NULL || l.n != 5 || l.total != 5 ||
            app_due_n(l.app, &(const struct errinfo *){NULL}) != 0)
            fail_msg("part %zu was taken", i);
        ledger_stop(&w, &l);
        ledger_clear(&l);
        world_close(&w);
    }
}

/* It cannot be written: said, and nothing else. */
static void no_place_for_it(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, 1);
    struct ledger l = {0};
    struct setup s;
    set_up(&w, &s, &l);
    s.o.snapshot.path = "/nonexistent/folder/checkpoint";
    start(&w, &s, &l);
    add(&w, &l, 12);
    assert_non_null(app_snapshot_trouble(l.app));
    assert_true(app_is_live(l.app) && app_counts(l.app).snapshot_seq == 0);
    ledger_stop(&w, &l);
    ledger_clear(&l);
    world_close(&w);
}

int main(void)
{
    (void)setenv("UV_THREADPOOL_SIZE", "1", 1); /* one thread for all that use one world */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(goes_on_from_a_checkpoint),
        cmocka_unit_test(open_consequences_are_kept),
        cmocka_unit_test(what_does_not_fit_is_thrown_away),
        cmocka_unit_test(a_good_file_of_a_bad_runtime),
        cmocka_unit_test(no_place_for_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

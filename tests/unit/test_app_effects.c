/* Effects of gateways: muted in a replay, in order for one object, parked when they fail, done once the log says so;
 * workloads. */
#include "app_fixture.h"

/* --- a gateway that sends letters: one for each Noted {"to":"…","fails":n} --- */

enum { SENT_MAX = 400 };
struct post {
    struct ledger ledger;
    struct gateway gateway;
    struct {
        struct id id;
        char to[32];
        uint64_t cause_seq;
        unsigned tries;
    } sent[SENT_MAX];
    size_t sent_n, under_way_max;
    struct app_effect_run *held[SENT_MAX]; /* is_slow: ended by the test */
    size_t held_n;
    bool is_slow, is_mended;
};

static void post_effects(void *ctx, const void *model, const struct store_record *r, struct app_effects *ret)
{
    (void)ctx;
    (void)model;
    auto_json json_t *doc = NULL;
    if (str_eq_c(r->e.type, "Noted") && json_parse(r->e.payload, &doc, NULL) == OK)
        app_effects_add(ret, json_member_str(doc, "to"), r->e.payload);
}

static void post_carry_out(void *ctx, const struct app_effect *e, struct app_effect_run *run)
{
    struct post *p = ctx;
    assert_true(p->sent_n < SENT_MAX && app_is_live(p->ledger.app));
    assert_true(str_copy_to(e->object, p->sent[p->sent_n].to, sizeof(p->sent[0].to)));
    p->sent[p->sent_n].id = e->id;
    p->sent[p->sent_n].cause_seq = e->cause.seq;
    p->sent[p->sent_n++].tries = e->tries;
    auto_json json_t *doc = NULL;
    assert_ok(json_parse(e->what, &doc, &why));
    if (p->is_slow) {
        p->held[p->held_n++] = run;
        if (p->held_n > p->under_way_max)
            p->under_way_max = p->held_n;
        return;
    }
    struct errinfo err = {0};
    enum err rc = OK;
    if (!p->is_mended && json_integer_value(json_object_get(doc, "fails")) >= (json_int_t)e->tries)
        rc = err_set(&err, ERR_UNAVAILABLE, "nobody opens at try %u", e->tries);
    app_effect_done(run, rc, &err);
}

static void post_start(struct world *w, struct post *p, const char *snapshot)
{
    struct store *log = world_log(w, "a");
    struct app_options o = ledger_options(&p->ledger);
    const struct gateway *gateways[] = {&p->gateway};
    p->gateway = (struct gateway){.name = "post", .ctx = p, .effects = post_effects, .carry_out = post_carry_out};
    o.inputs = &log;
    o.inputs_n = 1;
    o.gateways = gateways;
    o.gateways_n = 1;
    o.effect_back_off_ms = 1;
    (void)snapshot;
    ledger_start(w, &p->ledger, &o);
}

static void post_stop(struct world *w, struct post *p)
{
    if (p->ledger.app != NULL)
        ledger_stop(w, &p->ledger);
    for (size_t i = 0; i < p->held_n; i++)
        app_effect_done(p->held[i], OK, NULL); /* comes back when nobody is there any more */
    buf_done(&p->ledger.trace);
    *p = (struct post){0};
}

static struct id note(struct world *w, struct post *p, const char *to, int fails)
{
    char text[80];
    int n = snprintf(text, sizeof(text), "{\"to\":\"%s\",\"fails\":%d}", to, fails);
    struct app_event e = {STR("Noted"), chance_id(&w->chance), {text, (size_t)n}};
    app_emit_event(p->ledger.app, &e, NULL, NULL);
    return e.id;
}

static size_t sent_to(const struct post *p, const char *to)
{
    size_t n = 0;
    for (size_t i = 0; i < p->sent_n; i++)
        n += strcmp(p->sent[i].to, to) == 0;
    return n;
}

static struct app_effects_counts counts(const struct post *p)
{
    return app_effects_counts(p->ledger.app, "post");
}

struct parked {
    int n;
    struct id id;
    char text[600];
};
static void on_parked(void *ctx, const char *gateway, const struct app_effect *e, const struct errinfo *err)
{
    struct parked *p = ctx;
    p->n++;
    p->id = e->id;
    (void)snprintf(p->text, sizeof(p->text), "%.20s: %.*s: %s", gateway, STR_ARG(e->object), err->msg);
}

/* --- tests --- */

/* One that always fails stands in nobody's way, says why, and can be asked for again. */
static void poison_is_parked(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, 1);
    struct post *p = mem_alloc(sizeof(*p));
    post_start(&w, p, NULL);
    (void)note(&w, p, "mill", 1000);
    (void)note(&w, p, "mill", 0); /* behind it, of the same object */
    (void)note(&w, p, "farm", 0);
    (void)note(&w, p, "inn", 2);
    world_rest(&w);
    assert_true(sent_to(p, "farm") == 1 && counts(p).parked == 0);
    while (counts(p).parked == 0 || counts(p).pending > 1)
        (void)uv_run(&w.loop, UV_RUN_ONCE);
    assert_true(sent_to(p, "mill") == APP_EFFECT_TRIES + 1 && sent_to(p, "inn") == 3 && sent_to(p, "farm") == 1);
    struct parked parked = {0};
    app_each_parked(p->ledger.app, on_parked, &parked);
    assert_int_equal(parked.n, 1);
    assert_string_equal(parked.text, "post: mill: nobody opens at try 5");
    assert_err(app_retry_parked(p->ledger.app, (struct id){{1}}, &why), ERR_NOT_FOUND);
    assert_ok(app_retry_parked(p->ledger.app, parked.id, &why)); /* fails as often again */
    assert_int_equal(counts(p).parked, 0);
    while (counts(p).parked == 0)
        (void)uv_run(&w.loop, UV_RUN_ONCE);
    assert_int_equal(sent_to(p, "mill"), 2 * APP_EFFECT_TRIES + 1);
    p->is_mended = true;
    assert_ok(app_retry_parked(p->ledger.app, ID_NONE, &why));
    while (counts(p).pending > 0)
        (void)uv_run(&w.loop, UV_RUN_ONCE);
    assert_int_equal(sent_to(p, "mill"), 2 * APP_EFFECT_TRIES + 2);
    post_stop(&w, p);
    free(p);
    world_close(&w);
}

/* Parked is not for ever. */
static void parked_is_tried_again(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, 1);
    struct post *p = mem_alloc(sizeof(*p));
    struct store *log = world_log(&w, "a");
    struct app_options o = ledger_options(&p->ledger);
    p->gateway = (struct gateway){.name = "post", .ctx = p, .effects = post_effects, .carry_out = post_carry_out};
    const struct gateway *gateways[] = {&p->gateway};
    o.inputs = &log;
    o.inputs_n = 1;
    o.gateways = gateways;
    o.gateways_n = 1;
    o.effect_back_off_ms = 1;
    o.effect_parked_ms = 20;
    ledger_start(&w, &p->ledger, &o);
    (void)note(&w, p, "mill", (int)APP_EFFECT_TRIES + 2);
    while (sent_to(p, "mill") < APP_EFFECT_TRIES + 3 || counts(p).pending > 0)
        (void)uv_run(&w.loop, UV_RUN_ONCE);
    assert_int_equal(sent_to(p, "mill"), APP_EFFECT_TRIES + 3);
    post_stop(&w, p);
    free(p);
    world_close(&w);
}

/* Those of one object in order, one after the other; of different objects at the same time, up to a bound. */
static void objects_side_by_side(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, 1);
    struct post *p = mem_alloc(sizeof(*p));
    p->is_slow = true;
    post_start(&w, p, NULL);
    char to[16];
    enum { OBJECTS = 40, EACH = 3 };
    for (int n = 0; n < EACH; n++)
        for (int i = 0; i < OBJECTS; i++) {
            (void)snprintf(to, sizeof(to), "o%d", i);
            (void)note(&w, p, to, 0);
        }
    world_rest(&w);
    assert_int_equal(p->held_n, APP_EFFECTS_AT_ONCE);
    while (p->sent_n < OBJECTS * EACH || p->held_n > 0) {
        size_t i = chance_below(&w.chance, (uint32_t)p->held_n);
        struct app_effect_run *run = p->held[i];
        p->held[i] = p->held[--p->held_n];
        app_effect_done(run, OK, NULL);
        world_rest(&w);
    }
    assert_true(p->under_way_max == APP_EFFECTS_AT_ONCE && p->sent_n == OBJECTS * EACH && counts(p).pending == 0);
    for (size_t i = 0; i < p->sent_n; i++)
        for (size_t k = 0; k < i; k++)
            if (strcmp(p->sent[i].to, p->sent[k].to) == 0)
                assert_true(p->sent[k].cause_seq < p->sent[i].cause_seq);
    post_stop(&w, p);
    free(p);
    world_close(&w);
}

/* A replay carries out nothing that is done, and what a crash left undone with the same key. */
static void muted_in_a_replay(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, 1);
    struct post *p = mem_alloc(sizeof(*p));
    post_start(&w, p, NULL);
    for (int i = 0; i < 20; i++)
        (void)note(&w, p, "mill", 0);
    world_step(&w, 1000);
    assert_true(p->sent_n == 20 && counts(p).pending == 0);
    p->is_slow = true;
    (void)note(&w, p, "farm", 0);
    (void)note(&w, p, "mill", 0);
    world_step(&w, 1000);
    assert_int_equal(p->held_n, 2);
    struct id first = p->sent[20].id;
    post_stop(&w, p); /* it was carried out perhaps; the log does not know */
    post_start(&w, p, NULL);
    world_step(&w, 1000);
    assert_int_equal(p->sent_n, 2);
    assert_true(id_eq(p->sent[0].id, first) && counts(p).pending == 0);
    post_stop(&w, p);
    post_start(&w, p, NULL);
    world_step(&w, 1000);
    assert_int_equal(p->sent_n, 0);
    post_stop(&w, p);
    free(p);
    world_close(&w);
}

/* What another replica has done is not done here, even while it is under way. */
static void done_by_another(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, 1);
    struct post *a = mem_alloc(sizeof(*a)), *b = mem_alloc(sizeof(*b));
    a->is_slow = true;
    post_start(&w, a, NULL);
    world_rest(&w);
    (void)note(&w, a, "mill", 0);
    (void)note(&w, a, "mill", 0);
    world_rest(&w);
    assert_int_equal(a->held_n, 1);
    post_start(&w, b, NULL);
    world_step(&w, 1000);
    world_step(&w, 1000);
    assert_true(b->sent_n == 2 && counts(a).pending == 0 && counts(a).running == 0);
    assert_int_equal(a->sent_n, 1);
    post_stop(&w, a); /* the orphaned one comes back */
    post_stop(&w, b);
    free(a);
    free(b);
    AUTO(store_batch) struct store_batch log = {0};
    read_all(&w, "a", &log);
    assert_int_equal(log.n, 4); /* two causes, each done once */
    world_close(&w);
}

/* --- workloads --- */

struct work {
    const char *name;
    int started, stopped;
    bool fails;
    struct ledger *ledger;
};

static enum err work_start(void *ctx, struct app *a, struct errinfo *err)
{
    struct work *work = ctx;
    assert_true(app_is_live(a) && work->ledger->n == 3); /* not before the replay's end */
    work->started++;
    return work->fails ? err_set(err, ERR_IO, "no port for %s", work->name) : OK;
}
static void work_stop(void *ctx)
{
    ((struct work *)ctx)->stopped++;
}

static void workloads_are_chosen(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, 1);
    struct ledger l = {0};
    ledger_open(&w, &l, world_log(&w, "a"));
    for (int i = 0; i < 3; i++) {
        struct ask ask = {.by = 1};
        ask_for(&w, &l, &ask);
        world_rest(&w);
    }
    ledger_stop(&w, &l);
    static const char *const ALL[] = {"*"}, *const TWO[] = {"api", "planner"}, *const WRONG[] = {"api", "plumber"};
    static const struct {
        const char *const *chosen;
        size_t n;
        int started[3];
    } CASES[] = {{NULL, 0, {0, 0, 0}}, {ALL, 1, {1, 1, 1}}, {TWO, 2, {1, 0, 1}}};
    for (size_t c = 0; c < 3; c++) {
        struct work work[3] = {{.name = "api"}, {.name = "mail", .fails = true}, {.name = "planner"}};
        struct workload table[3];
        for (size_t i = 0; i < 3; i++) {
            work[i].ledger = &l;
            table[i] = (struct workload){work[i].name, &work[i], work_start, work_stop};
        }
        ledger_clear(&l);
        struct store *log = world_log(&w, "a");
        struct app_options o = ledger_options(&l);
        o.inputs = &log;
        o.inputs_n = 1;
        o.workloads = table;
        o.workloads_n = 3;
        o.chosen = WRONG;
        o.chosen_n = 2;
        assert_err(app_open(&w.loop, &o, &l.app, &why), ERR_NOT_FOUND);
        assert_non_null(strstr(why.msg, "'plumber'"));
        o.chosen = CASES[c].chosen;
        o.chosen_n = CASES[c].n;
        ledger_start(&w, &l, &o);
        world_rest(&w);
        for (size_t i = 0; i < 3; i++) {
            assert_int_equal(work[i].started, CASES[c].started[i]);
            assert_int_equal(app_workload_runs(l.app, work[i].name), CASES[c].started[i] == 1 && !work[i].fails);
        }
        const struct errinfo *trouble = app_workload_trouble(l.app, "mail");
        assert_int_equal(trouble != NULL, CASES[c].started[1]);
        assert_true(trouble == NULL || strcmp(trouble->msg, "no port for mail") == 0);
        assert_true(app_workload_trouble(l.app, "api") == NULL && app_is_live(l.app));
        ledger_stop(&w, &l);
        for (size_t i = 0; i < 3; i++)
            assert_int_equal(work[i].stopped, CASES[c].started[i] == 1 && !work[i].fails);
    }
    ledger_clear(&l);
    world_close(&w);
}

int main(void)
{
    (void)setenv("UV_THREADPOOL_SIZE", "1", 1); /* one thread for all that use one world */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(poison_is_parked),     cmocka_unit_test(parked_is_tried_again),
        cmocka_unit_test(objects_side_by_side), cmocka_unit_test(muted_in_a_replay),
        cmocka_unit_test(done_by_another),      cmocka_unit_test(workloads_are_chosen),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

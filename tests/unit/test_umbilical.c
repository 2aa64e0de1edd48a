/* The line from a program to the control plane: a real process over a log of its own and a node that is a double; the
 * node's side of it; what the watchdog makes of it, each state reached and left. */
#include "folder.h"
#include "net_fixture.h"

#include "app/app.h"
#include "control/instance_watch.h"
#include "node/agent/private.h"
#include "sdk/umbilical.h"

/* ---- the program's side ---- */

struct node {
    struct net *net;
    size_t reports_n;
    bool is_away;
    char run[ID_TEXT_SIZE], state[32];
    int64_t sequence;
    size_t size;
};

static void on_report(struct http_request *r, void *ctx)
{
    struct node *n = ctx;
    AUTO(arena) struct arena a = {0};
    struct umbilical_report report;
    struct errinfo err;
    if (n->is_away) {
        http_respond_problem(r, 503, ERR_UNAVAILABLE, "not now");
        n->reports_n++;
        return;
    }
    if (fields_parse(&UMBILICAL_REPORT_WIRE, http_request_body(r), &a, &report, &err) != OK)
        fail_msg("%s", err.msg);
    assert_true(report.sequence > n->sequence);
    n->sequence = report.sequence;
    n->size = http_request_body(r).len;
    id_format(report.run_id, n->run);
    (void)str_copy_to(report.state, n->state, sizeof(n->state));
    n->reports_n++;
    http_respond_empty(r, 204);
}

static enum err apply(void *model, const struct store_record *r, struct errinfo *err)
{
    (void)r;
    ++*(int *)model;
    (void)err;
    return OK;
}

static bool has_three(void *ctx)
{
    return ((struct node *)ctx)->reports_n >= 3;
}

/* Away, back: no report is kept, the next one has all. It is told at once that something went wrong. */
static void a_node_that_is_away(void **state)
{
    struct net *net = *state;
    struct node node = {.net = net, .is_away = true};
    const struct http_route routes[] = {{.method = "POST", .pattern = "/v1/umbilical", .handler = on_report}};
    struct http_server_options so = {.routes = routes, .routes_n = 1, .ctx = &node};
    net_open(net, &so);
    auto_free char *log = net_path(net, "log");
    auto_free char *spec = mem_printf("files;path=%s", log);
    struct store *store = NULL;
    struct errinfo err;
    int model = 0;
    struct app *app = NULL;
    assert_int_equal(store_open(spec, NULL, &store, NULL, &err), OK);
    struct app_options o = {.name = "test", .model = &model, .apply = apply, .inputs = &store, .inputs_n = 1};
    assert_int_equal(app_open(&net->loop, &o, &app, &err), OK);
    auto_free char *url = mem_printf("http://127.0.0.1:%d", http_server_port(net->server, 0));
    struct umbilical_line *line = umbilical_open(&net->loop, app, url, (struct id){{9}});
    for (int k = 0; k < 3; k++) { /* each error is news: a second between two reports, not five */
        size_t before = node.reports_n;
        err_ignore(err_set(&err, ERR_IO, "error %d", k));
        app_note_error(app, &err);
        node.is_away = k == 0;
        while (node.reports_n == before)
            (void)uv_run(&net->loop, UV_RUN_ONCE);
    }
    net_run_until(net, has_three, &node);
    assert_true(node.sequence >= 3); /* the one that was lost had a number too */
    assert_string_equal(node.state, "live");
    assert_true(node.size < UMBILICAL_SIZE_MAX);
    bool closed = false;
    umbilical_close(line, net_true, &closed);
    net_run_until(net, net_is_true, &closed);
    closed = false;
    app_close(app, net_true, &closed);
    net_run_until(net, net_is_true, &closed);
}

/* ---- the node's side ---- */

static struct agent agent;

static enum err hear(struct instance *i, const struct umbilical_report *r, int64_t now_ms)
{
    AUTO(buf) struct buf body = {0};
    agent.hurried_ms = now_ms; /* no heartbeat at once: there is no loop here */
    fields_encode(&UMBILICAL_REPORT_WIRE, r, &body);
    return umbilical_hear(i, buf_str(&body), now_ms, NULL);
}

static void a_node_keeps_the_last(void **state)
{
    (void)state;
    struct instance i = {.agent = &agent, .attempt = 1};
    struct umbilical u;
    umbilical_fill(&i, 5000, &u);
    assert_true(id_is_none(u.report.run_id) && u.silent_ms == 0);
    struct umbilical_report r = {.run_id = {{1}}, .sequence = 7, .state = STR("live"), .lag_events = 3};
    assert_int_equal(hear(&i, &r, 10000), OK);
    r.sequence = 6; /* it was on its way for longer */
    r.lag_events = 9;
    assert_int_equal(hear(&i, &r, 11000), OK);
    umbilical_fill(&i, 12000, &u);
    assert_int_equal(u.report.lag_events, 3);
    assert_int_equal(u.silent_ms, 2000);
    r.sequence = 8;
    r.lag_events = 4;
    assert_int_equal(hear(&i, &r, 12500), OK);
    umbilical_fill(&i, 12500, &u);
    assert_true(u.report.lag_events == 4 && u.silent_ms == 0);
    r.lag_events = 9;
    r.run_id = (struct id){{2}}; /* the program began anew: it counts from 1 */
    r.sequence = 1;
    assert_int_equal(hear(&i, &r, 13000), OK);
    umbilical_fill(&i, 13000, &u);
    assert_int_equal(u.report.lag_events, 9);
    i.attempt = 2; /* what reported has ended */
    umbilical_fill(&i, 14000, &u);
    assert_true(id_is_none(u.report.run_id));
    arena_done(&i.umbilical.arena);
}

static void a_report_is_bounded(void **state)
{
    (void)state;
    struct instance i = {.agent = &agent};
    struct umbilical_window windows[UMBILICAL_WINDOWS_MAX + 1] = {0};
    char text[UMBILICAL_TEXT_MAX * 4];
    memset(text, 'x', sizeof(text));
    for (size_t k = 0; k <= UMBILICAL_WINDOWS_MAX; k++)
        windows[k].start = windows[k].end = (struct event_time){(int64_t)k + 1, 0};
    struct umbilical_report r = {.run_id = {{1}}, .sequence = 1, .state = STR("live"), .windows = {windows, 6}};
    assert_int_equal(hear(&i, &r, 1000), OK);
    r.sequence = 2;
    r.windows.n = 7;
    assert_int_equal(hear(&i, &r, 1000), ERR_LIMIT);
    r.windows.n = 0;
    r.trouble = (struct str){text, sizeof(text)};
    assert_int_equal(hear(&i, &r, 1000), ERR_LIMIT);
    auto_free char *big = mem_alloc(UMBILICAL_SIZE_MAX + 1);
    assert_int_equal(umbilical_hear(&i, (struct str){big, UMBILICAL_SIZE_MAX + 1}, 1000, NULL), ERR_LIMIT);
    assert_int_equal(umbilical_hear(&i, STR("{}"), 1000, NULL), ERR_INVALID);
    assert_int_equal(i.umbilical.report.sequence, 1);
    arena_done(&i.umbilical.arena);
}

/* ---- what is to be thought of it ---- */

static enum health judged(const struct umbilical *u, const char *part)
{
    enum health health = HEALTH_UNKNOWN;
    char cause[WATCH_CAUSE_SIZE] = "";
    if (!instance_watch(u, &health, cause))
        return HEALTH_UNKNOWN;
    if (strstr(cause, part) == NULL)
        fail_msg("no '%s' in '%s'", part, cause);
    return health;
}

static void every_state(void **state)
{
    (void)state;
    struct umbilical u = {.report = {.state = STR("live")}};
    u.silent_ms = 3600000;
    assert_int_equal(judged(&u, ""), HEALTH_UNKNOWN); /* it never reported: an older SDK, or none of ours */
    u.report.run_id = (struct id){{1}};
    u.silent_ms = WATCH_TIMEOUT_MS;
    assert_int_equal(judged(&u, "has not reported for more than 20 s"), HEALTH_TIMEOUT);
    u.silent_ms = WATCH_TIMEOUT_MS - 1;
    assert_int_equal(judged(&u, "all goes well"), HEALTH_NOMINAL);
    u.report.state = STR("stalled");
    u.report.trouble = STR("event 2 of log x: cannot go down");
    assert_int_equal(judged(&u, "cannot go down"), HEALTH_ERROR);
    u.report.state = STR("live");
    u.report.trouble = (struct str){0};
    u.report.lag_events = 4;
    u.report.behind_ms = WATCH_STALL_MS - 1;
    assert_int_equal(judged(&u, ""), HEALTH_NOMINAL);
    u.report.behind_ms = WATCH_STALL_MS;
    assert_int_equal(judged(&u, "4 events of its input are not folded"), HEALTH_STALL);
    u.report.lag_events = 0; /* nothing to do is no stall */
    assert_int_equal(judged(&u, ""), HEALTH_NOMINAL);
    u.report.n_effects_parked = 2;
    u.report.parked_cause = STR("post: nobody opens");
    assert_int_equal(judged(&u, "2 effects are parked, one of them: post: nobody opens"), HEALTH_WARNING);
    u.report.n_effects_parked = 0;
    u.silent_ms = 0;
    u.report.n_errors = 1;
    u.report.last_error.text = STR("the printer");
    u.report.last_error_ms = WATCH_ERROR_MS - 1;
    assert_int_equal(judged(&u, "the last: the printer"), HEALTH_WARNING);
    u.silent_ms = 1; /* the minute goes on while no report comes */
    assert_int_equal(judged(&u, ""), HEALTH_NOMINAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_node_that_is_away, net_setup_plain, net_teardown),
        cmocka_unit_test(a_node_keeps_the_last),
        cmocka_unit_test(a_report_is_bounded),
        cmocka_unit_test(every_state),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

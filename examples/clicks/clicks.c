/* clicks - an event-sourced process on slipform, whole.
 *
 * What happens is an event, Click {"page": …}; the model is the fold of all of them, a count for each page. Nothing
 * else is stored: kill it, move it, start it twice, and each one counts the same.
 *
 *   POST /clicks/{page}    one more: 201 once it is durable, with the new event's id and Slipform-Position
 *   GET  /clicks/{page}    {"page":"home","clicks":3}; with the header Slipform-Position of a POST it sees that POST
 *   GET  /                 {"clicks":7,"pages":2}
 *
 * Every hundredth click of a page has a consequence, the event Milestone: once, however many replicas there are.
 *
 * With several instances each folds its share of the pages, whichever of them a click came through: a page is counted
 * by one of them, and the others say 0 of it. Who wants all asks each instance. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <slipform.h>

#define PAGES_MAX 10000 /* who invents more pages gets a 409, and nothing is written */
#define PAGE_SIZE 64
#define MILESTONE_EVERY 100

struct page {
    char name[PAGE_SIZE];
    int64_t clicks_n, milestones_n;
};
struct clicks {
    struct page pages[PAGES_MAX]; /* sorted by name */
    size_t pages_n;
    int64_t clicks_n;
};
static struct clicks clicks;

/* Where it is, or where it belongs. */
static size_t place_of(const struct clicks *c, const char *name)
{
    size_t from = 0, to = c->pages_n;
    while (from < to) {
        size_t middle = (from + to) / 2;
        if (strcmp(c->pages[middle].name, name) < 0)
            from = middle + 1;
        else
            to = middle;
    }
    return from;
}

static const struct page *find(const struct clicks *c, const char *name)
{
    size_t at = place_of(c, name);
    return at < c->pages_n && strcmp(c->pages[at].name, name) == 0 ? &c->pages[at] : NULL;
}

static struct page *find_or_add(struct clicks *c, const char *name)
{
    size_t at = place_of(c, name);
    if (at < c->pages_n && strcmp(c->pages[at].name, name) == 0)
        return &c->pages[at];
    if (c->pages_n == PAGES_MAX)
        return NULL;
    memmove(&c->pages[at + 1], &c->pages[at], (c->pages_n - at) * sizeof(c->pages[0]));
    c->pages[at] = (struct page){0};
    snprintf(c->pages[at].name, PAGE_SIZE, "%s", name);
    c->pages_n++;
    return &c->pages[at];
}

/* ---- the events ---- */

struct click {
    struct str page;
};
static const struct field CLICK_FIELDS[] = {FIELD_REQ(STR, click, page, "page", "what was clicked")};
static const struct field_table CLICK = FIELD_TABLE(click, CLICK_FIELDS);

/* Names become paths and log lines: short, and plain. */
static bool is_page(const char *name)
{
    size_t n = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-");
    return n > 0 && n < PAGE_SIZE && name[n] == '\0';
}

/* The only writer of the model. */
static enum err apply(void *model, const struct store_record *record, struct errinfo *err)
{
    struct clicks *c = model;
    struct arena a = {0};
    struct click event;
    enum err rc = fields_parse(&CLICK, record->e.payload, &a, &event, err);
    char name[PAGE_SIZE];
    if (rc == OK && (!str_copy_to(event.page, name, sizeof(name)) || !is_page(name)))
        rc = err_set(err, ERR_CORRUPT, "'%.*s' is no page", STR_ARG(event.page));
    struct page *page = rc == OK ? find_or_add(c, name) : NULL;
    if (rc == OK && page == NULL)
        rc = err_set(err, ERR_CORRUPT, "more than %d pages", PAGES_MAX);
    if (rc == OK && str_eq_c(record->e.type, "Milestone")) {
        page->milestones_n++;
    } else if (rc == OK && str_eq_c(record->e.type, "Click")) {
        page->clicks_n++;
        c->clicks_n++;
    }
    arena_done(&a);
    return rc;
}

/* Pages are shared out: all events of one are folded by the same instance. */
static struct str partition_key(const struct store_record *record)
{
    static char name[PAGE_SIZE];
    struct arena a = {0};
    struct click event;
    name[0] = '\0';
    if (fields_parse(&CLICK, record->e.payload, &a, &event, NULL) == OK)
        (void)str_copy_to(event.page, name, sizeof(name));
    arena_done(&a);
    return str_from(name);
}

static void reset(void *model)
{
    struct clicks *c = model;
    c->pages_n = 0;
    c->clicks_n = 0;
}

static void consequences(const void *model, const struct store_record *cause, struct app_events *ret_events)
{
    struct arena a = {0};
    struct click event;
    char name[PAGE_SIZE], payload[PAGE_SIZE + 32];
    if (str_eq_c(cause->e.type, "Click") && fields_parse(&CLICK, cause->e.payload, &a, &event, NULL) == OK &&
        str_copy_to(event.page, name, sizeof(name))) {
        const struct page *page = find(model, name);
        if (page != NULL && page->clicks_n % MILESTONE_EVERY == 0) {
            snprintf(payload, sizeof(payload), "{\"page\":\"%s\"}", name);
            app_events_add(ret_events, STR("Milestone"), ID_NONE, str_from(payload));
        }
    }
    arena_done(&a);
}

/* ---- the routes ---- */

static void reply(struct http_request *r, const char *body)
{
    http_respond_bytes(r, 200, "application/json", str_from(body));
}

static void show_all(struct http_request *r, struct slipform *s)
{
    const struct clicks *c = slipform_model(s);
    char body[96];
    snprintf(body, sizeof(body), "{\"clicks\":%" PRId64 ",\"pages\":%zu}\n", c->clicks_n, c->pages_n);
    reply(r, body);
}

static void show_page(struct http_request *r, struct slipform *s)
{
    const char *name = http_request_param(r, "page");
    const struct page *page = find(slipform_model(s), name);
    char body[PAGE_SIZE + 96];
    if (!is_page(name)) {
        http_respond_problem(r, 400, ERR_INVALID, "a page is 1 to 63 of a-z, 0-9 and '-'");
        return;
    }
    snprintf(body, sizeof(body), "{\"page\":\"%s\",\"clicks\":%" PRId64 ",\"milestones\":%" PRId64 "}\n", name,
             page == NULL ? 0 : page->clicks_n, page == NULL ? 0 : page->milestones_n);
    reply(r, body);
}

static void get_all(struct http_request *r, void *ctx)
{
    slipform_read(ctx, r, show_all);
}

static void get_page(struct http_request *r, void *ctx)
{
    slipform_read(ctx, r, show_page);
}

static bool has_room(void *ctx, const void *model)
{
    const struct clicks *c = model;
    return c->pages_n < PAGES_MAX || find(c, ctx) != NULL;
}

static void post_click(struct http_request *r, void *ctx)
{
    const char *name = http_request_param(r, "page");
    char payload[PAGE_SIZE + 32], body[96], id[ID_TEXT_SIZE];
    if (!is_page(name)) {
        http_respond_problem(r, 400, ERR_INVALID, "a page is 1 to 63 of a-z, 0-9 and '-'");
        return;
    }
    struct app_event event = {.type = STR("Click"), .id = slipform_new_id(ctx)};
    snprintf(payload, sizeof(payload), "{\"page\":\"%s\"}", name);
    event.payload = str_from(payload);
    id_format(event.id, id);
    snprintf(body, sizeof(body), "{\"id\":\"%s\"}\n", id);
    slipform_emit(ctx, r, has_room, (void *)(uintptr_t)name, &event, str_from(body));
}

static const struct http_route ROUTES[] = {
    {.method = "GET", .pattern = "/", .handler = get_all, .doc = "all clicks"},
    {.method = "GET", .pattern = "/clicks/{page}", .handler = get_page, .doc = "clicks of a page"},
    {.method = "POST", .pattern = "/clicks/{page}", .handler = post_click, .doc = "one more"},
};

int main(int argc, char **argv)
{
    static const struct slipform_process PROCESS = {.name = "clicks",
                                                    .doc = "Counts clicks.",
                                                    .model = &clicks,
                                                    .apply = apply,
                                                    .reset = reset,
                                                    .consequences = consequences,
                                                    .partition_key = partition_key,
                                                    .routes = ROUTES,
                                                    .routes_n = sizeof(ROUTES) / sizeof(ROUTES[0])};
    return slipform_main(argc, argv, &PROCESS);
}

/* Who is told: gateways of live, change and stall, workloads to start and stop. */
#include "app/inside.h"

static struct app_gateway *add(struct app *a, const struct gateway *g)
{
    struct app_gateway *gw = mem_alloc(sizeof(*gw));
    *gw = (struct app_gateway){.g = g};
    TAILQ_INIT(&gw->ready);
    TAILQ_INIT(&gw->later);
    TAILQ_INIT(&gw->parked);
    TAILQ_INIT(&gw->finished);
    a->gateways = mem_realloc(a->gateways, (a->gateways_n + 1) * sizeof(struct app_gateway *));
    a->gateways[a->gateways_n++] = gw;
    return gw;
}

void app_add_gateway(struct app *a, const struct gateway *g)
{
    (void)add(a, g);
    app_soon(a);
}

void app_remove_gateway(struct app *a, const struct gateway *g)
{
    for (size_t i = 0; i < a->gateways_n; i++)
        if (a->gateways[i]->g == g)
            a->gateways[i]->g = NULL;
}

static void sweep_gateways(struct app *a)
{
    size_t n = 0;
    for (size_t i = 0; i < a->gateways_n; i++) {
        if (a->gateways[i]->g != NULL || a->gateways[i]->items_n > 0)
            a->gateways[n++] = a->gateways[i];
        else
            free(a->gateways[i]);
    }
    a->gateways_n = n;
}

static bool is_chosen(const struct app_options *opt, const char *name)
{
    for (size_t i = 0; i < opt->chosen_n; i++)
        if (strcmp(opt->chosen[i], "*") == 0 || strcmp(opt->chosen[i], name) == 0)
            return true;
    return false;
}

static enum err check_chosen(const struct app_options *opt, struct errinfo *err)
{
    for (size_t i = 0; i < opt->chosen_n; i++) {
        bool is_known = strcmp(opt->chosen[i], "*") == 0;
        for (size_t k = 0; k < opt->workloads_n; k++)
            is_known = is_known || strcmp(opt->chosen[i], opt->workloads[k].name) == 0;
        if (!is_known)
            return err_set(err, ERR_NOT_FOUND, "%s has no workload '%s'", opt->name, opt->chosen[i]);
    }
    return OK;
}

enum err tell_open(struct app *a, struct errinfo *err)
{
    enum err rc = check_chosen(&a->opt, err);
    if (rc != OK)
        return rc;
    a->workloads = mem_calloc(a->opt.workloads_n + 1, sizeof(*a->workloads));
    for (size_t i = 0; i < a->opt.workloads_n; i++)
        if (is_chosen(&a->opt, a->opt.workloads[i].name))
            a->workloads[a->workloads_n++].w = a->opt.workloads[i];
    for (size_t i = 0; i < a->opt.gateways_n; i++)
        (void)add(a, a->opt.gateways[i]);
    return OK;
}

static void start_workloads(struct app *a)
{
    for (size_t i = 0; i < a->workloads_n && a->state == APP_LIVE; i++) {
        struct app_workload *w = &a->workloads[i];
        if (w->is_started)
            continue;
        w->is_started = true;
        w->is_running = w->w.start(w->w.ctx, a, &w->trouble) == OK;
        if (!w->is_running)
            app_note_error(a, &w->trouble);
    }
}

void tell_live(struct app *a)
{
    sweep_gateways(a);
    for (size_t i = 0; i < a->gateways_n && a->state == APP_LIVE; i++) {
        struct app_gateway *gw = a->gateways[i];
        if (gw->g == NULL || gw->is_told_live)
            continue;
        gw->is_told_live = true;
        if (gw->g->on_live != NULL)
            gw->g->on_live(gw->g->ctx);
    }
    start_workloads(a);
}

void tell_change(struct app *a)
{
    struct app_position at = app_position(a);
    for (size_t i = 0; i < a->gateways_n && a->state == APP_LIVE; i++) {
        struct app_gateway *gw = a->gateways[i];
        if (gw->g != NULL && gw->is_told_live && gw->g->on_change != NULL)
            gw->g->on_change(gw->g->ctx, &at);
    }
}

void tell_stalled(struct app *a)
{
    for (size_t i = 0; i < a->gateways_n; i++) {
        const struct gateway *g = a->gateways[i]->g;
        if (g != NULL && g->on_stalled != NULL)
            g->on_stalled(g->ctx, &a->stall);
    }
}

void tell_goes_on(struct app *a)
{
    for (size_t i = 0; i < a->gateways_n; i++)
        a->gateways[i]->is_told_live = false;
}

void tell_stop(struct app *a)
{
    for (size_t i = a->workloads_n; i > 0; i--) { /* the reverse of how they were started */
        struct app_workload *w = &a->workloads[i - 1];
        if (w->is_running && w->w.stop != NULL)
            w->w.stop(w->w.ctx);
        w->is_running = false;
    }
}

void tell_done(struct app *a)
{
    for (size_t i = 0; i < a->gateways_n; i++)
        free(a->gateways[i]);
    free(a->gateways);
    free(a->workloads);
}

static const struct app_workload *find_workload(const struct app *a, const char *name)
{
    for (size_t i = 0; i < a->workloads_n; i++)
        if (strcmp(a->workloads[i].w.name, name) == 0)
            return &a->workloads[i];
    return NULL;
}

const struct errinfo *app_workload_trouble(const struct app *a, const char *name)
{
    const struct app_workload *w = find_workload(a, name);
    return w != NULL && w->is_started && w->trouble.code != OK ? &w->trouble : NULL;
}

bool app_workload_runs(const struct app *a, const char *name)
{
    const struct app_workload *w = find_workload(a, name);
    return w != NULL && w->is_running;
}

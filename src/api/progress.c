#include "api/progress.h"

#include "base/clock.h"

struct progress_row {
    struct id instance_id;
    struct str node, status, health, cause;
    struct umbilical umbilical;
};
static const struct field PROGRESS_FIELDS[] = {
    FIELD_REQ(ID, progress_row, instance_id, "instance_id", "instance"),
    FIELD_OPT(STR, progress_row, node, "node", "where"),
    FIELD_REQ(STR, progress_row, status, "status", "running, …"),
    FIELD_OPT(STR, progress_row, health, "health", "NOMINAL, …"),
    FIELD_OPT(STR, progress_row, cause, "cause", "why, for a person"),
    FIELD_OPT(I64, progress_row, umbilical.silent_ms, "silent_ms", "its program said nothing for so long"),
    FIELD_SUB(OBJECT, progress_row, umbilical.report, "progress", UMBILICAL_REPORT_WIRE,
              "what its program said last; left out: nothing yet"),
};
const struct field_table PROGRESS_WIRE = FIELD_TABLE(progress_row, PROGRESS_FIELDS);

/* NULL: it has said nothing. */
static const struct umbilical *said(const struct control *c, const struct instance *i)
{
    const struct instance_report *r =
        i->node == NULL ? NULL : seen_instance_report(control_seen(c), i->node->id, i->id);
    return r == NULL || id_is_none(r->umbilical.report.run_id) ? NULL : &r->umbilical;
}

struct objects progress_rows(const struct control *c, const struct process *p, struct arena *a)
{
    struct progress_row *rows = arena_alloc(a, (p->instances.n + 1) * sizeof(*rows));
    size_t n = 0;
    MODEL_EACH (instance, i, &p->instances) {
        const struct umbilical *u = said(c, i);
        rows[n] = (struct progress_row){.instance_id = i->id,
                                        .node = str_from(i->node == NULL ? "" : i->node->name),
                                        .status = str_from(instance_status_name((enum instance_status)i->status)),
                                        .health = str_from(health_name((enum health)i->health)),
                                        .cause = str_from(i->cause)};
        if (u != NULL)
            rows[n].umbilical = *u;
        n++;
    }
    return (struct objects){rows, n};
}

/* Windows that ended within the last minute hold it, as far as a report goes back (half a minute of busy windows). */
static int64_t events_per_minute(const struct umbilical *u, int64_t now_ns)
{
    const struct umbilical_window *w = u->report.windows.items;
    int64_t events = 0, span_ns = 0;
    for (size_t k = u->report.windows.n; k > 0; k--) {
        int64_t age_ns = now_ns - w[k - 1].start.instant_ns;
        if (age_ns > INT64_C(60000000000))
            break;
        events += w[k - 1].n_input_events_handled_ok;
        span_ns = age_ns;
    }
    bool is_full = u->report.windows.n == UMBILICAL_WINDOWS_MAX && span_ns > 0;
    return is_full ? events * 60 / (span_ns / 1000000000 > 0 ? span_ns / 1000000000 : 1) : events;
}

struct progress_sum progress_of(const struct control *c, const struct process *p)
{
    struct progress_sum sum = {0};
    MODEL_EACH (instance, i, &p->instances) {
        const struct umbilical *u = said(c, i);
        if (i->status == INSTANCE_RUNNING && (enum health)i->health > sum.health)
            sum.health = (enum health)i->health;
        if (u == NULL)
            continue;
        sum.reports_n++;
        sum.lag_events += u->report.lag_events;
        sum.events_per_minute += events_per_minute(u, clock_wall_us() * 1000);
    }
    return sum;
}

/* What programs in microVMs say about themselves: the last report of each, which the heartbeat carries on. The node is
 * the witness of silence: whoever hears its heartbeat knows for how long nothing came, whoever does not hear it knows
 * nothing. In memory only: an agent that starts anew hears the next report within seconds. */
#include "node/agent/private.h"

/* News of one instance do not make the node talk more often than this (chosen). */
enum { HURRY_MS = 1000 };

static enum err check(const struct umbilical_report *r, struct errinfo *err)
{
    const struct str texts[] = {r->state, r->first_error.text, r->last_error.text, r->parked_cause, r->trouble};
    if (id_is_none(r->run_id) || r->sequence <= 0)
        return err_set(err, ERR_INVALID, "a report has a run_id and a sequence from 1");
    if (r->inputs.n > UMBILICAL_INPUTS_MAX || r->windows.n > UMBILICAL_WINDOWS_MAX)
        return err_set(err, ERR_LIMIT, "a report holds at most %u inputs and %u windows", UMBILICAL_INPUTS_MAX,
                       UMBILICAL_WINDOWS_MAX);
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        if (texts[i].len > UMBILICAL_TEXT_MAX * 3) /* bytes that are no text were replaced by three each */
            return err_set(err, ERR_LIMIT, "a text of a report has at most %u bytes", UMBILICAL_TEXT_MAX);
    return OK;
}

static bool is_news(const struct umbilical_report *was, const struct umbilical_report *is)
{
    return !str_eq(was->state, is->state) || was->n_errors != is->n_errors ||
           was->n_effects_parked != is->n_effects_parked || str_is_empty(was->trouble) != str_is_empty(is->trouble);
}

enum err umbilical_hear(struct instance *i, struct str body, int64_t now_ms, struct errinfo *err)
{
    struct agent_umbilical *u = &i->umbilical;
    struct arena arena = {0};
    struct umbilical_report r;
    if (body.len > UMBILICAL_SIZE_MAX)
        return err_set(err, ERR_LIMIT, "a report has at most %zu bytes", UMBILICAL_SIZE_MAX);
    enum err rc = fields_parse(&UMBILICAL_REPORT_WIRE, body, &arena, &r, err);
    if (rc == OK)
        rc = check(&r, err);
    bool is_old = rc == OK && id_eq(r.run_id, u->report.run_id) && r.sequence <= u->report.sequence;
    if (rc != OK || is_old) {
        arena_done(&arena);
        return rc;
    }
    struct agent *a = i->agent;
    if (is_news(&u->report, &r) && now_ms - a->hurried_ms >= HURRY_MS) {
        a->hurried_ms = now_ms;
        report_node(a);
    }
    arena_done(&u->arena);
    *u = (struct agent_umbilical){r, arena, now_ms, i->attempt};
    return OK;
}

void umbilical_fill(const struct instance *i, int64_t now_ms, struct umbilical *ret)
{
    const struct agent_umbilical *u = &i->umbilical;
    *ret = (struct umbilical){0};
    if (!id_is_none(u->report.run_id) && u->attempt == i->attempt) /* else it is of a program that has ended */
        *ret = (struct umbilical){now_ms - u->heard_ms, u->report};
}

/* Decisions about the log itself. */
#include "platform/decide_check.h"

enum err decide_set_aside(const struct decide *d, uint64_t seq, struct str reason, struct str requested_by,
                          struct event_list *out, struct errinfo *err)
{
    if (str_is_empty(str_trim(reason)))
        return err_set(err, ERR_INVALID, "'reason' is empty: whoever reads the log later wants to know");
    enum err rc = check_text("reason", reason, DECIDE_CAUSE_MAX, true, err);
    if (rc == OK)
        rc = check_text("requested_by", requested_by, 256, false, err);
    if (rc == OK)
        rc = check_format(d, EVENT_SET_ASIDE, err);
    if (rc != OK)
        return rc;
    MODEL_EACH (passed_record, r, &d->model->passed) {
        if (r->seq != seq)
            continue;
        if (r->reason[0] == '\0')
            event_list_add(out, EVENT_SET_ASIDE, d->ids)->set_aside =
                (struct set_aside){.seq = (int64_t)seq,
                                   .reason = arena_str(out->arena, reason),
                                   .requested_by = arena_str(out->arena, requested_by)};
        return OK;
    }
    return err_set(err, ERR_NOT_FOUND, "record %llu was folded: there is nothing to set aside",
                   (unsigned long long)seq);
}

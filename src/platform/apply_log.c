/* Folds of what the log says about itself: which kinds may be written, which record nobody takes. */
#include "platform/model_write.h"

static struct id id_of_seq(uint64_t seq)
{
    struct id id = ID_NONE;
    for (int i = 0; i < 8; i++)
        id.bytes[15 - i] = (uint8_t)(seq >> 8 * i);
    return id;
}

void model_pass_over(struct model *m, struct event_time time)
{
    struct passed_record *r = object_new(m, passed_record);
    r->seq = model_next_seq(m);
    r->id = id_of_seq(r->seq);
    index_add(m, &m->passed, r);
    m->seq++;
    if (event_time_cmp(time, m->time) > 0)
        m->time = time;
}

static enum err apply_set_aside(struct model *m, const struct set_aside *e, struct errinfo *err)
{
    const struct passed_record *found = id_index_find(&m->passed, id_of_seq((uint64_t)e->seq));
    if (e->seq <= 0 || found == NULL)
        return err_set(err, ERR_CORRUPT,
                       "record %lld was folded, but is set aside: fold the log anew from its beginning",
                       (long long)e->seq);
    if (found->reason[0] != '\0')
        return err_set(err, ERR_CORRUPT, "record %lld is set aside twice", (long long)e->seq);
    struct passed_record *r = passed_record_edit(m, found);
    texts_set(&m->texts, &r->reason, e->reason.len > 0 ? e->reason : STR("no reason was given"));
    texts_set(&m->texts, &r->requested_by, e->requested_by);
    return OK;
}

static enum err apply_raise_format(struct model *m, const struct event *ev, struct errinfo *err)
{
    const struct raise_format *e = &ev->raise_format;
    if (e->format <= m->format)
        return err_set(err, ERR_CORRUPT, "the log's format is %lld already: it only rises", (long long)m->format);
    if (e->format > EVENT_FORMAT)
        return err_set(err, ERR_CORRUPT, "format %lld is newer than this version reads (%d): install a newer one",
                       (long long)e->format, EVENT_FORMAT);
    m->format = e->format;
    retain_everything(m, ev->time.instant_ns);
    return OK;
}

enum err apply_log_event(struct model *m, const struct event *ev, struct errinfo *err)
{
    if (ev->kind == EVENT_RAISE_FORMAT)
        return apply_raise_format(m, ev, err);
    assert(ev->kind == EVENT_SET_ASIDE);
    return apply_set_aside(m, &ev->set_aside, err);
}

/* Folds of people: users and those who wait to be one. Personal fields are sealed; their keys are kept elsewhere. */
#include "platform/model_write.h"

bool is_sealed(struct str json)
{
    return str_starts(json, STR("{\"sealed\":\"")) && str_ends(json, STR("\"}"));
}

const struct waiting *model_waiting_by_identity(const struct model *m, struct str identity)
{
    size_t at = 0;
    for (const struct waiting *e;
         (e = key_index_next(&m->keys[KEY_WAITING_IDENTITY], key_of_str(identity), &at)) != NULL;)
        if (str_eq_c(identity, e->identity))
            return e;
    return NULL;
}

static enum err check_subject(const struct model *m, struct id id, struct str identity, struct errinfo *err)
{
    if (id_index_find(&m->users, id) != NULL || id_index_find(&m->waitlist, id) != NULL)
        return refuse_twice(err, "subject", id);
    if (identity.len == 0)
        return err_set(err, ERR_CORRUPT, "'identity' is empty");
    return OK;
}

static enum err apply_create_user(struct model *m, const struct event *ev, struct errinfo *err)
{
    const struct create_user *e = &ev->create_user;
    enum err rc = check_subject(m, e->user_id, e->identity, err);
    if (rc != OK)
        return rc;
    if (model_user_by_identity(m, e->identity) != NULL)
        return err_set(err, ERR_CORRUPT, "a user with this identity exists already");
    if ((e->name.len > 0 && !is_sealed(e->name)) || (e->email.len > 0 && !is_sealed(e->email)))
        return err_set(err, ERR_CORRUPT, "the name or the address of a user is not sealed");
    struct user *u = object_new(m, user);
    *u = (struct user){.id = e->user_id,
                       .changed_seq = model_next_seq(m),
                       .identity = texts_ref(&m->texts, e->identity),
                       .name = texts_ref(&m->texts, e->name),
                       .email = texts_ref(&m->texts, e->email),
                       .created_ns = ev->time.instant_ns};
    index_add(m, &m->users, u);
    keys_add(m, KEY_USER_IDENTITY, u);
    return OK;
}

static enum err apply_join_waitlist(struct model *m, const struct event *ev, struct errinfo *err)
{
    const struct join_waitlist *e = &ev->join_waitlist;
    enum err rc = check_subject(m, e->entry_id, e->identity, err);
    if (rc != OK)
        return rc;
    if (model_waiting_by_identity(m, e->identity) != NULL)
        return err_set(err, ERR_CORRUPT, "this identity waits already");
    if (!is_sealed(e->email))
        return err_set(err, ERR_CORRUPT, "the address is not sealed");
    struct waiting *w = object_new(m, waiting);
    *w = (struct waiting){e->entry_id, model_next_seq(m), texts_ref(&m->texts, e->identity),
                          texts_ref(&m->texts, e->email), ev->time.instant_ns};
    index_add(m, &m->waitlist, w);
    keys_add(m, KEY_WAITING_IDENTITY, w);
    return OK;
}

/* A user's id stays, so that what they did keeps its author; a place in the waitlist goes, and who follows the list is
 * told. */
static enum err apply_erase_subject(struct model *m, const struct erase_subject *e, struct errinfo *err)
{
    const struct user *was = id_index_find(&m->users, e->subject_id);
    const struct waiting *w = id_index_find(&m->waitlist, e->subject_id);
    if (w != NULL) {
        bury(m, OBJECT_WAITING, w->id, ID_NONE);
        index_remove(m, &m->waitlist, w->id);
        keys_remove(m, KEY_WAITING_IDENTITY, w);
        object_free(m, waiting, w);
        return OK;
    }
    if (was == NULL)
        return refuse_missing(err, "subject", e->subject_id);
    if (was->is_erased)
        return err_set(err, ERR_CORRUPT, "the user is erased already");
    keys_remove(m, KEY_USER_IDENTITY, was);
    struct user *u = user_edit(m, was);
    u->is_erased = true;
    u->changed_seq = model_next_seq(m);
    texts_set(&m->texts, &u->identity, STR(""));
    texts_set(&m->texts, &u->name, STR(""));
    texts_set(&m->texts, &u->email, STR(""));
    return OK;
}

enum err apply_subject_event(struct model *m, const struct event *ev, struct errinfo *err)
{
    if (ev->kind == EVENT_CREATE_USER)
        return apply_create_user(m, ev, err);
    if (ev->kind == EVENT_JOIN_WAITLIST)
        return apply_join_waitlist(m, ev, err);
    assert(ev->kind == EVENT_ERASE_SUBJECT);
    return apply_erase_subject(m, &ev->erase_subject, err);
}

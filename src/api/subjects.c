/* Erasure of a person: EraseSubject, then the keys of all that is sealed of them. It is answered when those are gone,
 * so whoever reads the answer can say that nobody reads the person's data any more. */
#include "api/handlers.h"
#include "api/parts.h"
#include "base/own.h"
#include "control/keyring.h"
#include "control/secret.h"
#include "platform/decide_owned.h"

enum { SEALED_MAX = 2 }; /* name and address of a user */

struct erasing {
    struct call *call;
    struct id id;
    bool waits_only; /* a place in the waitlist, no user */
    struct str sealed[SEALED_MAX];
    size_t n;
};

static void note_sealed(struct erasing *x, const char *text)
{
    struct str sealed = str_from(text);
    if (sealed.len > 0)
        x->sealed[x->n++] = arena_str(&x->call->arena, sealed);
}

static enum err erase_decide(const struct decide *d, void *args, struct event_list *out, struct errinfo *err)
{
    struct erasing *x = args;
    const struct waiting *w = id_index_find(&d->model->waitlist, x->id);
    const struct user *u = x->waits_only ? NULL : id_index_find(&d->model->users, x->id);
    x->n = 0;
    if (w == NULL && x->waits_only)
        return err_set(err, ERR_NOT_FOUND, "there is no such place in the waitlist");
    if (w != NULL)
        note_sealed(x, w->email);
    if (u != NULL) {
        note_sealed(x, u->name);
        note_sealed(x, u->email);
    }
    return decide_erase_subject(d, x->id, out, err);
}

static void keys_are_gone(void *ctx, enum err rc, const struct errinfo *err)
{
    struct call *c = ctx;
    if (rc == OK)
        call_reply_text(c, 202, STR("{}"));
    else
        call_reply_error(c, err);
}

/* Its event is durable: what dies before the keys are gone is finished by the sweep, within an hour. */
static void was_erased(struct call *c, void *args, size_t events_n)
{
    const struct erasing *x = args;
    struct keyring *k = control_keyring(c->api->o.control, NULL);
    if (k != NULL && events_n > 0)
        keyring_erase(k, x->sealed, x->n, keys_are_gone, c);
    else
        call_reply_text(c, 202, STR("{}"));
}

static void erase(struct call *c, const char *what, bool waits_only)
{
    struct erasing *x = arena_alloc(&c->arena, sizeof(*x));
    *x = (struct erasing){.call = c, .waits_only = waits_only};
    if (call_id(c, "id", what, &x->id))
        call_submit(c, erase_decide, x, was_erased);
}

void subject_erase(struct call *c)
{
    erase(c, "user or place in the waitlist", false);
}

void waitlist_erase(struct call *c)
{
    erase(c, "place in the waitlist", true);
}

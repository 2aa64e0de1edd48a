#include "notifier/authorization.h"

#include "base/own.h"
#include "wire/notification.h"

struct writer {
    const char *installation;
    struct buf *out;
};

/* Identities have no other characters (crypto/identity.h): nothing of a name can end the text that it stands in. */
static bool is_plain(struct str name)
{
    for (size_t i = 0; i < name.len; i++) {
        char c = name.ptr[i];
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-'))
            return false;
    }
    return name.len > 0 && name.len <= NOTIFICATION_NAME_MAX;
}

/* subject NULL: none at all. */
static void right(const struct writer *w, const char *what, const char *subject)
{
    if (subject != NULL)
        buf_addf(w->out, "%s: \"%s\"", what, subject);
    else
        buf_addf(w->out, "%s: { deny: \">\" }", what);
}

static void user(const struct writer *w, const char *role, struct str name, const char *publish, const char *subscribe)
{
    buf_addf(w->out, "    { user: \"slipform://%s/%s/%.*s\", permissions: { ", w->installation, role, STR_ARG(name));
    right(w, "publish", publish);
    buf_add_c(w->out, ", ");
    right(w, "subscribe", subscribe);
    buf_add_c(w->out, " } }\n");
}

static void users_of_node(void *ctx, const struct audience_node *n)
{
    const struct writer *w = ctx;
    char all[NOTIFICATION_SUBJECT_SIZE], edge[NOTIFICATION_SUBJECT_SIZE], node[NOTIFICATION_SUBJECT_SIZE];
    AUTO(buf) struct buf logs = {0}, below = {0};
    if (!is_plain(n->name))
        return;
    notification_log_subject(w->installation, ID_NONE, all);
    struct str subject = str_from(all);
    struct str log_level = str_slice(subject, 0, str_rfind(subject, '.'));
    buf_addf(&logs, "%.*s.*", STR_ARG(log_level));
    buf_addf(&below, "%.*s.>", STR_ARG(str_slice(log_level, 0, str_rfind(log_level, '.'))));
    notification_edge_subject(w->installation, n->region, edge);
    notification_node_subject(w->installation, n->node_id, node);
    user(w, "notifier", n->name, below.ptr, NULL);
    user(w, "control", n->name, NULL, logs.ptr);
    user(w, "public-api", n->name, NULL, logs.ptr);
    if (n->region.len > 0)
        user(w, "edge", n->name, NULL, edge);
    user(w, "node", n->name, NULL, node);
}

void authorization_begin(struct buf *out)
{
    buf_add_c(out, "authorization {\n  users: [\n");
}

void authorization_end(struct buf *out)
{
    buf_add_c(out, "  ]\n}\n");
}

void authorization_add_node(const struct audience_node *n, const char *installation, struct buf *out)
{
    struct writer w = {installation, out};
    users_of_node(&w, n);
}

/* What store/jetstream_*.c asks for. A log of an application is a stream of its own (store_spec_beside), whose name is
 * not known here. */
void authorization_add_store(const char *identity, const char *stream, struct buf *out)
{
    buf_addf(out,
             "    { user: \"%s\", permissions: { publish: [\"slipform.log.*\", \"$KV.%s-leases.>\", \"$KV.%s-keys.>\", "
             "\"$JS.API.STREAM.INFO.*\", \"$JS.API.STREAM.CREATE.*\", \"$JS.API.STREAM.MSG.GET.*\", "
             "\"$JS.API.DIRECT.GET.>\", \"$JS.API.STREAM.MSG.DELETE.KV_%s-keys\", \"slipform.bulk.%s.*\", "
             "\"$JS.API.STREAM.UPDATE.%s-bulk\", \"$JS.API.STREAM.PURGE.%s-bulk\"], subscribe: [\"_INBOX.>\", "
             "\"slipform.grown.*\"] } }\n",
             identity, stream, stream, stream, stream, stream, stream);
}

void authorization_format(const struct audience *a, const char *installation, struct buf *out)
{
    struct writer w = {installation, out};
    authorization_begin(out);
    audience_nodes(a, users_of_node, &w);
    authorization_end(out);
}

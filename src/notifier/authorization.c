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

/* What store/jetstream_*.c asks for (cluster test: test_dev1_jetstream). */
void authorization_add_store(const char *identity, const char *stream, bool is_owner, struct buf *out)
{
    static const char *const PUBLISH[] = {"slipform.log.%s",
                                          "$KV.%s-leases.>",
                                          "$KV.%s-keys.>",
                                          "$JS.API.STREAM.INFO.%s",
                                          "$JS.API.STREAM.INFO.KV_%s-keys",
                                          "$JS.API.STREAM.MSG.GET.%s",
                                          "$JS.API.STREAM.MSG.GET.KV_%s-keys",
                                          "$JS.API.STREAM.MSG.DELETE.KV_%s-keys",
                                          "$JS.API.STREAM.CREATE.KV_%s-leases",
                                          "$JS.API.STREAM.CREATE.KV_%s-keys",
                                          "$JS.API.DIRECT.GET.%s",
                                          "$JS.API.DIRECT.GET.%s.>",
                                          "$JS.API.DIRECT.GET.KV_%s-leases"};
    buf_addf(out, "    { user: \"%s\", permissions: { publish: [", identity);
    for (size_t i = 0; i < sizeof(PUBLISH) / sizeof(PUBLISH[0]); i++) {
        struct str pattern = str_from(PUBLISH[i]);
        size_t at = str_find(pattern, '%');
        buf_addf(out, "%s\"%.*s%s%.*s\"", i == 0 ? "" : ", ", STR_ARG(str_slice(pattern, 0, at)), stream,
                 STR_ARG(str_slice(pattern, at + 2, pattern.len)));
    }
    if (is_owner)
        buf_addf(out, ", \"$JS.API.STREAM.CREATE.%s\"", stream);
    buf_addf(out, "], subscribe: [\"_INBOX.>\", \"slipform.grown.%s\"] } }\n", stream);
}

void authorization_format(const struct audience *a, const char *installation, struct buf *out)
{
    struct writer w = {installation, out};
    authorization_begin(out);
    audience_nodes(a, users_of_node, &w);
    authorization_end(out);
}

#include "node/network/resolver.h"

#include <inttypes.h>
#include <signal.h>

#include "base/json.h"
#include "base/mem.h"
#include "base/own.h"
#include "os/child.h"
#include "os/file.h"

static const char PROGRAM[] = "/usr/sbin/dnsmasq";
enum { UPSTREAMS_MAX = 8, RESTART_MS = 1000 };

struct resolver {
    struct resolver_options o;
    uv_timer_t again;
    struct child *child;
    char *ref_path;
    bool is_stopping;
};

static void ref_write(const struct resolver *r)
{
    char boot_id[BOOT_ID_SIZE];
    struct errinfo err;
    struct child_ref ref = child_ref(r->child);
    if (boot_id_read(boot_id, &err) != OK)
        return;
    auto_free char *text = mem_printf("{\"pid\":%d,\"start_ticks\":%" PRIu64 ",\"boot_id\":\"%s\"}\n", (int)ref.pid,
                                      ref.start_ticks, boot_id);
    if (file_replace(r->ref_path, str_from(text), 0600, &err) != OK)
        log_err(r->o.log, &err, "the resolver will not be found again after a restart");
}

static bool ref_read(const struct resolver *r, struct child_ref *ret_ref)
{
    AUTO(buf) struct buf text = {0};
    auto_json json_t *doc = NULL;
    char boot_id[BOOT_ID_SIZE];
    struct errinfo err;
    if (file_read(r->ref_path, 4096, &text, &err) != OK || json_parse(buf_str(&text), &doc, &err) != OK ||
        boot_id_read(boot_id, &err) != OK || !str_eq_c(json_member_str(doc, "boot_id"), boot_id))
        return false;
    ret_ref->pid = (pid_t)json_integer_value(json_object_get(doc, "pid"));
    ret_ref->start_ticks = (uint64_t)json_integer_value(json_object_get(doc, "start_ticks"));
    return ret_ref->pid > 0;
}

/* "nameserver <address>" lines of the host; a loopback one is not reachable from another network namespace. */
static size_t host_upstreams(struct arena *arena, const char **ret_upstreams)
{
    AUTO(buf) struct buf text = {0};
    struct errinfo ignored;
    size_t n = 0;
    if (file_read("/etc/resolv.conf", 65536, &text, &ignored) != OK)
        return 0;
    struct str rest = buf_str(&text), line, word;
    while (n < UPSTREAMS_MAX && str_next(&rest, '\n', &line)) {
        line = str_trim(line);
        struct ip ip;
        if (!str_starts(line, STR("nameserver")))
            continue;
        word = str_trim(str_slice(line, strlen("nameserver"), line.len));
        if (ip_parse(word, &ip) && !(ip.family == AF_INET && ip.bytes[0] == 127))
            ret_upstreams[n++] = arena_printf(arena, "%.*s", STR_ARG(word));
    }
    return n;
}

static void on_end(struct child *c, const struct child_status *status, void *arg);

static enum err start(struct resolver *r, struct errinfo *err)
{
    AUTO(arena) struct arena arena = {0};
    char listen[IP_TEXT_SIZE];
    const char *host[UPSTREAMS_MAX], *const *upstreams = r->o.upstreams;
    size_t n = r->o.upstreams_n < UPSTREAMS_MAX ? r->o.upstreams_n : UPSTREAMS_MAX;
    if (n == 0) {
        n = host_upstreams(&arena, host);
        upstreams = host;
    }
    ip_format(&r->o.listen, listen);
    /* No file of the host is read; forwarded names and concurrent questions are bounded. */
    const char *argv[24 + UPSTREAMS_MAX] = {PROGRAM,
                                            "--keep-in-foreground",
                                            "--conf-file=/dev/null",
                                            "--no-resolv",
                                            "--no-poll",
                                            "--no-hosts",
                                            "--pid-file=",
                                            "--log-facility=-",
                                            "--user=nobody",
                                            "--bind-interfaces",
                                            "--domain-needed",
                                            "--bogus-priv",
                                            "--cache-size=1000",
                                            "--dns-forward-max=150",
                                            "--edns-packet-max=1232",
                                            arena_printf(&arena, "--listen-address=%s", listen)};
    size_t argc = 16;
    for (size_t i = 0; i < n; i++)
        argv[argc++] = arena_printf(&arena, "--server=%s", upstreams[i]);
    struct child_spec spec = {.argv = argv, .new_session = true, .no_new_privs = true};
    enum err rc = child_spawn(r->o.loop, &spec, on_end, r, &r->child, err);
    if (rc == OK)
        ref_write(r);
    return rc;
}

static void on_again(uv_timer_t *timer)
{
    struct resolver *r = timer->data;
    struct errinfo err = {0};
    if (start(r, &err) == OK)
        return;
    log_err(r->o.log, &err, "the resolver of this node's microVMs cannot be started (package dnsmasq-base)");
    (void)uv_timer_start(&r->again, on_again, RESTART_MS * 10, 0);
}

static void on_end(struct child *c, const struct child_status *status, void *arg)
{
    struct resolver *r = arg;
    child_free(c);
    r->child = NULL;
    if (r->is_stopping)
        return;
    log_warn(r->o.log, "the resolver ended (exit code %d, signal %d): starting it again", status->exit_code,
             status->signal);
    (void)uv_timer_start(&r->again, on_again, RESTART_MS, 0);
}

static struct resolver *resolver_new(const struct resolver_options *o)
{
    struct resolver *r = mem_alloc(sizeof(*r));
    r->o = *o; /* its folder is only used here */
    r->ref_path = mem_printf("%s/resolver.json", o->folder);
    (void)uv_timer_init(o->loop, &r->again);
    r->again.data = r;
    return r;
}

static bool adopt(struct resolver *r)
{
    struct child_ref ref;
    struct errinfo ignored;
    return ref_read(r, &ref) && child_adopt(r->o.loop, ref, on_end, r, &r->child, &ignored) == OK;
}

enum err resolver_start(const struct resolver_options *o, struct resolver **ret_resolver, struct errinfo *err)
{
    enum err rc = folder_make(o->folder, 0700, err);
    if (rc != OK)
        return rc;
    *ret_resolver = resolver_new(o);
    if (!adopt(*ret_resolver))
        (void)uv_timer_start(&(*ret_resolver)->again, on_again, 0, 0);
    return OK;
}

struct resolver *resolver_adopt(const struct resolver_options *o)
{
    struct resolver *r = resolver_new(o);
    if (adopt(r))
        return r;
    resolver_stop(r, true);
    return NULL;
}

static void on_closed(uv_handle_t *h)
{
    struct resolver *r = h->data;
    free(r->ref_path);
    free(r);
}

void resolver_stop(struct resolver *r, bool end)
{
    if (r == NULL)
        return;
    r->is_stopping = true;
    struct errinfo err;
    if (end && r->child != NULL && child_kill(r->child, SIGKILL, &err) != OK)
        log_err(r->o.log, &err, "the resolver cannot be ended");
    if (end)
        err_ignore(file_remove(r->ref_path, &err)); /* a stale one is noticed by its start time */
    child_free(r->child);
    uv_close((uv_handle_t *)&r->again, on_closed);
}

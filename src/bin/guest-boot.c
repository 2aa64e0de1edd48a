/* guest-boot: one instance by one runtime, driven from a terminal, a test or the benchmark. Not installed.
 *
 * Events go to stdout, one JSON object a line: {"event":"line"|"started"|"exit"|"probe", "ms":since the start, …}.
 * Commands come on stdin, one a line: "stop MS", "kill", "detach" (end and leave it running), "destroy" after its end.
 * With --adopt it takes over what an earlier guest-boot left. */
#include <getopt.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/encode.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/own.h"
#include "node/runtime/runtime.h"
#include "os/file.h"
#include "wire/instance.h"

struct boot {
    uv_loop_t loop;
    struct runtime_host host;
    struct runtime_facts facts;
    struct instance_spec spec;
    const struct runtime_ops *ops;
    struct runtime_instance *instance;
    uv_pipe_t commands;
    struct buf typed;
    char room[1024];
    int64_t from_us;
    bool adopt, probe, has_ended, leaves;
    int exit_code;
};

static int64_t since_ms(const struct boot *b)
{
    return (clock_mono_us() - b->from_us) / 1000;
}

static void say(json_t *doc)
{
    auto_free char *text = json_format(doc);
    (void)printf("%s\n", text);
    (void)fflush(stdout);
    json_decref(doc);
}

static void on_line(void *arg, enum runtime_stream stream, struct str text)
{
    json_t *t = json_from_str(text);
    say(json_pack("{s:s,s:I,s:s,s:o}", "event", "line", "ms", (json_int_t)since_ms(arg), "stream",
                  runtime_stream_name(stream), "text", t));
}

static void on_started(void *arg)
{
    struct boot *b = arg;
    say(json_pack("{s:s,s:I,s:i,s:b}", "event", "started", "ms", (json_int_t)since_ms(b), "pid",
                  (int)b->ops->pid(b->instance), "accelerated", b->ops->is_accelerated(b->instance)));
}

static void leave(struct boot *b)
{
    if (b->leaves)
        return;
    b->leaves = true;
    b->ops->free(TAKE(b->instance)); /* NULL is fine */
    uv_close((uv_handle_t *)&b->commands, NULL);
}

static void on_exit_of(void *arg, const struct runtime_exit *how)
{
    struct boot *b = arg;
    say(json_pack("{s:s,s:I,s:b,s:b,s:i,s:i,s:s}", "event", "exit", "ms", (json_int_t)since_ms(b), "known",
                  how->is_known, "ok", how->ok, "code", how->exit_code, "signal", how->signal, "cause", how->cause));
    b->has_ended = true;
    b->exit_code = how->ok ? 0 : 1;
    leave(b);
}

static void on_probe(void *arg, const struct runtime_probe_result *r)
{
    struct boot *b = arg;
    say(json_pack("{s:s,s:b,s:b,s:I,s:I,s:s,s:s}", "event", "probe", "ok", r->ok, "kvm", r->kvm, "boot_ms",
                  (json_int_t)r->boot_ms, "memory_bytes", (json_int_t)r->memory_bytes, "kernel", r->kernel, "detail",
                  r->detail));
    b->exit_code = r->ok ? 0 : 1;
    leave(b);
}

static void run_command(struct boot *b, struct str line)
{
    uint64_t ms;
    if (b->instance == NULL)
        return;
    if (str_starts(line, STR("stop ")) && str_parse_u64(str_slice(line, 5, line.len), INT32_MAX, &ms))
        b->ops->stop(b->instance, (int64_t)ms);
    else if (str_eq(line, STR("kill")))
        b->ops->kill(b->instance);
    else if (str_eq(line, STR("detach")))
        leave(b);
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *ret)
{
    (void)suggested;
    struct boot *b = handle->data;
    *ret = uv_buf_init(b->room, sizeof(b->room));
}

static void on_command(uv_stream_t *stream, ssize_t n, const uv_buf_t *bytes)
{
    struct boot *b = stream->data;
    if (n < 0)
        (void)uv_read_stop(stream);
    if (n <= 0)
        return;
    buf_add(&b->typed, bytes->base, (size_t)n);
    size_t end;
    while (!b->leaves && (end = str_find(buf_str(&b->typed), '\n')) < b->typed.len) {
        run_command(b, str_slice(buf_str(&b->typed), 0, end));
        buf_consume(&b->typed, end + 1);
    }
}

enum {
    OPT_RUNTIME = 1000,
    OPT_STATE,
    OPT_IMAGE,
    OPT_PROGRAM,
    OPT_CONFIG,
    OPT_SPEC,
    OPT_KERNEL,
    OPT_INITRAMFS,
    OPT_KVM,
    OPT_BARE,
    OPT_USER,
    OPT_TAP,
    OPT_MAC,
    OPT_IPV6,
    OPT_IPV6_GATEWAY,
    OPT_IPV4,
    OPT_IPV4_GATEWAY,
    OPT_GATEWAY_MAC,
    OPT_RESOLVER,
    OPT_HOSTNAME,
    OPT_CGROUP,
    OPT_ADOPT,
    OPT_PROBE,
    OPT_DESTROY,
    OPT_HELP
};
static const struct option OPTIONS[] = {
    {"runtime", required_argument, NULL, OPT_RUNTIME},
    {"state", required_argument, NULL, OPT_STATE},
    {"image", required_argument, NULL, OPT_IMAGE},
    {"program", required_argument, NULL, OPT_PROGRAM},
    {"config", required_argument, NULL, OPT_CONFIG},
    {"spec", required_argument, NULL, OPT_SPEC},
    {"kernel", required_argument, NULL, OPT_KERNEL},
    {"initramfs", required_argument, NULL, OPT_INITRAMFS},
    {"kvm", no_argument, NULL, OPT_KVM},
    {"bare", no_argument, NULL, OPT_BARE},
    {"user", required_argument, NULL, OPT_USER},
    {"tap", required_argument, NULL, OPT_TAP},
    {"mac", required_argument, NULL, OPT_MAC},
    {"ipv6", required_argument, NULL, OPT_IPV6},
    {"ipv6-gateway", required_argument, NULL, OPT_IPV6_GATEWAY},
    {"ipv4", required_argument, NULL, OPT_IPV4},
    {"ipv4-gateway", required_argument, NULL, OPT_IPV4_GATEWAY},
    {"gateway-mac", required_argument, NULL, OPT_GATEWAY_MAC},
    {"resolver", required_argument, NULL, OPT_RESOLVER},
    {"hostname", required_argument, NULL, OPT_HOSTNAME},
    {"cgroup", required_argument, NULL, OPT_CGROUP},
    {"adopt", no_argument, NULL, OPT_ADOPT},
    {"probe", no_argument, NULL, OPT_PROBE},
    {"destroy", no_argument, NULL, OPT_DESTROY},
    {"help", no_argument, NULL, OPT_HELP},
    {0},
};

static void usage(void)
{
    (void)printf("usage: guest-boot --state FOLDER [--runtime qemu|host|null] [--probe] [--adopt] [--destroy]\n"
                 "  --spec JSON  an instance_spec (docs/formats/documents.md)\n");
    for (const struct option *o = OPTIONS; o->name != NULL; o++)
        (void)printf("  --%s%s\n", o->name, o->has_arg == required_argument ? " VALUE" : "");
}

static enum err set_user(struct boot *b, const char *name, struct errinfo *err)
{
    const struct passwd *p = getpwnam(name);
    if (p == NULL)
        return err_set(err, ERR_NOT_FOUND, "there is no user '%s'", name);
    b->host.uid = p->pw_uid;
    b->host.gid = p->pw_gid;
    return OK;
}

static enum err set_mac(struct boot *b, const char *text, struct errinfo *err)
{
    struct str rest = str_from(text), digits;
    for (size_t i = 0; i < 6; i++)
        if (!str_next(&rest, ':', &digits) || !hex_parse(digits, &b->facts.mac[i], 1))
            return err_set(err, ERR_INVALID, "'%s' is not a MAC address", text);
    return OK;
}

static enum err set_option(struct boot *b, int option, const char *value, struct arena *a, struct errinfo *err)
{
    switch (option) {
    case OPT_RUNTIME:
        b->ops = runtime_find(str_from(value));
        return b->ops != NULL ? OK : err_set(err, ERR_INVALID, "there is no runtime '%s'", value);
    case OPT_STATE: b->facts.state_dir = value; return OK;
    case OPT_IMAGE: b->facts.image_path = value; return OK;
    case OPT_PROGRAM: b->facts.program_path = value; return OK;
    case OPT_CONFIG: b->facts.config_path = value; return OK;
    case OPT_SPEC: return fields_parse(&INSTANCE_SPEC_WIRE, str_from(value), a, &b->spec, err);
    case OPT_KERNEL: b->host.kernel_path = value; return OK;
    case OPT_INITRAMFS: b->host.initramfs_path = value; return OK;
    case OPT_KVM: b->host.kvm = true; return OK;
    case OPT_BARE: b->host.bare = true; return OK;
    case OPT_USER: return set_user(b, value, err);
    case OPT_TAP: b->facts.tap = value; return OK;
    case OPT_MAC: return set_mac(b, value, err);
    case OPT_IPV6: b->facts.ipv6_address = value; return OK;
    case OPT_IPV6_GATEWAY: b->facts.ipv6_gateway = value; return OK;
    case OPT_IPV4: b->facts.ipv4_address = value; return OK;
    case OPT_IPV4_GATEWAY: b->facts.ipv4_gateway = value; return OK;
    case OPT_GATEWAY_MAC: b->facts.gateway_mac = value; return OK;
    case OPT_RESOLVER: b->facts.resolver = value; return OK;
    case OPT_HOSTNAME: b->facts.hostname = value; return OK;
    case OPT_CGROUP: b->facts.cgroup = value; return OK;
    case OPT_ADOPT: b->adopt = true; return OK;
    case OPT_PROBE: b->probe = true; return OK;
    case OPT_DESTROY: return b->ops->destroy(&b->host, b->facts.state_dir, b->facts.cgroup, err);
    case OPT_HELP: usage(); exit(0);
    default: return err_set(err, ERR_INVALID, "unknown option; see --help");
    }
}

static enum err begin(struct boot *b, struct errinfo *err)
{
    const struct runtime_events events = {on_line, on_started, on_exit_of, b};
    if (b->probe) {
        const struct runtime_probe_options o = {.host = &b->host,
                                                .kvm = b->host.kvm,
                                                .state_dir = b->facts.state_dir,
                                                .cgroup = b->facts.cgroup,
                                                .timeout_ms = 60000,
                                                .done = on_probe,
                                                .arg = b};
        struct runtime_probe *probe;
        return runtime_probe(&o, &probe, err);
    }
    if (b->adopt)
        return b->ops->adopt(&b->host, &b->facts, &events, &b->instance, err);
    return b->ops->start(&b->host, &b->facts, &events, &b->instance, err);
}

static enum err run(struct boot *b, struct errinfo *err)
{
    (void)uv_pipe_init(&b->loop, &b->commands, 0);
    b->commands.data = b;
    b->from_us = clock_mono_us();
    enum err rc = begin(b, err);
    if (rc != OK) {
        leave(b);
        return rc;
    }
    if (uv_guess_handle(0) == UV_NAMED_PIPE && uv_pipe_open(&b->commands, 0) == 0)
        (void)uv_read_start((uv_stream_t *)&b->commands, on_alloc, on_command);
    (void)uv_run(&b->loop, UV_RUN_DEFAULT);
    return OK;
}

int main(int argc, char **argv)
{
    (void)signal(SIGPIPE, SIG_IGN);
    struct boot b = {.ops = &RUNTIME_QEMU};
    struct errinfo err;
    AUTO(arena) struct arena a = {0};
    b.facts.spec = &b.spec;
    b.host.loop = &b.loop;
    cgroup_detect(&b.host.cgroups);
    if (uv_loop_init(&b.loop) != 0)
        return 1;
    enum err rc = set_user(&b, "nobody", &err);
    int option;
    bool destroys = false;
    while (rc == OK && (option = getopt_long(argc, argv, "", OPTIONS, NULL)) != -1) {
        destroys |= option == OPT_DESTROY;
        rc = set_option(&b, option, optarg, &a, &err);
    }
    if (rc == OK && b.facts.state_dir == NULL)
        rc = err_set(&err, ERR_INVALID, "--state is needed; see --help");
    if (rc == OK && !destroys)
        rc = run(&b, &err);
    buf_done(&b.typed);
    (void)uv_run(&b.loop, UV_RUN_DEFAULT); /* closes what was left */
    if (uv_loop_close(&b.loop) != 0)
        (void)fprintf(stderr, "guest-boot: handles are left open\n");
    if (rc != OK) {
        (void)fprintf(stderr, "guest-boot: %s\n", err.msg);
        return err_exit_code(rc);
    }
    return b.exit_code;
}

#include "node/runtime/qemu_args.h"

#include "base/own.h"
#include "node/runtime/guest_link.h"

#define MIB (1024ll * 1024)

enum err qemu_machine_size(const struct resources *r, struct qemu_machine *ret_machine, struct errinfo *err)
{
    int64_t vcpus = r->vcpus == 0 ? 1 : r->vcpus;
    int64_t memory = r->memory_bytes == 0 ? QEMU_MEMORY_DEFAULT : r->memory_bytes;
    if (vcpus < 1 || vcpus > QEMU_VCPUS_MAX)
        return err_set(err, ERR_INVALID, "%lld vcpus: a microVM has 1 to %d", (long long)vcpus, QEMU_VCPUS_MAX);
    if (memory < QEMU_MEMORY_MIN || memory > QEMU_MEMORY_MAX)
        return err_set(err, ERR_INVALID, "%lld bytes of memory: a microVM has %lld to %lld", (long long)memory,
                       QEMU_MEMORY_MIN, QEMU_MEMORY_MAX);
    ret_machine->vcpus = vcpus;
    ret_machine->memory_bytes = memory / MIB * MIB;
    return OK;
}

struct words {
    struct arena *arena;
    const char **items;
    size_t n;
};

#define WORDS_MAX 64

static void add(struct words *w, const char *word)
{
    if (w->n < WORDS_MAX)
        w->items[w->n++] = word;
}

/* What makes Debian's kernel boot fast and without a look around; measured under TCG: rtc=on saves 1.0 s; without
 * tsc_early_khz it hangs calibrating. Not nolapic_timer (0.2 s less): under ACPI this machine has no other timer, and
 * every sleep in the guest would last for ever (test_guest: test_orphans_are_reaped). A panic reboots at once, which
 * ends QEMU. */
static const char *kernel_words(const struct qemu_machine *m, struct arena *a)
{
    const char *common = "console=ttyS0 quiet loglevel=3 reboot=t panic=-1 random.trust_cpu=on";
    if (m->kvm)
        return common;
    return arena_printf(a, "%s tsc=reliable no_timer_check tsc_early_khz=%lld", common, (long long)m->tsc_khz);
}

static void add_port(struct words *w, const char *id, int fd)
{
    add(w, "-chardev");
    add(w, arena_printf(w->arena, "socket,id=%s,fd=%d,server=on,wait=off", id, fd));
}

static void add_devices(struct words *w, const struct qemu_machine *m)
{
    add_port(w, "console", QEMU_FD_CONSOLE);
    add(w, "-serial");
    add(w, "chardev:console");
    add_port(w, "guest", QEMU_FD_GUEST);
    add(w, "-device");
    add(w, "virtio-serial-device");
    add(w, "-device");
    add(w, "virtserialport,chardev=guest,name=" GUEST_PORT_NAME);
    if (m->has_disk) {
        add(w, "-add-fd");
        add(w, arena_printf(w->arena, "fd=%d,set=1", QEMU_FD_DISK));
        add(w, "-drive");
        add(w, "if=none,id=root,file=/dev/fdset/1,format=raw,readonly=on");
        add(w, "-device");
        add(w, "virtio-blk-device,drive=root");
    }
    if (m->has_tap) {
        add(w, "-netdev");
        add(w, arena_printf(w->arena, "tap,id=net,fd=%d,vhost=off", QEMU_FD_TAP));
        add(w, "-device");
        add(w, arena_printf(w->arena, "virtio-net-device,netdev=net,mac=%02x:%02x:%02x:%02x:%02x:%02x", m->mac[0],
                            m->mac[1], m->mac[2], m->mac[3], m->mac[4], m->mac[5]));
    }
}

const char *const *qemu_argv(const struct qemu_machine *m, struct arena *a)
{
    struct words w = {.arena = a, .items = arena_alloc(a, (WORDS_MAX + 1) * sizeof(char *))};
    add(&w, m->qemu_path);
    add(&w, "-M");
    add(&w, "microvm,acpi=on,rtc=on");
    add(&w, "-accel");
    add(&w, m->kvm ? "kvm" : "tcg,tb-size=64");
    add(&w, "-cpu");
    add(&w, m->kvm ? "host" : "max");
    add(&w, "-m");
    add(&w, arena_printf(a, "%lldM", (long long)(m->memory_bytes / MIB)));
    add(&w, "-smp");
    add(&w, arena_printf(a, "%lld", (long long)m->vcpus));
    add(&w, "-nodefaults");
    add(&w, "-no-user-config");
    add(&w, "-no-reboot");
    add(&w, "-display");
    add(&w, "none");
    if (m->sandbox) {
        add(&w, "-sandbox");
        add(&w, "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny");
    }
    add(&w, "-kernel");
    add(&w, m->kernel_path);
    add(&w, "-initrd");
    add(&w, m->initramfs_path);
    add(&w, "-append");
    add(&w, kernel_words(m, a));
    add_devices(&w, m);
    return w.items;
}

static struct strs merge_env(const struct runtime_facts *f, struct arena *a)
{
    size_t n = 0, facts_n = 0;
    while (f->env != NULL && f->env[facts_n] != NULL)
        facts_n++;
    struct str *items = arena_alloc(a, (f->spec->env.n + facts_n + 1) * sizeof(*items));
    for (size_t i = 0; i < f->spec->env.n; i++)
        items[n++] = f->spec->env.items[i];
    for (size_t i = 0; i < facts_n; i++)
        items[n++] = str_from(f->env[i]); /* the later one wins in the guest */
    return (struct strs){items, n};
}

enum err qemu_guest_config(const struct runtime_facts *facts, int64_t memory_bytes, int64_t wall_us,
                           struct buf *ret_json, struct errinfo *err)
{
    AUTO(arena) struct arena a = {0};
    int64_t disk = facts->spec->resources.disk_bytes;
    struct guest_config c = {
        .image = facts->spec->image_config,
        .env = merge_env(facts, &a),
        .hostname = str_from(facts->hostname),
        .ipv6_address = str_from(facts->ipv6_address),
        .ipv6_gateway = str_from(facts->ipv6_gateway),
        .ipv4_address = str_from(facts->ipv4_address),
        .ipv4_gateway = str_from(facts->ipv4_gateway),
        .gateway_mac = str_from(facts->gateway_mac),
        .resolver = str_from(facts->resolver),
        .overlay_bytes = disk > 0 && disk < memory_bytes / 2 ? disk : memory_bytes / 2,
        .wall_us = wall_us,
        .stop_grace_ms = facts->spec->stop_grace_seconds * 1000,
    };
    fields_encode(&GUEST_CONFIG_WIRE, &c, ret_json);
    if (ret_json->len > GUEST_CONFIG_MAX)
        return err_set(err, ERR_INVALID, "environment and command of the instance have %zu bytes; at most %u fit",
                       ret_json->len, GUEST_CONFIG_MAX);
    return OK;
}

/* guest-init: PID 1 of a microVM.
 *
 * Happy path: mounts, modules, the port; CONFIG comes -> HELLO; network, root, program -> STARTED; its output as OUTPUT
 * frames; it ends -> the rest of its output, EXIT, wait until the host has it, power off.
 * STOP: the image's stop signal to the program, SIGKILL to everything after the grace.
 * What can go wrong: no configuration ever comes: wait, the host will end us; the program cannot be started: EXIT with
 * the problem; the host goes away: the program runs on, its output is kept to a bound, the host attaches again. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/reboot.h>
#include <sys/signalfd.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/own.h"
#include "guest/channel.h"
#include "guest/network.h"
#include "guest/program.h"
#include "guest/root.h"
#include "os/file.h"

/* How long the host may take to fetch the exit status before we power off without it. Chosen, never measured. */
#define FLUSH_MS 30000
/* A port without a host is looked at that often, should its SIGIO be missed. */
#define AWAY_LOOK_MS 200
#define DEFAULT_GRACE_MS 10000
/* Output is read on for that long after the program's end: whoever else holds the pipe was killed. */
#define DRAIN_MS 500

enum phase { PHASE_WAITING, PHASE_RUNNING, PHASE_DRAINING, PHASE_FLUSHING };

struct init {
    struct channel channel;
    struct arena arena; /* of config */
    struct guest_config config;
    struct program program;
    enum phase phase;
    int signal_fd;
    int64_t deadline_us; /* of the phase, or when to kill; 0: none */
    bool is_stopping;
    int wait_status;
};

static _Noreturn void power_off(void)
{
    (void)reboot(RB_AUTOBOOT); /* the hypervisor runs with -no-reboot: this ends it with code 0 */
    for (;;)
        (void)pause();
}

static void hello(struct init *in, const uint8_t nonce[static GUEST_NONCE_SIZE])
{
    struct utsname names;
    struct sysinfo info;
    struct timespec up;
    (void)uname(&names);
    (void)sysinfo(&info);
    (void)clock_gettime(CLOCK_BOOTTIME, &up);
    struct guest_hello h = {.kernel = str_from(names.release),
                            .memory_bytes = (int64_t)(info.totalram * info.mem_unit),
                            .uptime_ms = (int64_t)up.tv_sec * 1000 + up.tv_nsec / 1000000,
                            .configured = in->phase != PHASE_WAITING};
    channel_attach(&in->channel, nonce, &h);
}

static bool had_out_of_memory(void)
{
    AUTO(buf) struct buf text = {0};
    if (file_read("/proc/vmstat", 65536, &text, NULL) != OK)
        return false;
    struct str rest = buf_str(&text), line;
    while (str_next(&rest, '\n', &line))
        if (str_starts(line, STR("oom_kill ")))
            return !str_eq_c(line, "oom_kill 0");
    return false;
}

static void finish(struct init *in, const struct guest_exit *how)
{
    AUTO(buf) struct buf payload = {0};
    fields_encode(&GUEST_EXIT_WIRE, how, &payload);
    channel_tell(&in->channel, GUEST_EXIT, buf_str(&payload));
    in->phase = PHASE_FLUSHING;
    in->deadline_us = clock_mono_us() + FLUSH_MS * 1000;
}

static enum err start(struct init *in, struct errinfo *err)
{
    if (in->config.wall_us > 0) {
        struct timespec now = {in->config.wall_us / 1000000, in->config.wall_us % 1000000 * 1000};
        (void)clock_settime(CLOCK_REALTIME, &now);
    }
    enum err rc = network_set(&in->config, err);
    if (rc != OK || (rc = root_switch(&in->config, err)) != OK)
        return rc;
    return program_start(&in->config, &in->program, err);
}

static void configure(struct init *in, struct str text)
{
    struct errinfo err;
    enum err rc = fields_parse(&GUEST_CONFIG_WIRE, text, &in->arena, &in->config, &err);
    if (rc == OK && in->config.probe) {
        in->phase = PHASE_FLUSHING;
        in->deadline_us = clock_mono_us() + FLUSH_MS * 1000;
        return;
    }
    if (rc == OK)
        rc = start(in, &err);
    if (rc != OK) {
        finish(in, &(struct guest_exit){.problem = str_from(err.msg)});
        return;
    }
    in->phase = PHASE_RUNNING;
    channel_tell(&in->channel, GUEST_STARTED, (struct str){0});
}

static void stop(struct init *in, struct str text)
{
    AUTO(arena) struct arena a = {0};
    struct guest_stop s = {0};
    if (in->is_stopping)
        return;
    if (fields_parse(&GUEST_STOP_WIRE, text, &a, &s, NULL) != OK || s.grace_ms < 0)
        s.grace_ms = in->config.stop_grace_ms > 0 ? in->config.stop_grace_ms : DEFAULT_GRACE_MS;
    in->is_stopping = true;
    if (in->phase == PHASE_WAITING)
        power_off();
    if (in->phase != PHASE_RUNNING)
        return;
    int signal = program_signal(in->config.image.stop_signal);
    (void)kill(in->program.pid, signal == 0 ? SIGTERM : signal);
    in->deadline_us = clock_mono_us() + s.grace_ms * 1000;
}

static void handle(struct init *in, const struct guest_frame *f)
{
    bool greets = f->type == GUEST_CONFIG || f->type == GUEST_ATTACH;
    if (greets && f->payload.len < GUEST_NONCE_SIZE)
        return;
    if (greets) {
        uint8_t nonce[GUEST_NONCE_SIZE];
        memcpy(nonce, f->payload.ptr, sizeof(nonce));
        hello(in, nonce);
        channel_send(&in->channel);
    }
    if (f->type == GUEST_CONFIG && in->phase == PHASE_WAITING)
        configure(in, str_slice(f->payload, GUEST_NONCE_SIZE, f->payload.len));
    if (f->type == GUEST_STOP)
        stop(in, f->payload);
}

/* The program is over: what else runs goes, its last output comes. */
static void on_program_end(struct init *in, int status)
{
    in->wait_status = status;
    in->program.pid = 0;
    in->phase = PHASE_DRAINING;
    in->deadline_us = clock_mono_us() + DRAIN_MS * 1000;
    (void)kill(-1, SIGKILL);
}

static void reap(struct init *in)
{
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
        if (pid == in->program.pid)
            on_program_end(in, status);
}

static void read_signals(struct init *in)
{
    struct signalfd_siginfo info[8];
    while (read(in->signal_fd, info, sizeof(info)) > 0)
        ;
    reap(in);
}

/* True when there may be more at once. */
static bool read_output(struct init *in, int i)
{
    char bytes[GUEST_OUTPUT_MAX - 1];
    ssize_t n = read(in->program.output[i], bytes, sizeof(bytes));
    if (n > 0)
        channel_output(&in->channel, (uint8_t)(i + 1), bytes, (size_t)n);
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
        (void)close(in->program.output[i]);
        in->program.output[i] = -1;
    }
    return n == (ssize_t)sizeof(bytes);
}

static void on_deadline(struct init *in)
{
    in->deadline_us = 0;
    switch (in->phase) {
    case PHASE_WAITING: break;
    case PHASE_RUNNING: (void)kill(-1, SIGKILL); break;
    case PHASE_DRAINING:
        for (int i = 0; i < 2; i++)
            if (in->program.output[i] >= 0)
                (void)close(TAKE_FD(in->program.output[i]));
        break;
    case PHASE_FLUSHING: power_off();
    }
}

static void tick(struct init *in)
{
    struct guest_frame f;
    while (channel_take(&in->channel, &f) == OK)
        handle(in, &f);
    if (in->deadline_us > 0 && clock_mono_us() >= in->deadline_us)
        on_deadline(in);
    if (in->phase == PHASE_DRAINING && in->program.output[0] < 0 && in->program.output[1] < 0) {
        int s = in->wait_status;
        finish(in, &(struct guest_exit){.exit_code = WIFEXITED(s) ? WEXITSTATUS(s) : 0,
                                        .signal = WIFSIGNALED(s) ? WTERMSIG(s) : 0,
                                        .out_of_memory = had_out_of_memory()});
    }
    channel_send(&in->channel);
    if (in->phase == PHASE_FLUSHING && channel_is_flushed(&in->channel))
        power_off();
}

/* With the host there, a full channel lets the program wait; without it, output is read and counted as dropped. */
static bool reads_output(const struct init *in, int i)
{
    return in->program.output[i] >= 0 && (!in->channel.is_attached || channel_has_room(&in->channel));
}

static int wait_ms(const struct init *in)
{
    int64_t ms = in->channel.is_connected ? -1 : AWAY_LOOK_MS;
    if (in->deadline_us > 0) {
        int64_t left = (in->deadline_us - clock_mono_us()) / 1000 + 1;
        left = left < 0 ? 0 : left;
        ms = ms < 0 || left < ms ? left : ms;
    }
    return (int)ms;
}

static void wait_and_read(struct init *in)
{
    short want = (short)(POLLIN | (channel_wants_write(&in->channel) ? POLLOUT : 0));
    struct pollfd fds[4] = {
        {.fd = in->signal_fd, .events = POLLIN},
        {.fd = in->channel.is_connected ? in->channel.fd : -1, .events = want},
        {.fd = reads_output(in, 0) ? in->program.output[0] : -1, .events = POLLIN},
        {.fd = reads_output(in, 1) ? in->program.output[1] : -1, .events = POLLIN},
    };
    int n = poll(fds, 4, wait_ms(in));
    if (fds[0].revents != 0)
        read_signals(in);
    if (!in->channel.is_connected || (n > 0 && (fds[1].revents & (POLLIN | POLLHUP | POLLERR)) != 0))
        (void)channel_receive(&in->channel);
    for (int i = 0; i < 2; i++)
        if (n > 0 && fds[2 + i].revents != 0)
            (void)read_output(in, i);
}

static int open_signals(void)
{
    sigset_t set;
    (void)sigfillset(&set);
    (void)sigprocmask(SIG_SETMASK, &set, NULL);
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGCHLD);
    (void)sigaddset(&set, SIGIO);
    return signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
}

int main(void)
{
    if (getpid() != 1) {
        (void)fprintf(stderr, "guest-init is the first program of a microVM; it does nothing here\n");
        return 2;
    }
    struct init in = {.program = {.output = {-1, -1}}, .signal_fd = open_signals()};
    struct errinfo err;
    enum err rc = root_mount_early(&err);
    if (rc == OK)
        rc = root_load_modules(&err);
    if (rc == OK)
        rc = channel_open(&in.channel, 10000, &err);
    if (rc != OK) {
        (void)fprintf(stderr, "guest-init: %s\n", err.msg);
        power_off();
    }
    for (;;) {
        wait_and_read(&in);
        tick(&in);
    }
}

#include "store_nats.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>

#include "base/json.h"
#include "os/file.h"
#include "store_help.h"

struct test_nats_faults {
    _Atomic uint64_t random;
    _Atomic uint32_t one_in, late; /* late: held back, or just delivered */
};

/* ---- the relay: a process of its own, one loop of poll ---- */

/* MSS: as over Ethernet; that of the loopback device would let a megabyte into a socket that nobody reads. */
enum { PAIRS_MAX = 64, BYTES_MAX = 65536, LATE_MS = 20, MSS = 1460 };
struct pair {
    int client, server; /* -1: none */
    char *late;         /* what comes to the server though the client has gone */
    size_t late_n;
    int64_t at_ms;
    bool drops; /* the server's answer, and then the connection */
};
struct relay {
    int listener, port;
    struct pair pairs[PAIRS_MAX];
    struct test_nats_faults *faults;
    char bytes[BYTES_MAX];
};

static int64_t now_ms(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static struct sockaddr_in loopback(int port)
{
    return (struct sockaddr_in){
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static bool send_all(int fd, const char *bytes, size_t n)
{
    while (n > 0) {
        ssize_t k = send(fd, bytes, n, MSG_NOSIGNAL);
        if (k <= 0)
            return false;
        bytes += k;
        n -= (size_t)k;
    }
    return true;
}

static void drop_pair(struct pair *p)
{
    if (p->client >= 0)
        (void)close(p->client);
    if (p->server >= 0)
        (void)close(p->server);
    free(p->late);
    *p = (struct pair){.client = -1, .server = -1};
}

static void accept_pair(struct relay *r)
{
    int client = accept4(r->listener, NULL, NULL, SOCK_CLOEXEC),
        server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in to = loopback(r->port);
    bool is_connected = client >= 0 && server >= 0 && connect(server, (struct sockaddr *)&to, sizeof(to)) == 0;
    for (size_t i = 0; is_connected && i < PAIRS_MAX; i++) {
        if (r->pairs[i].client < 0 && r->pairs[i].server < 0) {
            int yes = 1; /* each answer at once, as server and library send them */
            (void)setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes));
            (void)setsockopt(server, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes));
            r->pairs[i] = (struct pair){.client = client, .server = server};
            return;
        }
    }
    (void)close(server);
    (void)close(client);
}

static uint32_t roll(struct test_nats_faults *f)
{
    uint64_t x = atomic_load(&f->random) * 6364136223846793005u + 1442695040888963407u; /* Knuth's MMIX */
    atomic_store(&f->random, x);
    return (uint32_t)(x >> 33);
}

/* False: the pair is to be dropped. */
static bool from_client(struct relay *r, struct pair *p)
{
    static const char APPEND[] = "HPUB slipform.";
    ssize_t n = recv(p->client, r->bytes, sizeof(r->bytes), 0);
    uint32_t one_in = atomic_load(&r->faults->one_in);
    if (n <= 0)
        return false;
    if (one_in == 0 || memmem(r->bytes, (size_t)n, APPEND, sizeof(APPEND) - 1) == NULL || roll(r->faults) % one_in != 0)
        return send_all(p->server, r->bytes, (size_t)n);
    switch (roll(r->faults) % 3) {
    case 0: /* the server never gets it */ return false;
    case 1: /* the client never gets the answer */ p->drops = true; return send_all(p->server, r->bytes, (size_t)n);
    default: /* the client is gone before the server gets it */
        p->late = malloc((size_t)n);
        if (p->late == NULL)
            return false;
        memcpy(p->late, r->bytes, (size_t)n);
        p->late_n = (size_t)n;
        atomic_fetch_add(&r->faults->late, 1);
        p->at_ms = now_ms() + LATE_MS;
        (void)close(p->client);
        p->client = -1;
        return true;
    }
}

static bool from_server(struct relay *r, struct pair *p)
{
    ssize_t n = recv(p->server, r->bytes, sizeof(r->bytes), 0);
    if (n <= 0 || p->drops)
        return false;
    return p->client < 0 || send_all(p->client, r->bytes, (size_t)n);
}

static bool deliver_late(struct pair *p)
{
    bool is_sent = send_all(p->server, p->late, p->late_n);
    free(p->late);
    p->late = NULL;
    p->at_ms = now_ms() + LATE_MS; /* for the server to take it */
    return is_sent;
}

static void relay_turn(struct relay *r)
{
    struct pollfd fds[2 * PAIRS_MAX + 1];
    for (size_t i = 0; i < PAIRS_MAX; i++) {
        fds[2 * i] = (struct pollfd){.fd = r->pairs[i].client, .events = POLLIN};
        fds[2 * i + 1] = (struct pollfd){.fd = r->pairs[i].server, .events = POLLIN};
    }
    fds[2 * PAIRS_MAX] = (struct pollfd){.fd = r->listener, .events = POLLIN};
    (void)poll(fds, 2 * PAIRS_MAX + 1, 5);
    for (size_t i = 0; i < PAIRS_MAX; i++) {
        struct pair *p = &r->pairs[i];
        bool lives = true, is_late = p->server >= 0 && p->client < 0;
        if (fds[2 * i].revents != 0)
            lives = from_client(r, p);
        if (lives && fds[2 * i + 1].revents != 0)
            lives = from_server(r, p);
        if (lives && is_late && now_ms() >= p->at_ms)
            lives = p->late != NULL && deliver_late(p);
        if (!lives && is_late)
            atomic_fetch_sub(&r->faults->late, 1);
        if (!lives)
            drop_pair(p);
    }
    if (fds[2 * PAIRS_MAX].revents != 0)
        accept_pair(r);
}

static pid_t start_relay(struct test_nats *n, int server_port)
{
    static struct relay r;
    socklen_t size = sizeof(struct sockaddr_in);
    struct sockaddr_in at = loopback(0);
    int mss = MSS;
    r = (struct relay){.port = server_port, .faults = n->faults};
    r.listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool listens = r.listener >= 0 && bind(r.listener, (struct sockaddr *)&at, sizeof(at)) == 0 &&
                   setsockopt(r.listener, IPPROTO_TCP, TCP_MAXSEG, &mss, sizeof(mss)) == 0 &&
                   listen(r.listener, 64) == 0 && getsockname(r.listener, (struct sockaddr *)&at, &size) == 0;
    assert_true(listens);
    n->relay_port = ntohs(at.sin_port);
    for (size_t i = 0; i < PAIRS_MAX; i++)
        r.pairs[i] = (struct pair){.client = -1, .server = -1};
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid > 0) {
        (void)close(r.listener);
        return pid;
    }
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (;;)
        relay_turn(&r);
}

/* ---- the server ---- */

static const char *find_server(char ret[static 256])
{
    const char *named = getenv("NATS_SERVER"), *cache = getenv("SLIPFORM_CACHE");
    (void)snprintf(ret, 256, "%s/nats/nats-server", cache != NULL ? cache : "/var/cache/slipform");
    if (named != NULL)
        (void)snprintf(ret, 256, "%s", named);
    return access(ret, X_OK) == 0 ? ret : NULL;
}

static void run_server(const char *program, const char *dir)
{
    auto_free char *config = mem_printf("%s/nats.conf", dir), *log = mem_printf("%s/nats.log", dir);
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    int fd = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fd < 0 || dup2(fd, 1) < 0 || dup2(fd, 2) < 0)
        _exit(126);
    (void)execl(program, program, "-c", config, (char *)NULL);
    _exit(127);
}

/* The server writes its ports when it listens. */
static void await_ports(struct test_nats *n, int *ret_port)
{
    auto_free char *path = mem_printf("%s/nats-server_%d.ports", n->dir, (int)n->server);
    AUTO(buf) struct buf text = {0};
    auto_json json_t *doc = NULL;
    for (int i = 0; i < 3000 && doc == NULL; i++) { /* 30 s */
        buf_clear(&text);
        if (file_read(path, 4096, &text, NULL) == OK)
            (void)!json_parse(buf_str(&text), &doc, NULL);
        assert_int_equal(waitpid(n->server, NULL, WNOHANG), 0);
        (void)poll(NULL, 0, doc == NULL ? 10 : 0);
    }
    const char *nats = json_string_value(json_array_get(json_object_get(doc, "nats"), 0));
    const char *monitor = json_string_value(json_array_get(json_object_get(doc, "monitoring"), 0));
    const char *host = nats == NULL ? NULL : strstr(nats, "://"); /* "nats" or "tls" in front */
    assert_true(host != NULL && monitor != NULL);
    (void)snprintf(n->address, sizeof(n->address), "%.60s", host + 3);
    (void)snprintf(n->monitor, sizeof(n->monitor), "%.60s", monitor);
    uint64_t port = 0;
    const char *colon = strrchr(n->address, ':');
    assert_true(colon != NULL && str_parse_u64(str_from(colon + 1), 65535, &port));
    *ret_port = (int)port;
}

static bool has_server(char program[static 256])
{
    if (find_server(program) != NULL)
        return true;
    print_message("SKIPPED: the jetstream store is NOT tested here, there is no nats-server at '%s' (tools/setup "
                  "builds it; NATS_SERVER names another)\n",
                  program);
    return false;
}

bool test_nats_start(struct test_nats *n, const char *sync, const char *more)
{
    char program[256];
    *n = (struct test_nats){0};
    if (!has_server(program))
        return false;
    assert_true(scratch_make(scratch_in_memory(), n->dir, sizeof(n->dir)));
    auto_free char *config = mem_printf("%s/nats.conf", n->dir);
    auto_free char *text = mem_printf("server_name: test\nlisten: \"127.0.0.1:-1\"\nhttp: \"127.0.0.1:-1\"\n"
                                      "ports_file_dir: \"%s\"\n%s\n"
                                      "jetstream { store_dir: \"%s\", sync_interval: %s }\n",
                                      n->dir, more, n->dir, sync);
    write_whole(config, text, strlen(text));
    n->faults = mmap(NULL, sizeof(*n->faults), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(n->faults != MAP_FAILED);
    n->server = fork();
    assert_true(n->server >= 0);
    if (n->server == 0)
        run_server(program, n->dir);
    int port = 0;
    await_ports(n, &port);
    n->relay = start_relay(n, port);
    return true;
}

void test_nats_stop(struct test_nats *n)
{
    pid_t both[] = {n->relay, n->server};
    for (size_t i = 0; i < 2; i++) {
        if (both[i] > 0 && kill(both[i], SIGKILL) == 0)
            (void)waitpid(both[i], NULL, 0);
    }
    if (n->faults != NULL)
        (void)munmap(n->faults, sizeof(*n->faults));
    if (n->dir[0] != '\0')
        remove_folder(n->dir);
}

void test_nats_cut(struct test_nats *n, uint64_t seed, uint32_t one_in)
{
    atomic_store(&n->faults->random, seed);
    atomic_store(&n->faults->one_in, one_in);
}

void test_nats_await_late(const struct test_nats *n)
{
    int i = 0;
    for (; i < 6000 && atomic_load(&n->faults->late) > 0; i++) /* 30 s */
        (void)poll(NULL, 0, 5);
    assert_true(i < 6000);
}

/* ---- several ---- */

/* A port that was free a moment ago; kept by `fd` until all are chosen. */
static int choose_port(int *ret_fd)
{
    struct sockaddr_in at = loopback(0);
    socklen_t size = sizeof(at);
    *ret_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool is_bound = *ret_fd >= 0 && bind(*ret_fd, (struct sockaddr *)&at, sizeof(at)) == 0 &&
                    getsockname(*ret_fd, (struct sockaddr *)&at, &size) == 0;
    assert_true(is_bound);
    return ntohs(at.sin_port);
}

void test_nats_member_start(struct test_nats_member *m)
{
    char program[256];
    assert_non_null(find_server(program));
    m->pid = fork();
    assert_true(m->pid >= 0);
    if (m->pid == 0)
        run_server(program, m->dir);
}

void test_nats_member_kill(struct test_nats_member *m)
{
    if (m->pid > 0 && kill(m->pid, SIGKILL) == 0)
        (void)waitpid(m->pid, NULL, 0);
    m->pid = 0;
}

static void configure(const struct test_nats_member *m, size_t i, const char *routes, const char *more)
{
    auto_free char *config = mem_printf("%s/nats.conf", m->dir);
    auto_free char *text = mem_printf("server_name: n%zu\nlisten: \"127.0.0.1:%d\"\nmax_payload: 2MB\n"
                                      "jetstream { store_dir: \"%s\", sync_interval: always }\n"
                                      "cluster { name: test, listen: \"127.0.0.1:%d\", routes: [%s] }\n%s\n",
                                      i, m->port, m->dir, m->cluster_port, routes, more);
    write_whole(config, text, strlen(text));
}

enum { MEMBERS_MAX = 5 };
bool test_nats_cluster_start(struct test_nats_member *members, size_t n, const char *more)
{
    char program[256];
    int held[2 * MEMBERS_MAX];
    AUTO(buf) struct buf routes = {0};
    assert_true(n <= MEMBERS_MAX);
    if (!has_server(program))
        return false;
    for (size_t i = 0; i < n; i++) {
        struct test_nats_member *m = &members[i];
        *m = (struct test_nats_member){.port = choose_port(&held[2 * i])};
        m->cluster_port = choose_port(&held[2 * i + 1]);
        assert_true(scratch_make(scratch_in_memory(), m->dir, sizeof(m->dir)));
        buf_addf(&routes, "%s\"nats://127.0.0.1:%d\"", i > 0 ? ", " : "", m->cluster_port);
    }
    for (size_t i = 0; i < 2 * n; i++)
        (void)close(held[i]);
    for (size_t i = 0; i < n; i++) {
        configure(&members[i], i, routes.ptr, more);
        test_nats_member_start(&members[i]);
    }
    return true;
}

void test_nats_cluster_stop(struct test_nats_member *members, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        test_nats_member_kill(&members[i]);
        remove_folder(members[i].dir);
    }
}

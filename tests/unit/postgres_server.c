/* A supervisor is forked: it makes the cluster, runs the server as its child, relays connections, and when the test's
 * end of a pipe closes, it ends the server and removes the folder. */
#include "postgres_server.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <libpq-fe.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"

#define SOCKET_NAME ".s.PGSQL.5432"
enum { PAIRS_MAX = 64, READY_MS = 60000 };

struct postgres_cuts {
    _Atomic uint64_t seed, one_in;
    _Atomic bool is_next, forgets;
};

struct pair {
    int client, server;
    bool cuts_answer;
};

struct supervisor {
    struct postgres_server *s;
    int alive_fd, listen_fd, log_fd;
    pid_t server;
    struct pair pairs[PAIRS_MAX];
    size_t pairs_n;
    uint64_t random, seed;
};

/* ---- where the programs are ---- */

/* The newest of Debian's folders, or NULL. Lent. */
static const char *programs(void)
{
    static char path[64];
    int newest = 0;
    DIR *d = opendir("/usr/lib/postgresql");
    for (const struct dirent *e; d != NULL && (e = readdir(d)) != NULL;) {
        int n = (int)strtol(e->d_name, NULL, 10);
        char one[64];
        (void)snprintf(one, sizeof(one), "/usr/lib/postgresql/%d/bin", n);
        if (n > newest && access(one, X_OK) == 0) {
            newest = n;
            memcpy(path, one, sizeof(path));
        }
    }
    if (d != NULL)
        (void)closedir(d);
    return newest == 0 ? NULL : path;
}

/* ---- the server ---- */

/* In a child: not as root, which the server refuses, and not longer than its parent. */
static void become_postgres(pid_t parent)
{
    const struct passwd *pw = getpwnam("postgres");
    if (geteuid() == 0 && (pw == NULL || setgroups(0, NULL) != 0 || setgid(pw->pw_gid) != 0 || setuid(pw->pw_uid) != 0))
        _exit(120);
    if (prctl(PR_SET_PDEATHSIG, SIGQUIT) != 0 || getppid() != parent) /* after setuid, which clears it */
        _exit(121);
}

static pid_t run(const char *const *argv, int out_fd)
{
    pid_t parent = getpid(), pid = fork();
    if (pid != 0)
        return pid;
    become_postgres(parent);
    if (out_fd < 0 || chdir("/") != 0 || dup2(out_fd, 1) < 0 || dup2(out_fd, 2) < 0)
        _exit(122);
    (void)setenv("LC_ALL", "C", 1);
    execv(argv[0], (char *const *)(uintptr_t)argv);
    _exit(123);
}

static bool make_cluster(const char *bin, const char *data)
{
    char initdb[96];
    int null_fd = open("/dev/null", O_WRONLY | O_CLOEXEC), status = -1;
    (void)snprintf(initdb, sizeof(initdb), "%s/initdb", bin);
    const char *const argv[] = {initdb, "-D", data, "-A", "trust", "-U", "postgres", "-E", "UTF8", "--no-sync", NULL};
    pid_t pid = run(argv, null_fd);
    (void)close(null_fd);
    return pid > 0 && waitpid(pid, &status, 0) == pid && status == 0;
}

static pid_t start_server(const char *bin, const char *folder, const char *data, int log_fd)
{
    char postgres[96];
    (void)snprintf(postgres, sizeof(postgres), "%s/postgres", bin);
    const char *const argv[] = {postgres,
                                "-D",
                                data,
                                "-k",
                                folder,
                                "-c",
                                "listen_addresses=",
                                "-c",
                                "max_connections=60",
                                "-c",
                                "shared_buffers=32MB",
                                NULL};
    return run(argv, log_fd);
}

/* Until the server says that it is ready; what it says later is read and forgotten. */
static bool wait_ready(int log_fd)
{
    char text[16384];
    size_t n = 0;
    while (n + 1 < sizeof(text)) {
        struct pollfd fd = {.fd = log_fd, .events = POLLIN};
        ssize_t more = poll(&fd, 1, READY_MS) == 1 ? read(log_fd, text + n, sizeof(text) - 1 - n) : 0;
        if (more <= 0)
            return false;
        n += (size_t)more;
        text[n] = '\0';
        if (strstr(text, "ready to accept connections") != NULL)
            return true;
    }
    return false;
}

/* ---- the relay ---- */

static int unix_socket(const char *folder, bool listens)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    (void)snprintf(a.sun_path, sizeof(a.sun_path), "%.80s/%s", folder, SOCKET_NAME);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const struct sockaddr *at = (const struct sockaddr *)&a;
    if (fd < 0)
        return -1;
    bool ok = listens ? bind(fd, at, sizeof(a)) == 0 && chmod(a.sun_path, 0777) == 0 && listen(fd, PAIRS_MAX) == 0
                      : connect(fd, at, sizeof(a)) == 0;
    if (ok)
        return fd;
    (void)close(fd);
    return -1;
}

static void accept_one(struct supervisor *v)
{
    int client = accept4(v->listen_fd, NULL, NULL, SOCK_CLOEXEC);
    int server = client < 0 || v->pairs_n == PAIRS_MAX ? -1 : unix_socket(v->s->folder, false);
    if (server < 0) {
        if (client >= 0)
            (void)close(client);
        return;
    }
    v->pairs[v->pairs_n++] = (struct pair){client, server, false};
}

static bool write_all(int fd, const char *bytes, size_t n)
{
    while (n > 0) {
        ssize_t done = send(fd, bytes, n, MSG_NOSIGNAL);
        if (done <= 0)
            return false;
        bytes += done;
        n -= (size_t)done;
    }
    return true;
}

static uint64_t pick(struct supervisor *v, uint64_t n)
{
    v->random = v->random * 6364136223846793005u + 1442695040888963407u;
    return (v->random >> 33) % n;
}

/* False: the question is not to reach the server. */
static bool judge_question(struct supervisor *v, struct pair *p)
{
    struct postgres_cuts *c = v->s->cuts;
    uint64_t one_in = atomic_load(&c->one_in), seed = atomic_load(&c->seed);
    if (seed != v->seed)
        v->random = v->seed = seed;
    if (atomic_exchange(&c->is_next, false))
        p->cuts_answer = true;
    if (one_in == 0 || pick(v, one_in) != 0)
        return true;
    p->cuts_answer = pick(v, 2) == 0;
    return p->cuts_answer;
}

/* Pass on what has come. False: the pair is over. */
static bool pass(struct supervisor *v, struct pair *p, bool from_client)
{
    char bytes[65536];
    ssize_t n = recv(from_client ? p->client : p->server, bytes, sizeof(bytes), 0);
    if (n <= 0 || (!from_client && p->cuts_answer) || (from_client && !judge_question(v, p)))
        return false;
    return write_all(from_client ? p->server : p->client, bytes, (size_t)n);
}

static void relay(struct supervisor *v)
{
    static char forgotten[65536];
    for (;;) {
        struct pollfd fds[3 + 2 * PAIRS_MAX] = {{.fd = v->alive_fd, .events = POLLIN},
                                                {.fd = v->listen_fd, .events = POLLIN},
                                                {.fd = v->log_fd, .events = POLLIN}};
        for (size_t i = 0; i < v->pairs_n; i++) {
            fds[3 + 2 * i] = (struct pollfd){.fd = v->pairs[i].client, .events = POLLIN};
            fds[4 + 2 * i] = (struct pollfd){.fd = v->pairs[i].server, .events = POLLIN};
        }
        if (poll(fds, (nfds_t)(3 + 2 * v->pairs_n), -1) < 0 && errno != EINTR)
            return;
        if (fds[0].revents != 0) /* the test has gone */
            return;
        if (fds[2].revents != 0 && read(v->log_fd, forgotten, sizeof(forgotten)) <= 0)
            return;
        if (atomic_exchange(&v->s->cuts->forgets, false))
            while (v->pairs_n > 0)
                (void)close(v->pairs[--v->pairs_n].client); /* the other side stays open */
        for (size_t i = v->pairs_n; i-- > 0;) {
            bool ok = (fds[3 + 2 * i].revents == 0 || pass(v, &v->pairs[i], true)) &&
                      (fds[4 + 2 * i].revents == 0 || pass(v, &v->pairs[i], false));
            if (ok)
                continue;
            (void)close(v->pairs[i].client);
            (void)close(v->pairs[i].server);
            v->pairs[i] = v->pairs[--v->pairs_n];
        }
        if (fds[1].revents != 0)
            accept_one(v);
    }
}

static void supervise(struct postgres_server *s, const char *bin, int alive_fd, int ready_fd)
{
    struct supervisor v = {.s = s, .alive_fd = alive_fd, .random = 1};
    char data[80];
    int log[2];
    (void)snprintf(data, sizeof(data), "%s/data", s->folder);
    (void)signal(SIGINT, SIG_IGN); /* of a terminal: the test gets it, too */
    (void)signal(SIGPIPE, SIG_IGN);
    bool ok = mkdir(s->relay, 0755) == 0 && pipe2(log, O_CLOEXEC) == 0 && make_cluster(bin, data);
    if (ok) {
        v.server = start_server(bin, s->folder, data, log[1]);
        v.log_fd = log[0];
        (void)close(log[1]);
        v.listen_fd = unix_socket(s->relay, true);
        ok = v.server > 0 && v.listen_fd >= 0 && wait_ready(v.log_fd);
    }
    if (ok && write(ready_fd, "1", 1) == 1) {
        (void)close(ready_fd);
        relay(&v);
    }
    if (v.server > 0 && kill(v.server, SIGQUIT) == 0)
        (void)waitpid(v.server, NULL, 0);
    const char *const argv[] = {"/bin/rm", "-rf", "--", s->folder, NULL};
    execv(argv[0], (char *const *)(uintptr_t)argv);
    _exit(1);
}

/* ---- for tests ---- */

static void set_up_database(const struct postgres_server *s)
{
    static const char *const SQL[] = {"CREATE ROLE owner LOGIN", "CREATE ROLE replica LOGIN",
                                      "CREATE DATABASE slipform OWNER owner"};
    for (size_t i = 0; i < sizeof(SQL) / sizeof(SQL[0]); i++)
        free(postgres_server_sql(s, "postgres", SQL[i]));
}

static bool make_folder(struct postgres_server *s)
{
    const struct passwd *pw = getpwnam("postgres");
    (void)snprintf(s->folder, sizeof(s->folder), "%s/slipform-test-pg-XXXXXX",
                   access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    if (mkdtemp(s->folder) == NULL || chmod(s->folder, 0755) != 0)
        return false;
    (void)snprintf(s->relay, sizeof(s->relay), "%s/relay", s->folder);
    return geteuid() != 0 || (pw != NULL && chown(s->folder, pw->pw_uid, pw->pw_gid) == 0);
}

const char *postgres_server_start(struct postgres_server *s)
{
    const char *bin = programs();
    int alive[2], ready[2];
    if (bin == NULL)
        return "no PostgreSQL in /usr/lib/postgresql: install postgresql-15";
    if (geteuid() == 0 && getpwnam("postgres") == NULL)
        return "there is no user 'postgres' to run a server as";
    if (!make_folder(s) || pipe2(alive, O_CLOEXEC) != 0 || pipe2(ready, O_CLOEXEC) != 0)
        return "no folder, or no pipes";
    s->cuts = mmap(NULL, sizeof(*s->cuts), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t pid = fork();
    if (pid == 0) {
        (void)close(alive[1]);
        (void)close(ready[0]);
        supervise(s, bin, alive[0], ready[1]);
    }
    (void)close(alive[0]);
    (void)close(ready[1]);
    char one;
    bool ok = pid > 0 && read(ready[0], &one, 1) == 1;
    (void)close(ready[0]);
    s->alive_fd = alive[1];
    s->supervisor = pid;
    if (!ok) {
        fail_msg("the server did not start; see %s/initdb", bin);
        return "it did not start";
    }
    set_up_database(s);
    return NULL;
}

void postgres_server_stop(struct postgres_server *s)
{
    (void)close(s->alive_fd);
    while (waitpid(s->supervisor, NULL, 0) < 0 && errno == EINTR)
        continue;
    (void)munmap(s->cuts, sizeof(*s->cuts));
}

void postgres_server_cut(struct postgres_server *s, uint64_t seed, uint64_t one_in)
{
    atomic_store(&s->cuts->seed, seed);
    atomic_store(&s->cuts->one_in, one_in);
}

void postgres_server_cut_next(struct postgres_server *s)
{
    atomic_store(&s->cuts->is_next, true);
}

void postgres_server_forget_clients(struct postgres_server *s)
{
    atomic_store(&s->cuts->forgets, true);
    (void)close(unix_socket(s->relay, false)); /* so that the relay looks */
}

char *postgres_server_sql(const struct postgres_server *s, const char *database, const char *sql)
{
    const char *const keys[] = {"host", "user", "dbname", NULL}, *const values[] = {s->folder, "postgres", database,
                                                                                    NULL};
    PGconn *conn = PQconnectdbParams(keys, values, 0);
    PGresult *r = PQexec(conn, sql);
    ExecStatusType status = PQresultStatus(r);
    if (status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK)
        fail_msg("%s: %s", sql, PQerrorMessage(conn));
    char *text = mem_strdup(PQntuples(r) > 0 && PQnfields(r) > 0 ? PQgetvalue(r, 0, 0) : "");
    PQclear(r);
    PQfinish(conn);
    return text;
}

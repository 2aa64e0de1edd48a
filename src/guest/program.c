#include "guest/program.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/own.h"
#include "os/file.h"

#define DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
/* As container engines set it; programs size their tables by it. */
#define FILES_SOFT 65536
#define FILES_HARD 1048576

enum err program_words(const struct image_config *image, struct arena *a, const char *const **ret_words,
                       struct errinfo *err)
{
    size_t n = image->entrypoint.n + image->cmd.n;
    if (n == 0)
        return err_set(err, ERR_INVALID, "the image names no program: give its Dockerfile a CMD or ENTRYPOINT");
    const char **words = arena_alloc(a, (n + 1) * sizeof(*words));
    for (size_t i = 0; i < n; i++) {
        struct str word =
            i < image->entrypoint.n ? image->entrypoint.items[i] : image->cmd.items[i - image->entrypoint.n];
        words[i] = arena_str(a, word).ptr;
    }
    *ret_words = words;
    return OK;
}

static struct str name_of(struct str entry)
{
    return str_slice(entry, 0, str_find(entry, '='));
}

struct env {
    const char **items;
    size_t n;
};

/* Set it, in the place of an earlier one of that name. */
static void env_set(struct env *e, struct str entry, bool only_if_missing, struct arena *a)
{
    struct str name = name_of(entry);
    if (name.len == 0 || name.len == entry.len)
        return;
    size_t i = 0;
    while (i < e->n && !str_eq(name_of(str_from(e->items[i])), name))
        i++;
    if (i < e->n && only_if_missing)
        return;
    e->items[i] = arena_str(a, entry).ptr;
    if (i == e->n)
        e->n++;
}

const char *const *program_env(const struct guest_config *c, const struct user *u, struct arena *a)
{
    struct env e = {.items = arena_alloc(a, (c->image.env.n + c->env.n + 4) * sizeof(char *))};
    for (size_t i = 0; i < c->image.env.n; i++)
        env_set(&e, c->image.env.items[i], false, a);
    for (size_t i = 0; i < c->env.n; i++)
        env_set(&e, c->env.items[i], false, a);
    env_set(&e, STR("PATH=" DEFAULT_PATH), true, a);
    env_set(&e, str_from(arena_printf(a, "HOME=%s", u->home)), true, a);
    if (!str_is_empty(c->hostname))
        env_set(&e, str_from(arena_printf(a, "HOSTNAME=%.*s", STR_ARG(c->hostname))), true, a);
    return e.items;
}

static bool is_program(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISREG(st.st_mode) && (st.st_mode & 0111) != 0;
}

enum err program_path(const char *word, const char *const *env, const char *workdir, struct arena *a,
                      const char **ret_path, struct errinfo *err)
{
    if (strchr(word, '/') != NULL) {
        *ret_path = word[0] == '/' ? word : arena_printf(a, "%s/%s", workdir, word);
        return is_program(*ret_path)
                   ? OK
                   : err_set(err, ERR_NOT_FOUND, "the image has no program '%s' (or it may not be executed)", word);
    }
    struct str path = STR(DEFAULT_PATH), folder;
    for (size_t i = 0; env[i] != NULL; i++)
        if (strncmp(env[i], "PATH=", 5) == 0)
            path = str_from(env[i] + 5);
    while (str_next(&path, ':', &folder)) {
        *ret_path = arena_printf(a, "%.*s/%s", STR_ARG(folder), word);
        if (folder.len > 0 && is_program(*ret_path))
            return OK;
    }
    return err_set(err, ERR_NOT_FOUND, "the image has no program '%s' on its PATH", word);
}

int program_signal(struct str text)
{
    uint64_t number;
    if (str_is_empty(text))
        return SIGTERM;
    if (str_parse_u64(text, 64, &number))
        return (int)number;
    if (str_starts(text, STR("SIG")))
        text = str_slice(text, 3, text.len);
    for (int s = 1; s < NSIG; s++) {
        const char *name = sigabbrev_np(s);
        if (name != NULL && str_eq_c(text, name))
            return s;
    }
    return 0;
}

static enum err find_user(struct str text, struct user *ret, struct errinfo *err)
{
    AUTO(buf) struct buf passwd = {0}, group = {0};
    if (file_read("/etc/passwd", USER_FILE_SIZE_MAX, &passwd, err) == ERR_LIMIT ||
        file_read("/etc/group", USER_FILE_SIZE_MAX, &group, err) == ERR_LIMIT)
        return ERR_LIMIT;
    return user_find(text, buf_str(&passwd), buf_str(&group), ret, err);
}

struct start {
    const char *path;
    const char *const *words, *const *env;
    const char *workdir;
    struct user user;
    int pipes[2][2]; /* stdout, stderr */
    int failure_fd;
};

/* execve takes char *const[] and changes nothing in it. */
static char *const *as_exec_strings(const char *const *strings)
{
    union {
        const char *const *in;
        char *const *out;
    } u = {.in = strings};
    return u.out;
}

static _Noreturn void become(const struct start *s)
{
    sigset_t none;
    (void)sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    (void)signal(SIGPIPE, SIG_DFL);
    const struct rlimit files = {FILES_SOFT, FILES_HARD};
    int null_fd = open("/dev/null", O_RDWR);
    const char *step = "its user";
    (void)setrlimit(RLIMIT_NOFILE, &files);
    if (setsid() < 0 || null_fd < 0 || dup2(null_fd, 0) < 0 || dup2(s->pipes[0][1], 1) < 0 ||
        dup2(s->pipes[1][1], 2) < 0)
        step = "its descriptors";
    else if (setgroups(s->user.groups_n, s->user.groups) == 0 &&
             setresgid(s->user.gid, s->user.gid, s->user.gid) == 0 &&
             setresuid(s->user.uid, s->user.uid, s->user.uid) == 0) {
        step = "its folder";
        if (chdir(s->workdir) == 0) {
            step = "the program";
            if (null_fd > 2)
                (void)close(null_fd);
            (void)umask(022);
            (void)execve(s->path, as_exec_strings(s->words), as_exec_strings(s->env));
        }
    }
    char text[128];
    int n = snprintf(text, sizeof(text), "%s: %s", step, strerrordesc_np(errno));
    if (write(s->failure_fd, text, (size_t)n) != n)
        _exit(126);
    _exit(127);
}

static enum err make_pipes(struct start *s, struct errinfo *err)
{
    for (int i = 0; i < 2; i++) {
        if (pipe2(s->pipes[i], O_CLOEXEC) < 0 || fcntl(s->pipes[i][0], F_SETFL, O_NONBLOCK) < 0 ||
            fchown(s->pipes[i][1], s->user.uid, s->user.gid) < 0) /* so that it may open /dev/stdout again */
            return err_set_os(err, ERR_IO, errno, "make a pipe");
    }
    return OK;
}

static enum err fork_program(struct start *s, struct program *ret, struct errinfo *err)
{
    int failure[2];
    if (pipe2(failure, O_CLOEXEC) < 0)
        return err_set_os(err, ERR_IO, errno, "make a pipe");
    s->failure_fd = failure[1];
    pid_t pid = fork();
    if (pid == 0)
        become(s);
    (void)close(failure[1]);
    (void)close(s->pipes[0][1]);
    (void)close(s->pipes[1][1]);
    char text[128];
    ssize_t n = pid < 0 ? 0 : read(failure[0], text, sizeof(text));
    (void)close(failure[0]);
    if (pid < 0 || n > 0)
        return err_set(err, ERR_INVALID, "cannot start '%s': %.*s", s->path, (int)n, text);
    *ret = (struct program){.pid = pid, .output = {s->pipes[0][0], s->pipes[1][0]}};
    return OK;
}

enum err program_start(const struct guest_config *c, struct program *ret_program, struct errinfo *err)
{
    AUTO(arena) struct arena a = {0};
    struct start s = {0};
    enum err rc = program_words(&c->image, &a, &s.words, err);
    if (rc != OK || (rc = find_user(c->image.user, &s.user, err)) != OK)
        return rc;
    s.env = program_env(c, &s.user, &a);
    s.workdir = str_is_empty(c->image.workdir) ? "/" : arena_str(&a, c->image.workdir).ptr;
    if ((rc = folder_make(s.workdir, 0755, err)) != OK ||
        (rc = program_path(s.words[0], s.env, s.workdir, &a, &s.path, err)) != OK || (rc = make_pipes(&s, err)) != OK)
        return rc;
    return fork_program(&s, ret_program, err);
}

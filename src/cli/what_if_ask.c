/* A planner of another build, asked through two pipes: one question, one answer.
 *
 * Happy path: start it -> hello, hello -> question -> its answer, and the events of it. Failure modes: it cannot be
 * started, speaks another format, refuses an event of the history, or ends: each is an error that names the program. */
#include "cli/what_if.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>

#include "base/json.h"
#include "base/own.h"

/* One event in a line of its own, as the log allows it, and some. */
enum { LINE_MAX_BYTES = 4 * ENVELOPE_SIZE_MAX };

struct asked_planner {
    const char *program;
    char *build; /* as it calls itself */
    FILE *to, *from;
    pid_t pid;
    char *line; /* read last */
    size_t line_size;
    struct buf out;
};

static enum err failed(const struct asked_planner *p, struct errinfo *err)
{
    return err_set(err, ERR_IO, "planner '%s' ended before it had answered: try '%s what-if --help'", p->program,
                   p->program);
}

static enum err read_line(struct asked_planner *p, struct str *ret, struct errinfo *err)
{
    ssize_t n = getline(&p->line, &p->line_size, p->from);
    if (n <= 0 || p->line[n - 1] != '\n')
        return failed(p, err);
    if (n > LINE_MAX_BYTES)
        return err_set(err, ERR_LIMIT, "planner '%s' answered with a line of %zd bytes", p->program, n);
    *ret = (struct str){p->line, (size_t)n - 1};
    return OK;
}

static enum err write_line(struct asked_planner *p, struct errinfo *err)
{
    buf_add_char(&p->out, '\n');
    bool is_good = fwrite(p->out.ptr, 1, p->out.len, p->to) == p->out.len && fflush(p->to) == 0;
    buf_clear(&p->out);
    return is_good ? OK : failed(p, err);
}

/* ---- starting and ending ---- */

static enum err start(struct asked_planner *p, const char *log, const int to[2], const int from[2], struct errinfo *err)
{
    const char *argv[] = {p->program, "what-if", log, "--answer", NULL};
    posix_spawn_file_actions_t actions;
    (void)posix_spawn_file_actions_init(&actions);
    (void)posix_spawn_file_actions_adddup2(&actions, to[0], 0);
    (void)posix_spawn_file_actions_adddup2(&actions, from[1], 1);
    int failure = posix_spawnp(&p->pid, p->program, &actions, NULL, (char *const *)(uintptr_t)argv, environ);
    (void)posix_spawn_file_actions_destroy(&actions);
    if (failure == 0)
        return OK;
    p->pid = 0;
    return err_set_os(err, failure == ENOENT ? ERR_NOT_FOUND : ERR_IO, failure, "start the planner '%s'", p->program);
}

static enum err start_with_pipes(struct asked_planner *p, const char *log, struct errinfo *err)
{
    int to[2] = {-1, -1}, from[2] = {-1, -1};
    if (pipe2(to, O_CLOEXEC) != 0 || pipe2(from, O_CLOEXEC) != 0) {
        enum err rc = err_set_os(err, ERR_IO, errno, "pipes to '%s'", p->program);
        for (int i = 0; i < 2; i++)
            if (to[i] >= 0)
                (void)close(to[i]);
        return rc;
    }
    enum err rc = start(p, log, to, from, err);
    (void)close(to[0]);
    (void)close(from[1]);
    p->to = fdopen(to[1], "we");
    p->from = fdopen(from[0], "re");
    return rc;
}

static enum err greet(struct asked_planner *p, const json_t *settings, struct errinfo *err)
{
    struct str line;
    auto_json json_t *hello = json_pack("{s:i, s:O}", "what_if", WHAT_IF_FORMAT, "settings", settings), *answer = NULL;
    json_add_to(&p->out, hello, false);
    enum err rc = write_line(p, err);
    if (rc == OK)
        rc = read_line(p, &line, err);
    if (rc != OK)
        return rc;
    rc = json_parse(line, &answer, err);
    struct str error = json_member_str(answer, "error");
    if (rc == OK && error.len > 0)
        return err_set(err, ERR_INVALID, "planner '%s': %.*s", p->program, STR_ARG(error));
    if (rc != OK || json_integer_value(json_object_get(answer, "what_if")) != WHAT_IF_FORMAT)
        return err_set(err, ERR_INVALID, "'%s' is no planner that answers in format %d", p->program, WHAT_IF_FORMAT);
    p->build = mem_printf("%.*s", STR_ARG(json_member_str(answer, "build")));
    return OK;
}

enum err asked_planner_open(const char *program, const char *log, const json_t *settings, struct asked_planner **ret,
                            const char **ret_build, struct errinfo *err)
{
    struct asked_planner *p = mem_alloc(sizeof(*p));
    *p = (struct asked_planner){.program = program};
    enum err rc = start_with_pipes(p, log, err);
    if (rc == OK)
        rc = greet(p, settings, err);
    if (rc != OK) {
        asked_planner_close(p);
        return rc;
    }
    *ret = p;
    *ret_build = p->build;
    return OK;
}

void asked_planner_close(struct asked_planner *p)
{
    if (p == NULL)
        return;
    if (p->to != NULL)
        (void)fclose(p->to); /* no more questions: it ends */
    if (p->from != NULL)
        (void)fclose(p->from);
    while (p->pid > 0 && waitpid(p->pid, NULL, 0) < 0 && errno == EINTR)
        continue;
    free(p->build);
    free(p->line);
    buf_done(&p->out);
    free(p);
}

/* ---- asking ---- */

static void add_question(const struct model *m, const struct what_if_question *q, struct buf *out)
{
    const struct observations *seen = &q->seen;
    AUTO(arena) struct arena a = {0};
    struct edge_line *edges = arena_alloc(&a, (seen->edges_n + 1) * sizeof(*edges));
    for (size_t i = 0; i < seen->edges_n; i++)
        edges[i] = (struct edge_line){.name = seen->edges[i].name,
                                      .confirmed_seq = (int64_t)seen->edges[i].confirmed_seq,
                                      .silent_ms = q->now_ms - seen->edges[i].seen_ms};
    struct question_line line = {.seq = (int64_t)m->seq,
                                 .now_ms = q->now_ms,
                                 .until_ms = q->until_ms,
                                 .format = seen->format_min,
                                 .edges_known = seen->live_since_ms == WHAT_IF_EDGES_KNOWN,
                                 .edges = {edges, seen->edges_n},
                                 .replicas_n = seen->replicas_n,
                                 .replicas = seen->replicas};
    fields_encode(&QUESTION_LINE, &line, out);
}

static enum err read_event(struct asked_planner *p, struct arena *a, struct event *ret, struct errinfo *err)
{
    struct str line;
    struct event_line e;
    enum err rc = read_line(p, &line, err);
    if (rc == OK)
        rc = fields_parse(&EVENT_LINE, line, a, &e, err);
    if (rc == OK)
        rc = event_decode(&(struct envelope){.type = e.type, .payload = e.payload}, a, ret, err);
    return rc == OK ? OK : err_wrap(err, rc, "an event that planner '%s' decided", p->program);
}

static enum err ask(void *ctx, const struct model *m, const struct what_if_question *q, struct what_if_answer *ret,
                    struct errinfo *err)
{
    struct asked_planner *p = ctx;
    struct arena *a = ret->events.arena;
    struct answer_line answer = {0};
    struct str line;
    add_question(m, q, &p->out);
    enum err rc = write_line(p, err);
    if (rc == OK)
        rc = read_line(p, &line, err);
    if (rc == OK)
        rc = fields_parse(&ANSWER_LINE, line, a, &answer, err);
    if (rc == OK && answer.error.len > 0)
        rc = err_set(err, ERR_INVALID, "planner '%s': %.*s", p->program, STR_ARG(answer.error));
    if (rc == OK && (answer.seq != (int64_t)m->seq || answer.n < 0 || answer.n > FIELDS_LIST_MAX))
        rc = err_set(err, ERR_INVALID, "planner '%s' answered something else than it was asked", p->program);
    if (rc != OK)
        return rc;
    ret->at_ms = answer.at_ms;
    ret->events.items = arena_alloc(a, ((size_t)answer.n + 1) * sizeof(struct event));
    for (; ret->events.n < (size_t)answer.n && rc == OK; ret->events.n++)
        rc = read_event(p, a, &ret->events.items[ret->events.n], err);
    return rc;
}

struct what_if_planner asked_planner(struct asked_planner *p)
{
    return (struct what_if_planner){ask, p};
}

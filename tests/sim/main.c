/* sim - many seeds, or one that is told. `sim --help` says how. */
#include "sim.h"

#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

/* 1,000 seeds of 500 unsafe steps; floors of coverage count from 500 seeds on. */
enum { SEEDS_DEFAULT = 1000, STEPS_DEFAULT = 500, SEEDS_FLOOR_MIN = 500, JOBS_MAX = 256, HANG_S = 60 };

static const char USAGE[] =
    "usage: sim [--seeds N] [--from N] [--steps N] [--jobs N]     many seeds, then what was covered\n"
    "       sim --seed N [--steps N] [--acts LIST] [--without LIST] [--replicas N] [--edges N]   tell one story\n"
    "  --record FOLDER  keep the log of each story as FOLDER/<seed>.jsonl\n"
    "  --no-shrink   a failing seed is named only\n"
    "  --list        with --seed: what the story consists of\n";

struct options {
    uint64_t seeds, from, steps, jobs, only, replicas, edges;
    const char *acts, *without, *record;
    bool no_shrink, list;
};

static void refuse(const char *why, const char *what)
{
    (void)fprintf(stderr, "sim: %s '%s'\n%s", why, what, USAGE);
    exit(2);
}

static uint64_t number(const char *text, uint64_t max)
{
    uint64_t v = 0;
    if (!str_parse_u64(str_from(text), max, &v))
        refuse("not a number in range:", text);
    return v;
}

static void read_options(int argc, char **argv, struct options *ret)
{
    *ret = (struct options){.seeds = SEEDS_DEFAULT, .from = 1, .steps = STEPS_DEFAULT, .jobs = 1};
    for (int i = 1; i < argc; i++) {
        const char *name = argv[i], *value = i + 1 < argc ? argv[i + 1] : "";
        bool takes = true;
        if (strcmp(name, "--seeds") == 0)
            ret->seeds = number(value, 100000000);
        else if (strcmp(name, "--from") == 0)
            ret->from = number(value, UINT64_MAX / 2);
        else if (strcmp(name, "--steps") == 0)
            ret->steps = number(value, STEPS_MAX);
        else if (strcmp(name, "--jobs") == 0)
            ret->jobs = number(value, JOBS_MAX);
        else if (strcmp(name, "--seed") == 0)
            ret->only = number(value, UINT64_MAX / 2);
        else if (strcmp(name, "--replicas") == 0)
            ret->replicas = number(value, REPLICAS_MAX);
        else if (strcmp(name, "--edges") == 0)
            ret->edges = number(value, EDGES_MAX);
        else if (strcmp(name, "--record") == 0)
            ret->record = value;
        else if (strcmp(name, "--acts") == 0)
            ret->acts = value;
        else if (strcmp(name, "--without") == 0)
            ret->without = value;
        else
            takes = false;
        if (strcmp(name, "--no-shrink") == 0)
            ret->no_shrink = true;
        else if (strcmp(name, "--list") == 0)
            ret->list = true;
        else if (strcmp(name, "--help") == 0)
            exit(fputs(USAGE, stdout) < 0);
        else if (!takes)
            refuse("no such option:", name);
        i += takes;
    }
    ret->jobs = ret->jobs == 0 ? 1 : ret->jobs;
}

/* ---- One story, as asked for ---- */

static struct str next_word(struct str *list)
{
    size_t n = 0;
    while (n < list->len && list->ptr[n] != ',')
        n++;
    struct str word = str_slice(*list, 0, n);
    *list = str_slice(*list, n < list->len ? n + 1 : n, list->len);
    return word;
}

static void keep_acts(struct story *s, const char *list)
{
    memset(s->is_kept, 0, sizeof(s->is_kept));
    for (struct str left = str_from(list); left.len > 0;) {
        struct str word = next_word(&left);
        size_t dash = 0;
        uint64_t from = 0, to = 0;
        while (dash < word.len && word.ptr[dash] != '-')
            dash++;
        if (str_eq(word, STR("none")))
            continue;
        if (!str_parse_u64(str_slice(word, 0, dash), ACTS_MAX - 1, &from) ||
            (dash < word.len && !str_parse_u64(str_slice(word, dash + 1, word.len), ACTS_MAX - 1, &to)))
            refuse("not a list of acts:", list);
        for (uint64_t i = from; i <= (dash < word.len ? to : from); i++)
            s->is_kept[i] = true;
    }
}

static void drop_chances(struct story *s, const char *list)
{
    for (struct str left = str_from(list); left.len > 0;) {
        struct str word = next_word(&left);
        bool is_known = str_eq(word, STR("all"));
        for (unsigned c = 0; c < CHANCES_N; c++)
            if (is_known || str_eq_c(word, chance_name((enum chance)c))) {
                s->has[c] = false;
                is_known = true;
            }
        if (!is_known)
            refuse("no such chance in", list);
    }
}

static void print_list(const struct story *s)
{
    printf("seed %" PRIu64 ": %u replicas, %u nodes, %u edges, %u unsafe steps; by chance:", s->seed, s->replicas_n,
           s->nodes_n, s->edges_n, s->steps);
    for (unsigned c = 0; c < CHANCES_N; c++)
        if (s->has[c])
            printf(" %s", chance_name((enum chance)c));
    printf("\n");
    for (size_t i = 0; i < s->acts_n; i++)
        if (s->is_kept[i])
            printf("  act %zu at step %u: %s\n", i, s->acts[i].step, act_name(s->acts[i].kind));
}

/* The command that tells this story again. */
static void print_command(const struct story *s)
{
    bool has_all = true;
    struct story whole;
    story_draw(s->seed, s->steps, &whole);
    printf("tell it again: sim --seed %" PRIu64 " --steps %u", s->seed, s->steps);
    if (s->replicas_n != whole.replicas_n)
        printf(" --replicas %u", s->replicas_n);
    if (s->edges_n != whole.edges_n)
        printf(" --edges %u", s->edges_n);
    for (size_t i = 0; i < s->acts_n; i++)
        has_all = has_all && (s->is_kept[i] || s->acts[i].step >= s->steps);
    if (!has_all) {
        const char *before = " --acts ";
        for (size_t i = 0; i < s->acts_n; i++)
            if (s->is_kept[i]) {
                printf("%s%zu", before, i);
                before = ",";
            }
        if (before[0] == ' ')
            printf(" --acts none");
    }
    const char *before = " --without ";
    for (unsigned c = 0; c < CHANCES_N; c++)
        if (whole.has[c] && !s->has[c]) {
            printf("%s%s", before, chance_name((enum chance)c));
            before = ",";
        }
    printf("\n");
}

static void print_failure(const struct story *s, const struct failure *f)
{
    printf("seed %" PRIu64 ", step %u, %.3f s: rule %s: %s\n  (%s)\n", s->seed, f->step, (double)f->at_ms / 1000,
           rule_name(f->rule), f->text, rule_words(f->rule));
}

static int tell_one(const struct options *o)
{
    struct story *s = mem_alloc(sizeof(*s));
    struct coverage coverage = {0};
    struct failure f;
    story_draw(o->only, (unsigned)o->steps, s);
    s->replicas_n = o->replicas != 0 ? (unsigned)o->replicas : s->replicas_n;
    s->edges_n = o->edges != 0 ? (unsigned)o->edges : s->edges_n;
    s->record_folder = o->record;
    if (o->acts != NULL)
        keep_acts(s, o->acts);
    if (o->without != NULL)
        drop_chances(s, o->without);
    print_list(s);
    if (!o->list) {
        run_apart(s, true, &coverage, &f);
        if (f.is_failed)
            print_failure(s, &f);
        free(s);
        return f.is_failed;
    }
    free(s);
    return 0;
}

/* ---- Many ---- */

struct job_share {
    uint64_t seed; /* that is being run */
    struct failure failure;
    struct coverage coverage;
};

/* Every jobs-th seed, so that each process has as much to do. */
static void work(const struct options *o, uint64_t job, struct job_share *share)
{
    struct story *s = mem_alloc(sizeof(*s));
    for (uint64_t seed = o->from + job; seed < o->from + o->seeds; seed += o->jobs) {
        share->seed = seed;
        (void)alarm(HANG_S);
        story_draw(seed, (unsigned)o->steps, s);
        s->record_folder = o->record;
        run(s, false, &share->coverage, &share->failure);
    }
    free(s);
}

static int report_failure(const struct options *o, const struct job_share *share)
{
    struct story *s = mem_alloc(sizeof(*s));
    struct failure f = share->failure;
    story_draw(share->seed, (unsigned)o->steps, s);
    print_failure(s, &f);
    if (!o->no_shrink) {
        shrink(s, &f);
        print_list(s);
        run_apart(s, true, NULL, &f);
        print_failure(s, &f);
    }
    print_command(s);
    free(s);
    return 1;
}

static void start_jobs(const struct options *o, struct job_share *shares, pid_t *pids)
{
    (void)fflush(stdout);
    for (uint64_t j = 0; j < o->jobs; j++) {
        pids[j] = fork();
        if (pids[j] < 0)
            abort();
        if (pids[j] == 0) {
            work(o, j, &shares[j]);
            _exit(0);
        }
    }
}

/* The share with the lowest failing seed; NULL: all went well. */
static const struct job_share *wait_jobs(const struct options *o, struct job_share *shares, pid_t *pids)
{
    const struct job_share *found = NULL;
    for (uint64_t j = 0; j < o->jobs; j++) {
        int status = 0;
        if (waitpid(pids[j], &status, 0) != pids[j])
            abort();
        struct failure *f = &shares[j].failure;
        if (!f->is_failed && (WIFSIGNALED(status) || WEXITSTATUS(status) != 0)) {
            *f = (struct failure){.is_failed = true, .rule = RULE_sound, .step = (unsigned)o->steps, .is_calm = true};
            (void)snprintf(f->text, sizeof(f->text), "ended by signal %d (14: it hangs; 6: an assertion)",
                           WIFSIGNALED(status) ? WTERMSIG(status) : 0);
        }
        if (f->is_failed && (found == NULL || shares[j].seed < found->seed))
            found = &shares[j];
    }
    return found;
}

static int run_many(const struct options *o)
{
    size_t size = o->jobs * sizeof(struct job_share);
    struct job_share *shares = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t pids[JOBS_MAX];
    if (shares == MAP_FAILED)
        abort();
    start_jobs(o, shares, pids);
    const struct job_share *failed = wait_jobs(o, shares, pids);
    struct coverage all = {0};
    if (failed != NULL)
        return report_failure(o, failed);
    for (uint64_t j = 0; j < o->jobs; j++)
        coverage_add(&all, &shares[j].coverage);
    unsigned low = coverage_print(&all);
    if (low > 0)
        printf("%u rows are below their floor\n", low);
    return o->seeds >= SEEDS_FLOOR_MIN && low > 0 ? 1 : 0;
}

int main(int argc, char **argv)
{
    struct options o;
    read_options(argc, argv, &o);
    return o.only != 0 ? tell_one(&o) : run_many(&o);
}

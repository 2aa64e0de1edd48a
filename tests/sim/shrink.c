/* A short story for a failure: whatever can be left out while the same rule still breaks is left out. Each try is a
 * child process, so that a try may crash or hang. */
#include "sim.h"

#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

/* Tries before it is content; 60 s a story (it takes some 20 ms): then it hangs. */
enum { TRIES_MAX = 600, HANG_S = 60 };

void run_apart(const struct story *s, bool is_telling, struct coverage *coverage, struct failure *ret_failure)
{
    struct shared {
        struct failure failure;
        struct coverage coverage;
    } *shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED)
        abort();
    (void)fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        if (!is_telling && freopen("/dev/null", "w", stderr) == NULL) /* words of an assertion */
            abort();
        (void)alarm(HANG_S);
        run(s, is_telling, &shared->coverage, &shared->failure);
        (void)fflush(stdout);
        _exit(0);
    }
    int status = 0;
    if (child < 0 || waitpid(child, &status, 0) != child)
        abort();
    *ret_failure = shared->failure;
    if (!ret_failure->is_failed && WIFSIGNALED(status)) {
        *ret_failure = (struct failure){.is_failed = true, .rule = RULE_sound, .step = s->steps, .is_calm = true};
        (void)snprintf(ret_failure->text, sizeof(ret_failure->text), "ended by signal %d (%s)", WTERMSIG(status),
                       WTERMSIG(status) == SIGALRM ? "it hangs" : "an assertion, or a crash");
    }
    if (coverage != NULL)
        coverage_add(coverage, &shared->coverage);
    (void)munmap(shared, sizeof(*shared));
}

struct shrinking {
    struct story *best;
    struct failure *failure;
    unsigned tries_n;
};

/* True: it still fails the same way, and is the best from now on. */
static bool try(struct shrinking *sh, const struct story *s)
{
    struct failure f;
    if (sh->tries_n == TRIES_MAX)
        return false;
    sh->tries_n++;
    run_apart(s, false, NULL, &f);
    if (!f.is_failed || f.rule != sh->failure->rule)
        return false;
    *sh->best = *s;
    *sh->failure = f;
    return true;
}

static void drop_after(struct story *s, unsigned step)
{
    for (size_t i = 0; i < s->acts_n; i++)
        s->is_kept[i] = s->is_kept[i] && s->acts[i].step <= step;
}

static void fewer_steps(struct shrinking *sh)
{
    struct story s = *sh->best;
    if (!sh->failure->is_calm && sh->failure->step < s.steps) {
        s.steps = sh->failure->step;
        drop_after(&s, s.steps);
        (void)try(sh, &s);
    }
    for (unsigned cut = sh->best->steps / 2; cut > 0; cut /= 2) {
        s = *sh->best;
        s.steps -= cut;
        drop_after(&s, s.steps);
        (void)try(sh, &s);
    }
}

static void fewer_chances(struct shrinking *sh)
{
    for (unsigned c = 0; c < CHANCES_N; c++) {
        struct story s = *sh->best;
        if (!s.has[c])
            continue;
        s.has[c] = false;
        (void)try(sh, &s);
    }
}

static size_t kept_n(const struct story *s)
{
    size_t n = 0;
    for (size_t i = 0; i < s->acts_n; i++)
        n += s->is_kept[i];
    return n;
}

/* Without the kept ones from..to of them. */
static void without(struct story *s, size_t from, size_t to)
{
    size_t n = 0;
    for (size_t i = 0; i < s->acts_n; i++)
        if (s->is_kept[i]) {
            s->is_kept[i] = n < from || n >= to;
            n++;
        }
}

/* Halves, quarters, … single ones (Zeller and Hildebrandt, "delta debugging", 2002). */
static void fewer_acts(struct shrinking *sh)
{
    for (size_t size = (kept_n(sh->best) + 1) / 2; size > 0; size = size == 1 ? 0 : (size + 1) / 2)
        for (size_t from = 0; from < kept_n(sh->best);) {
            struct story s = *sh->best;
            without(&s, from, from + size);
            if (!try(sh, &s))
                from += size;
        }
}

static void fewer_of_us(struct shrinking *sh)
{
    bool is_fewer = true;
    while (is_fewer && sh->best->replicas_n > 1) {
        struct story s = *sh->best;
        s.replicas_n--;
        is_fewer = try(sh, &s);
    }
    struct story s = *sh->best;
    if (s.edges_n > 1) {
        s.edges_n = 1;
        (void)try(sh, &s);
    }
}

void shrink(struct story *s, struct failure *failure)
{
    struct shrinking sh = {s, failure, 0};
    size_t before;
    printf("shrinking: %u steps, %zu acts\n", s->steps, kept_n(s));
    do {
        before = kept_n(s) + s->steps;
        fewer_steps(&sh);
        fewer_acts(&sh);
        fewer_chances(&sh);
        fewer_of_us(&sh);
    } while (kept_n(s) + s->steps < before && sh.tries_n < TRIES_MAX);
    printf("shrunk to %u steps, %zu acts in %u tries\n", s->steps, kept_n(s), sh.tries_n);
}

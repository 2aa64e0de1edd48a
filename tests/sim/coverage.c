/* What was seen over all seeds, as tables, against floors. A row below its floor fails the run: the simulator would no
 * longer test what it says it does. */
#include "sim.h"

#include <stdio.h>

/* 1 in 100 seeds (chosen; over 1,000 seeds the rarest row was seen some twenty times). */
enum { SEEDS_A_ROW = 100 };

void coverage_add(struct coverage *to, const struct coverage *from)
{
    uint64_t converge_ms_max =
        to->converge_ms_max > from->converge_ms_max ? to->converge_ms_max : from->converge_ms_max;
    uint64_t steps_min =
        to->steps_unsafe_min == 0 || (from->steps_unsafe_min != 0 && from->steps_unsafe_min < to->steps_unsafe_min)
            ? from->steps_unsafe_min
            : to->steps_unsafe_min;
    uint64_t *a = (uint64_t *)to;
    const uint64_t *b = (const uint64_t *)from;
    static_assert(sizeof(*to) % sizeof(*a) == 0, "counters only");
    for (size_t i = 0; i < sizeof(*to) / sizeof(*a); i++)
        a[i] += b[i];
    to->converge_ms_max = converge_ms_max;
    to->steps_unsafe_min = steps_min;
}

/* ---- Which rows need not be seen ---- */

/* Every long run sees all kinds but these: nobody sets a record aside here, nodes do not leave, and statistics are a
 * log of their own. */
static bool is_seen(enum event_kind k)
{
    return k != EVENT_SET_ASIDE && k != EVENT_LEAVE_NODE && k != EVENT_INSTANCE_PROGRESS && k != EVENT_INSTANCE_IOPW;
}

struct move {
    unsigned from, to;
};
#define GONE_I INSTANCE_STATUS_MAX_
#define GONE_D DEPLOYMENT_STATUS_MAX_
#define GONE_N NODE_STATUS_MAX_
#define GONE_M IMAGE_STATUS_MAX_
/* Transitions that every long run sees. */
static const struct move INSTANCE_FLOOR[] = {
    {GONE_I, INSTANCE_PENDING},
    {INSTANCE_PENDING, INSTANCE_STARTING},
    {INSTANCE_PENDING, INSTANCE_RUNNING},
    {INSTANCE_PENDING, INSTANCE_DRAINING},
    {INSTANCE_PENDING, INSTANCE_LOST},
    {INSTANCE_STARTING, INSTANCE_RUNNING},
    {INSTANCE_STARTING, INSTANCE_DRAINING},
    {INSTANCE_STARTING, INSTANCE_STOPPED},
    {INSTANCE_STARTING, INSTANCE_FAILED},
    {INSTANCE_STARTING, INSTANCE_LOST},
    {INSTANCE_RUNNING, INSTANCE_STARTING},
    {INSTANCE_RUNNING, INSTANCE_RUNNING},
    {INSTANCE_RUNNING, INSTANCE_DRAINING},
    {INSTANCE_RUNNING, INSTANCE_LOST},
    {INSTANCE_DRAINING, INSTANCE_STOPPED},
    {INSTANCE_DRAINING, INSTANCE_LOST},
    {INSTANCE_DRAINING, GONE_I},
    {INSTANCE_STOPPED, INSTANCE_STARTING},
    {INSTANCE_STOPPED, GONE_I},
    {INSTANCE_FAILED, GONE_I},
    {INSTANCE_LOST, INSTANCE_STARTING},
    {INSTANCE_LOST, GONE_I},
};
static const struct move DEPLOYMENT_FLOOR[] = {
    {GONE_D, DEPLOYMENT_QUEUED},
    {DEPLOYMENT_QUEUED, DEPLOYMENT_BUILDING},
    {DEPLOYMENT_QUEUED, DEPLOYMENT_CANCELLED},
    {DEPLOYMENT_QUEUED, DEPLOYMENT_STARTING},
    {DEPLOYMENT_BUILDING, DEPLOYMENT_STARTING},
    {DEPLOYMENT_BUILDING, DEPLOYMENT_FAILED},
    {DEPLOYMENT_BUILDING, DEPLOYMENT_CANCELLED},
    {DEPLOYMENT_STARTING, DEPLOYMENT_LIVE},
    {DEPLOYMENT_STARTING, DEPLOYMENT_FAILED},
    {DEPLOYMENT_STARTING, DEPLOYMENT_CANCELLED},
    {DEPLOYMENT_LIVE, DEPLOYMENT_DRAINING},
    {DEPLOYMENT_DRAINING, DEPLOYMENT_DRAINING},
    {DEPLOYMENT_DRAINING, DEPLOYMENT_STOPPED},
};
static const struct move NODE_FLOOR[] = {
    {GONE_N, NODE_JOINING},  {NODE_JOINING, NODE_READY},  {NODE_READY, NODE_READY},    {NODE_READY, NODE_LOST},
    {NODE_LOST, NODE_READY}, {NODE_READY, NODE_DRAINING}, {NODE_DRAINING, NODE_READY},
};
static const struct move IMAGE_FLOOR[] = {
    {GONE_M, IMAGE_BUILDING}, {IMAGE_BUILDING, IMAGE_READY}, {IMAGE_BUILDING, IMAGE_FAILED}};

/* ---- Printing ---- */

static unsigned row(const struct coverage *c, const char *what, const char *name, uint64_t n, bool needed)
{
    uint64_t floor = c->seeds / SEEDS_A_ROW > 0 ? c->seeds / SEEDS_A_ROW : 1;
    bool is_low = needed && n < floor;
    printf("  %-10s %-34s %10" PRIu64 "%s\n", what, name, n, is_low ? "   below its floor" : "");
    return is_low;
}

static bool is_in(const struct move *floor, size_t n, unsigned from, unsigned to)
{
    for (size_t i = 0; i < n; i++)
        if (floor[i].from == from && floor[i].to == to)
            return true;
    return false;
}

typedef const char *(*name_fn)(unsigned status);
static const char *instance_text(unsigned s)
{
    return s == GONE_I ? "-" : instance_status_name((enum instance_status)s);
}
static const char *deployment_text(unsigned s)
{
    return s == GONE_D ? "-" : deployment_status_name((enum deployment_status)s);
}
static const char *node_text(unsigned s)
{
    return s == GONE_N ? "-" : node_status_name((enum node_status)s);
}
static const char *image_text(unsigned s)
{
    return s == GONE_M ? "-" : image_status_name((enum image_status)s);
}

/* A matrix of n by n, the last state of which is "not there". */
static unsigned print_moves(const struct coverage *c, const char *what, const uint64_t *counts, unsigned n,
                            const struct move *floor, size_t floor_n, name_fn name)
{
    unsigned low = 0;
    for (unsigned from = 0; from < n; from++)
        for (unsigned to = 0; to < n; to++) {
            char text[48];
            bool needed = is_in(floor, floor_n, from, to), is_nothing = from == n - 1 && to == n - 1;
            uint64_t seen = counts[from * n + to];
            if (is_nothing || (seen == 0 && !needed))
                continue;
            (void)snprintf(text, sizeof(text), "%s -> %s", name(from), name(to));
            low += row(c, what, text, seen, needed);
        }
    return low;
}

unsigned coverage_print(const struct coverage *c)
{
    static const char *const OUTCOME_NAMES[] = {
#define OUTCOME_NAME(name) #name,
        OUTCOMES(OUTCOME_NAME)
#undef OUTCOME_NAME
    };
    unsigned low = 0;
#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))
    for (unsigned k = 0; k < EVENT_KIND_MAX_; k++)
        low += row(c, "event", event_kind_row((enum event_kind)k)->name, c->events[k], is_seen((enum event_kind)k));
    low += print_moves(c, "instance", c->instances[0], INSTANCE_STATES, INSTANCE_FLOOR, COUNT_OF(INSTANCE_FLOOR),
                       instance_text);
    low += print_moves(c, "deployment", c->deployments[0], DEPLOYMENT_STATES, DEPLOYMENT_FLOOR,
                       COUNT_OF(DEPLOYMENT_FLOOR), deployment_text);
    low += print_moves(c, "node", c->nodes[0], GONE_N + 1, NODE_FLOOR, COUNT_OF(NODE_FLOOR), node_text);
    low += print_moves(c, "image", c->images[0], GONE_M + 1, IMAGE_FLOOR, COUNT_OF(IMAGE_FLOOR), image_text);
#undef COUNT_OF
    for (unsigned k = 0; k < ACTS_N; k++)
        low += row(c, act_group((enum act_kind)k) == PEOPLE ? "people" : "fault", act_name((enum act_kind)k),
                   c->acts[k], true);
    for (unsigned k = 0; k < CHANCES_N; k++)
        low += row(c, "chance", chance_name((enum chance)k), c->chances[k], true);
    for (unsigned k = 0; k < OUTCOMES_N; k++)
        low += row(c, "outcome", OUTCOME_NAMES[k], c->outcomes[k], true);
    for (unsigned k = 0; k < RULES_N; k++)
        low += row(c, "checked", rule_name((enum rule)k), c->rules[k], k != RULE_sound && k != RULE_bounded);
    printf("%" PRIu64 " seeds, %" PRIu64 " steps (at least %" PRIu64 " unsafe ones each); converged after %.1f s on "
           "average, %.1f s at most\n",
           c->seeds, c->steps, c->steps_unsafe_min,
           c->seeds == 0 ? 0 : (double)c->converge_ms_sum / (double)c->seeds / 1000, (double)c->converge_ms_max / 1000);
    return low;
}

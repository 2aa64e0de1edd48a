/* Chance: what a seed makes of a story, and the dice within it.
 *
 * Two things let shrinking work: acts are drawn before the story begins, so that any of them can be left out; and the
 * dice begin anew at each step for each of those who throw them, so that what is left out changes little elsewhere. */
#include "sim.h"

static uint64_t next(uint64_t *state)
{
    *state += 0x9e3779b97f4a7c15u; /* splitmix64 (Steele, Lea, Flood 2014) */
    uint64_t z = *state;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

uint64_t roll(struct world *w, uint64_t n)
{
    return next(&w->rng) % n;
}

int64_t between(struct world *w, int64_t from, int64_t to)
{
    return from + (int64_t)roll(w, (uint64_t)(to - from + 1));
}

bool chance(struct world *w, enum chance c, unsigned p)
{
    if (w->is_calm || !w->story->has[c] || roll(w, 100) >= p)
        return false;
    w->coverage->chances[c]++;
    return true;
}

void chance_for(struct world *w, unsigned who)
{
    uint64_t s = w->story->seed * 0x2545f4914f6cdd1du + w->step * UINT64_C(1000003) + who;
    w->rng = next(&s);
}

/* ---- Names ---- */

static const struct {
    const char *name;
    unsigned weight;
    enum act_group group;
} ACT_ROWS[] = {
#define ACT_ROW(name, weight, group) {#name, weight, group},
    ACTS(ACT_ROW)
#undef ACT_ROW
};

const char *act_name(enum act_kind k)
{
    return ACT_ROWS[k].name;
}

enum act_group act_group(enum act_kind k)
{
    return ACT_ROWS[k].group;
}

const char *chance_name(enum chance c)
{
    static const char *const NAMES[] = {
#define CHANCE_NAME(name) #name,
        CHANCES(CHANCE_NAME)
#undef CHANCE_NAME
    };
    return NAMES[c];
}

const char *rule_name(enum rule r)
{
    static const char *const NAMES[] = {
#define RULE_NAME(name, words) #name,
        RULES(RULE_NAME)
#undef RULE_NAME
    };
    return NAMES[r];
}

const char *rule_words(enum rule r)
{
    static const char *const WORDS[] = {
#define RULE_WORDS(name, words) words,
        RULES(RULE_WORDS)
#undef RULE_WORDS
    };
    return WORDS[r];
}

/* ---- The story of a seed ---- */

static enum act_kind draw_act(uint64_t *dice, enum act_group group, const bool has[static ACTS_N])
{
    unsigned all = 0;
    for (unsigned k = 0; k < ACTS_N; k++)
        all += ACT_ROWS[k].group == group && has[k] ? ACT_ROWS[k].weight : 0;
    unsigned left = (unsigned)(next(dice) % all);
    for (unsigned k = 0; k < ACTS_N; k++) {
        unsigned weight = ACT_ROWS[k].group == group && has[k] ? ACT_ROWS[k].weight : 0;
        if (left < weight)
            return (enum act_kind)k;
        left -= weight;
    }
    return ACT_deploy;
}

static void add_act(struct story *s, unsigned step, enum act_kind kind, uint64_t dice)
{
    if (s->acts_n == ACTS_MAX)
        return;
    s->is_kept[s->acts_n] = true;
    s->acts[s->acts_n++] = (struct act){step, kind, dice};
}

/* Each seed knows about two thirds of the faults, so that rare ones meet long quiet times as well as others like them
 * ("swarm testing", Groce et al. 2012). */
void story_draw(uint64_t seed, unsigned steps, struct story *ret)
{
    uint64_t dice = seed * UINT64_C(0x9e3779b97f4a7c15) ^ UINT64_C(0x736c6970666f726d);
    bool has[ACTS_N];
    *ret = (struct story){.seed = seed, .steps = steps};
    ret->replicas_n = 1u + (next(&dice) % 8 != 0) + (next(&dice) % 2 == 0);
    ret->nodes_n = 4 + (unsigned)(next(&dice) % (NODES_MAX - 3));
    ret->edges_n = EDGES_MAX;
    for (unsigned k = 0; k < ACTS_N; k++)
        has[k] = ACT_ROWS[k].group == PEOPLE || next(&dice) % 3 != 0;
    has[ACT_node_reboot] = true; /* so that there is one */
    for (unsigned c = 0; c < CHANCES_N; c++)
        ret->has[c] = next(&dice) % 3 != 0;
    unsigned faults_per_mille = 10 + (unsigned)(next(&dice) % 50), people_per_mille = 25 + (unsigned)(next(&dice) % 30);
    add_act(ret, 2, ACT_deploy, next(&dice));
    for (unsigned step = 3; step < steps; step++) {
        if (next(&dice) % 1000 < people_per_mille)
            add_act(ret, step, draw_act(&dice, PEOPLE, has), next(&dice));
        if (next(&dice) % 1000 < faults_per_mille)
            add_act(ret, step, draw_act(&dice, FAULT, has), next(&dice));
    }
}

/* Two folds of one log, side by side: after which event do they differ? */
#include "app/replay.h"

#include <inttypes.h>

#include "base/own.h"

struct side {
    const struct replay_fold *fold;
    void *model;
    enum err rc; /* of the last event */
    struct errinfo err;
    uint8_t hash[HASH_SIZE];
};

/* A pass over the log. */
struct pass {
    struct store *log;
    struct side *sides;
    size_t sides_n;
    uint64_t every;             /* hash after each so many, */
    uint64_t dense_from, until; /* and after each behind this one; stop after `until` (0: at the end) */
    struct replay_verdict *verdict;
    struct buf *trace; /* NULL: compare the two sides */
    uint64_t last_hashed;
};

static void side_begin(struct side *s, const struct replay_fold *fold)
{
    *s = (struct side){.fold = fold, .model = fold->make(fold->ctx)};
}

static void add_line(struct pass *p, uint64_t seq)
{
    char text[DIGEST_TEXT_SIZE];
    hash_digest_format(p->sides[0].hash, text);
    buf_addf(p->trace, "%" PRIu64 " %s\n", seq, text);
}

static void hash_sides(struct pass *p, uint64_t seq)
{
    for (size_t i = 0; i < p->sides_n; i++)
        p->sides[i].fold->hash(p->sides[i].model, p->sides[i].hash);
    p->last_hashed = seq;
}

static void differ(struct pass *p, const struct store_record *r, const char *cause)
{
    struct replay_verdict *v = p->verdict;
    v->is_same = false;
    v->seq = r->seq;
    (void)str_copy_to(str_slice(r->e.type, 0, r->e.type.len < 63 ? r->e.type.len : 63), v->type, sizeof(v->type));
    (void)snprintf(v->cause, sizeof(v->cause), "%s", cause);
    for (size_t i = 0; i < 2; i++)
        memcpy(v->hash[i], p->sides[i].hash, HASH_SIZE);
}

/* Both refused it, or one did. True: the pass is over. */
static bool on_refused(struct pass *p, const struct store_record *r)
{
    if (p->trace != NULL) {
        if (p->sides[0].rc == OK)
            return false;
        buf_addf(p->trace, "%" PRIu64 " refused %s\n", r->seq, p->sides[0].err.msg);
        return true;
    }
    const struct side *a = &p->sides[0], *b = &p->sides[1];
    if (a->rc == OK && b->rc == OK)
        return false;
    auto_free char *cause =
        a->rc != OK && b->rc != OK
            ? mem_printf("both refused it: '%s' and '%s'", a->err.msg, b->err.msg)
            : mem_printf("%s refused what %s took: %s", a->rc != OK ? a->fold->name : b->fold->name,
                         a->rc != OK ? b->fold->name : a->fold->name, a->rc != OK ? a->err.msg : b->err.msg);
    hash_sides(p, r->seq);
    differ(p, r, cause);
    p->verdict->is_same = a->rc == b->rc && memcmp(a->hash, b->hash, HASH_SIZE) == 0; /* stopped alike */
    return true;
}

/* True: the pass is over. */
static bool fold_record(struct pass *p, const struct store_record *r)
{
    for (size_t i = 0; i < p->sides_n; i++)
        p->sides[i].rc = p->sides[i].fold->apply(p->sides[i].model, r, &p->sides[i].err);
    if (on_refused(p, r))
        return true;
    p->verdict->events++;
    if (r->seq % p->every != 0 && (p->dense_from == UINT64_MAX || r->seq <= p->dense_from))
        return p->until == r->seq;
    hash_sides(p, r->seq);
    if (p->trace != NULL)
        add_line(p, r->seq);
    else if (memcmp(p->sides[0].hash, p->sides[1].hash, HASH_SIZE) != 0)
        differ(p, r, "the models' hashes differ");
    return !p->verdict->is_same || p->until == r->seq;
}

/* The last event is hashed even if it is not the n-th. */
static void end_pass(struct pass *p, const struct store_record *last)
{
    if (last->seq == p->last_hashed)
        return;
    hash_sides(p, last->seq);
    if (p->trace != NULL)
        add_line(p, last->seq);
    else if (memcmp(p->sides[0].hash, p->sides[1].hash, HASH_SIZE) != 0)
        differ(p, last, "the models' hashes differ");
}

static enum err run_pass(struct pass *p, struct errinfo *err)
{
    *p->verdict = (struct replay_verdict){.is_same = true};
    uint64_t after = 0;
    for (;;) {
        AUTO(store_batch) struct store_batch b = {0};
        enum err rc = store_read(p->log, after, APP_READ_RECORDS, APP_READ_BYTES, &b, err);
        if (rc != OK)
            return rc;
        for (size_t i = 0; i < b.n; i++)
            if (fold_record(p, &b.items[i]))
                return OK;
        if (b.n == 0)
            break;
        after = b.items[b.n - 1].seq;
        if (after == b.end.seq) {
            end_pass(p, &b.items[b.n - 1]);
            break;
        }
    }
    for (size_t i = 0; i < p->sides_n && p->trace == NULL; i++)
        memcpy(p->verdict->hash[i], p->sides[i].hash, HASH_SIZE);
    return OK;
}

static enum err compare_pass(struct pass *p, const struct replay_fold *a, const struct replay_fold *b,
                             struct errinfo *err)
{
    struct side sides[2];
    side_begin(&sides[0], a);
    side_begin(&sides[1], b);
    p->sides = sides;
    p->sides_n = 2;
    enum err rc = run_pass(p, err);
    a->discard(sides[0].model);
    b->discard(sides[1].model);
    return rc;
}

enum err replay_compare(struct store *log, const struct replay_fold *a, const struct replay_fold *b, uint64_t every,
                        struct replay_verdict *ret, struct errinfo *err)
{
    if (every == 0)
        return err_set(err, ERR_INVALID, "a replay is compared every 1 or more events, not 0");
    struct pass p = {.log = log, .every = every, .dense_from = UINT64_MAX, .verdict = ret};
    enum err rc = compare_pass(&p, a, b, err);
    if (rc != OK || ret->is_same || every == 1)
        return rc;
    /* Again, with a hash after each event of the stretch that ends here. A fold that is not deterministic may differ
     * elsewhere this time: then that place is as good. */
    struct replay_verdict rough = *ret;
    p = (struct pass){
        .log = log, .every = every, .dense_from = (rough.seq - 1) / every * every, .until = rough.seq, .verdict = ret};
    rc = compare_pass(&p, a, b, err);
    if (rc == OK && ret->is_same)
        *ret = rough;
    return rc;
}

enum err replay_twice(struct store *log, const struct replay_fold *fold, uint64_t every, struct replay_verdict *ret,
                      struct errinfo *err)
{
    return replay_compare(log, fold, fold, every, ret, err);
}

enum err replay_trace(struct store *log, const struct replay_fold *fold, uint64_t every, struct buf *out,
                      struct errinfo *err)
{
    if (every == 0)
        return err_set(err, ERR_INVALID, "a trace has a line every 1 or more events, not 0");
    struct replay_verdict verdict;
    struct side side;
    side_begin(&side, fold);
    struct pass p = {.log = log,
                     .sides = &side,
                     .sides_n = 1,
                     .every = every,
                     .dense_from = UINT64_MAX,
                     .verdict = &verdict,
                     .trace = out};
    enum err rc = run_pass(&p, err);
    fold->discard(side.model);
    return rc;
}

static bool parse_line(struct str line, uint64_t *ret_seq, struct str *ret_rest)
{
    struct str seq;
    *ret_rest = line;
    return str_next(ret_rest, ' ', &seq) && str_parse_u64(seq, UINT64_MAX, ret_seq) && ret_rest->len > 0;
}

enum err replay_trace_compare(struct str a, struct str b, struct replay_verdict *ret, struct errinfo *err)
{
    *ret = (struct replay_verdict){.is_same = true};
    for (;;) {
        struct str line_a = {NULL, 0}, line_b = {NULL, 0}, rest_a, rest_b;
        bool has_a = a.len > 0 && str_next(&a, '\n', &line_a), has_b = b.len > 0 && str_next(&b, '\n', &line_b);
        uint64_t seq_a = 0, seq_b = 0;
        bool is_bad_a = has_a && !parse_line(line_a, &seq_a, &rest_a);
        if (is_bad_a || (has_b && !parse_line(line_b, &seq_b, &rest_b))) {
            struct str bad = is_bad_a ? line_a : line_b;
            return err_set(err, ERR_INVALID, "'%.*s' is no line of a replay trace", (int)(bad.len < 60 ? bad.len : 60),
                           bad.ptr);
        }
        if (!has_a && !has_b)
            return OK;
        if (!has_a || !has_b || !str_eq(line_a, line_b)) {
            ret->is_same = false;
            ret->seq = !has_b || (has_a && seq_a < seq_b) ? seq_a : seq_b;
            (void)snprintf(ret->cause, sizeof(ret->cause), "'%.*s' and '%.*s'",
                           (int)(line_a.len < 200 ? line_a.len : 200), has_a ? line_a.ptr : "",
                           (int)(line_b.len < 200 ? line_b.len : 200), has_b ? line_b.ptr : "");
            return OK;
        }
        ret->events = seq_a;
    }
}

#pragma once
/* store/kind.h - what a kind of store provides; for the files of this room only.
 * Layer: store. One row of store.c for each kind; tests/unit/store_contract.c is the contract. */
#include "store/store.h"

struct store {
    const struct store_kind *kind;
    char *spec, *name;
    enum store_mode mode;
    struct id log_wanted, log;
    const struct store_disk *disk;
    struct store_world *world;
    bool takes_any_time; /* of store_copy: times come from another log */
    void *impl;          /* the kind's; NULL while closed */
    store_changed_fn
        changed; /* of store_watch, in a kind that tells; NULL: nobody watches. May be called by any thread */
    void *changed_ctx;
    _Atomic bool is_cancelled;   /* set by other threads */
    _Atomic int64_t clock_floor; /* us; last event seen */
    _Atomic uint64_t known_seq;  /* of a kind with watch_url: the end as this handle last met it */
    bool is_damaged;
    struct store_damage damage;
    /* Of a kind whose server has the clock: that clock less clock_mono_us; 0: not told yet. */
    _Atomic int64_t clock_offset_us;
    /* Of kind postgres: the server's process that may still be at work on an append whose answer was lost. 0: none */
    int64_t unsettled_pid, unsettled_since_us;
    /* Of kind postgres: the cluster that this handle met, and the newest of its timelines. 0: none yet */
    uint64_t system;
    uint32_t timeline;
    /* Of a kind that has_news: an eventfd, written to by threads of its client library when the log grew. -1: none */
    int news_fd;
    /* Of kind jetstream: an append without answer may still come to stand behind this message. */
    bool is_unsure;
    uint64_t unsure_after;
};

struct store_kind {
    const char *name;
    /* Sets s->impl and s->log. On an error nothing is left behind. */
    enum err (*open)(struct store *s, struct store_repair *ret_repair, struct errinfo *err);
    void (*close)(struct store *s);
    /* NULL: read only. The contract of store_append_many; types, ids, payloads are checked. */
    enum err (*append)(struct store *s, struct store_pos expect, const struct store_group *groups, size_t groups_n,
                       struct store_record *ret_records, size_t *ret_taken, struct errinfo *err);
    enum err (*hold)(struct store *s, struct errinfo *err); /* NULL: nothing to do; release as well */
    void (*release)(struct store *s);
    enum err (*prove)(struct store *s, struct errinfo *err); /* store_prove; NULL: it has no such proof */
    enum err (*read)(struct store *s, uint64_t after_seq, size_t records_max, size_t size_max, struct store_batch *ret,
                     struct errinfo *err);
    enum err (*end)(struct store *s, struct store_pos *ret_end, struct errinfo *err);
    /* store_find_id; NULL: by reading all that is behind. */
    enum err (*find)(struct store *s, uint64_t after_seq, struct id id, uint64_t *ret_seq, struct errinfo *err);
    int64_t (*clock_us)(struct store *s);
    /* Path of a file that is written whenever the log grows, or NULL: there is none. Returned. */
    char *(*watch_path)(struct store *s);
    /* Instead: where a call waits for news (store/remote_watch.h). NULL: nowhere. Returned. */
    char *(*watch_url)(struct store *s);
    /* Leases; NULL, all three: the store keeps none. put: until_us is set. list: those that have run out too. */
    enum err (*lease_put)(struct store *s, const struct store_lease *lease, struct errinfo *err);
    enum err (*lease_drop)(struct store *s, const char *name, struct errinfo *err);
    enum err (*lease_list)(struct store *s, struct store_lease *ret, size_t max, size_t *ret_n, struct errinfo *err);
    /* Keys; NULL, all four: the store keeps none. As store_key_put (name, value, time are set), _get, _drop,
     * store_keys. */
    enum err (*key_put)(struct store *s, const struct store_key *key, const char *was, struct errinfo *err);
    enum err (*key_get)(struct store *s, const char *name, struct store_key *ret, struct errinfo *err);
    enum err (*key_drop)(struct store *s, const char *name, struct errinfo *err);
    enum err (*key_list)(struct store *s, const char *after, struct store_key *ret, size_t max, size_t *ret_n,
                         struct errinfo *err);
    bool tells;              /* instead of a path: it calls s->changed, when set, after the log grew */
    bool has_news;           /* instead of a path: s->news_fd becomes readable after the log grew, unless it is -1 */
    unsigned watch_every_ms; /* instead of a path: whoever watches is told to look that often; 0: no */
};

extern const struct store_kind STORE_FILES, STORE_JETSTREAM, STORE_JSONL, STORE_POSTGRES, STORE_REMOTE, STORE_SIMULATED;
/* Those that this program has, NULL behind the last: kinds.c for ours, kinds_sdk.c for applications. */
extern const struct store_kind *const STORE_KINDS[];

/* store_open; *ret_damage is set with ERR_CORRUPT. */
must_check enum err store_open_damaged(const char *spec, const struct store_options *opt, struct store **ret_store,
                                       struct store_repair *ret_repair, struct store_damage *ret_damage,
                                       struct errinfo *err);
/* The value of `key` in "kind;key=value;…", or {NULL,0}. Lent. */
struct str store_spec_get(const struct store *s, const char *key);
/* A whole number in [0,max], `otherwise` when the key is absent. OK | ERR_INVALID */
must_check enum err store_spec_number(const struct store *s, const char *key, uint64_t max, uint64_t otherwise,
                                      uint64_t *ret, struct errinfo *err);
/* The time of the next event of a log whose last is `last`. OK | ERR_INVALID not later, or too far ahead of now_ns */
must_check enum err store_choose_time(const struct store *s, const struct store_event *e, struct event_time last,
                                      int64_t now_ns, struct event_time *ret, struct errinfo *err);
/* Note damage (the first stays) and return ERR_CORRUPT with its text. */
must_check enum err store_set_damage(struct store *s, const struct store_damage *d, struct errinfo *err);
/* An event of that time was seen: the clock does not go back behind it. */
void store_clock_saw(struct store *s, struct event_time t);
/* Add a record, its texts copied. *size: room in b->items, 0 to begin. */
void store_batch_add(struct store_batch *b, size_t *size, uint64_t seq, const struct envelope *e);

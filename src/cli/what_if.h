#pragma once
/* cli/what_if.h - what the files of `slipform what-if` share: reading a history, and asking a planner of another build
 * through a pipe (docs/formats/what-if.md). Layer: cli. */
#include <stdio.h>

#include "cli/eventlog.h"
#include "platform/what_if.h"

/* Of the lines between two builds. */
#define WHAT_IF_FORMAT 1

/* A log, record by record. */
struct history {
    struct store *store;
    struct store_batch batch;
    size_t at;
    uint64_t seq; /* of the record read last */
};
/* *ret_record is lent until the next call; NULL at the end. As store_read. */
must_check enum err history_next(struct history *h, const struct store_record **ret_record, struct errinfo *err);
void history_done(struct history *h);

/* ---- settings: "name=value,…" ---- */

/* app_domain and installation, too: their texts are copied to the arena. *ret_doc (may be NULL) gets them as members.
 * OK | ERR_INVALID */
must_check enum err what_if_settings_parse(const char *text, struct arena *a, struct platform_settings *s,
                                           json_t *ret_doc, struct errinfo *err);

/* ---- lines ---- */

/* A question as it goes over the pipe. */
struct question_line {
    int64_t seq, now_ms, until_ms, format, replicas_n;
    bool edges_known; /* false: nothing is known of edges, and nothing will be up to until_ms */
    struct objects edges;
    struct strs replicas;
};
struct edge_line {
    struct str name;
    int64_t confirmed_seq, silent_ms;
};
struct answer_line {
    int64_t seq, at_ms, n;
    struct str error; /* why there is no answer */
};
struct event_line {
    struct str type, payload;
};
extern const struct field_table QUESTION_LINE, ANSWER_LINE, EVENT_LINE;

/* ---- both ends ---- */

struct asked_planner;
/* Start PROGRAM what-if LOG --answer. settings: what it is to plan with beside its own figures, an object. *ret is
 * returned: asked_planner_close; *ret_build: what it says it is, lent by it. OK | ERR_NOT_FOUND | ERR_IO |
 * ERR_INVALID it speaks another format */
must_check enum err asked_planner_open(const char *program, const char *log, const json_t *settings,
                                       struct asked_planner **ret, const char **ret_build, struct errinfo *err);
struct what_if_planner asked_planner(struct asked_planner *p); /* lent */
void asked_planner_close(struct asked_planner *p);             /* NULL is fine; it has ended when this returns */

/* The other end: questions on stdin, answers on stdout, until stdin ends. Returns the exit code. */
int what_if_answer(struct cli *c, const char *log);

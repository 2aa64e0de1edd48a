#pragma once
/* daemon/metrics.h - counters, gauges and histograms of a program, rendered as Prometheus text (version 0.0.4).
 * Layer: daemon. Thread: loop. Names carry their unit (`_seconds`, `_bytes`, `_total`). Asking twice for the same name
 * and labels gives the same metric, so cardinality is what the caller makes it: bound it. */
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

struct metrics;
struct counter;
struct gauge;
struct histogram;

struct metric_label {
    const char *name, *value; /* copied */
};

struct metrics *metrics_new(void);
void metrics_free(struct metrics *m);
/* Asserts that a name keeps one type and the label names are well formed. Lent while m lives. */
struct counter *metrics_counter(struct metrics *m, const char *name, const char *help,
                                const struct metric_label *labels, size_t labels_n);
struct gauge *metrics_gauge(struct metrics *m, const char *name, const char *help, const struct metric_label *labels,
                            size_t labels_n);
/* bounds: upper bounds, strictly rising, without +Inf; copied. NULL: 1 ms to 30 s in 14 steps. */
struct histogram *metrics_histogram(struct metrics *m, const char *name, const char *help,
                                    const struct metric_label *labels, size_t labels_n, const double *bounds,
                                    size_t bounds_n);
void counter_add(struct counter *c, uint64_t n);
uint64_t counter_value(const struct counter *c);
void gauge_set(struct gauge *g, double value);
void gauge_add(struct gauge *g, double delta);
void histogram_observe(struct histogram *h, double value);
/* Called before each rendering, to set gauges that are read on demand. */
void metrics_on_render(struct metrics *m, void (*fn)(struct metrics *m, void *ctx), void *ctx);
/* Families in order of name. */
void metrics_render(struct metrics *m, struct buf *out);
/* process_resident_memory_bytes, process_open_fds, process_max_fds, process_cpu_seconds_total (a gauge here: it is no
 * whole number), process_start_time_seconds, read from /proc at each rendering. */
void metrics_add_process(struct metrics *m);

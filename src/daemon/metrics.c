#include "daemon/metrics.h"

#include <assert.h>
#include <dirent.h>
#include <stdio.h>
#include <sys/resource.h>
#include <time.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/own.h"
#include "base/str.h"

/* 1 ms to 30 s: a route change is milliseconds, a build or boot is seconds (chosen). */
static const double BOUNDS_DEFAULT[] = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30};

enum family_type { FAMILY_COUNTER, FAMILY_GAUGE, FAMILY_HISTOGRAM };
static const char *const TYPE_NAMES[] = {"counter", "gauge", "histogram"};

struct counter {
    uint64_t value;
};

struct gauge {
    double value;
};

struct histogram {
    double *bounds;
    uint64_t *counts; /* bounds_n + 1: the last is +Inf; not cumulated */
    size_t bounds_n;
    double sum;
};

struct metric {
    char *labels; /* `a="b",c="d"` or "" */
    union {
        struct counter counter;
        struct gauge gauge;
        struct histogram histogram;
    };
    struct metric *next;
};

struct family {
    char *name, *help;
    enum family_type type;
    struct metric *metrics; /* in the order of labels */
    struct family *next;
};

struct render_hook {
    void (*fn)(struct metrics *m, void *ctx);
    void *ctx;
    struct render_hook *next;
};

struct metrics {
    struct family *families; /* in the order of names */
    struct render_hook *hooks;
    double start_s;
};

struct metrics *metrics_new(void)
{
    return mem_alloc(sizeof(struct metrics));
}

static void family_free(struct family *f)
{
    for (struct metric *m = f->metrics; m != NULL;) {
        struct metric *next = m->next;
        if (f->type == FAMILY_HISTOGRAM) {
            free(m->histogram.bounds);
            free(m->histogram.counts);
        }
        free(m->labels);
        free(m);
        m = next;
    }
    free(f->name);
    free(f->help);
    free(f);
}

void metrics_free(struct metrics *m)
{
    if (m == NULL)
        return;
    for (struct family *f = m->families; f != NULL;) {
        struct family *next = f->next;
        family_free(f);
        f = next;
    }
    for (struct render_hook *h = m->hooks; h != NULL;) {
        struct render_hook *next = h->next;
        free(h);
        h = next;
    }
    free(m);
}

static bool name_is_valid(const char *name)
{
    for (const char *c = name; *c != '\0'; c++)
        if (!((*c >= 'a' && *c <= 'z') || *c == '_' || (c > name && *c >= '0' && *c <= '9')))
            return false;
    return name[0] != '\0';
}

static void add_escaped(struct buf *b, const char *text, bool is_label)
{
    for (const char *c = text; *c != '\0'; c++) {
        if (*c == '\n')
            buf_add_c(b, "\\n");
        else if (*c == '\\' || (is_label && *c == '"'))
            buf_addf(b, "\\%c", *c);
        else
            buf_add_char(b, *c);
    }
}

static char *labels_format(const struct metric_label *labels, size_t n)
{
    struct buf b = {0};
    for (size_t i = 0; i < n; i++) {
        assert(name_is_valid(labels[i].name));
        buf_addf(&b, "%s%s=\"", i > 0 ? "," : "", labels[i].name);
        add_escaped(&b, labels[i].value, true);
        buf_add_char(&b, '"');
    }
    return buf_take(&b);
}

static struct family *family_get(struct metrics *m, const char *name, const char *help, enum family_type type)
{
    struct family **at = &m->families;
    while (*at != NULL && strcmp((*at)->name, name) < 0)
        at = &(*at)->next;
    if (*at == NULL || strcmp((*at)->name, name) != 0) {
        assert(name_is_valid(name));
        struct family *f = mem_alloc(sizeof(*f));
        f->name = mem_strdup(name);
        f->help = mem_strdup(help);
        f->type = type;
        f->next = *at;
        *at = f;
    }
    assert((*at)->type == type);
    return *at;
}

static struct metric *metric_get(struct family *f, const struct metric_label *labels, size_t n, bool *ret_is_new)
{
    auto_free char *text = labels_format(labels, n);
    struct metric **at = &f->metrics;
    while (*at != NULL && strcmp((*at)->labels, text) < 0)
        at = &(*at)->next;
    *ret_is_new = *at == NULL || strcmp((*at)->labels, text) != 0;
    if (*ret_is_new) {
        struct metric *metric = mem_alloc(sizeof(*metric));
        metric->labels = TAKE(text);
        metric->next = *at;
        *at = metric;
    }
    return *at;
}

struct counter *metrics_counter(struct metrics *m, const char *name, const char *help,
                                const struct metric_label *labels, size_t labels_n)
{
    bool is_new = false;
    return &metric_get(family_get(m, name, help, FAMILY_COUNTER), labels, labels_n, &is_new)->counter;
}

struct gauge *metrics_gauge(struct metrics *m, const char *name, const char *help, const struct metric_label *labels,
                            size_t labels_n)
{
    bool is_new = false;
    return &metric_get(family_get(m, name, help, FAMILY_GAUGE), labels, labels_n, &is_new)->gauge;
}

struct histogram *metrics_histogram(struct metrics *m, const char *name, const char *help,
                                    const struct metric_label *labels, size_t labels_n, const double *bounds,
                                    size_t bounds_n)
{
    bool is_new = false;
    struct metric *metric = metric_get(family_get(m, name, help, FAMILY_HISTOGRAM), labels, labels_n, &is_new);
    struct histogram *h = &metric->histogram;
    if (!is_new)
        return h;
    if (bounds == NULL) {
        bounds = BOUNDS_DEFAULT;
        bounds_n = sizeof(BOUNDS_DEFAULT) / sizeof(BOUNDS_DEFAULT[0]);
    }
    h->bounds = mem_calloc(bounds_n + 1, sizeof(*h->bounds));
    h->counts = mem_calloc(bounds_n + 1, sizeof(*h->counts));
    h->bounds_n = bounds_n;
    for (size_t i = 0; i < bounds_n; i++) {
        assert(i == 0 || bounds[i] > bounds[i - 1]);
        h->bounds[i] = bounds[i];
    }
    return h;
}

void counter_add(struct counter *c, uint64_t n)
{
    c->value += n;
}

uint64_t counter_value(const struct counter *c)
{
    return c->value;
}

void gauge_set(struct gauge *g, double value)
{
    g->value = value;
}

void gauge_add(struct gauge *g, double delta)
{
    g->value += delta;
}

void histogram_observe(struct histogram *h, double value)
{
    size_t i = 0;
    while (i < h->bounds_n && value > h->bounds[i])
        i++;
    h->counts[i]++;
    h->sum += value;
}

void metrics_on_render(struct metrics *m, void (*fn)(struct metrics *m, void *ctx), void *ctx)
{
    struct render_hook *h = mem_alloc(sizeof(*h));
    *h = (struct render_hook){.fn = fn, .ctx = ctx, .next = m->hooks};
    m->hooks = h;
}

/* ---- text ---- */

static void add_line(struct buf *out, const char *name, const char *suffix, const char *labels, const char *more)
{
    bool has_labels = labels[0] != '\0' || more[0] != '\0';
    buf_addf(out, "%s%s", name, suffix);
    if (has_labels)
        buf_addf(out, "{%s%s%s}", labels, labels[0] != '\0' && more[0] != '\0' ? "," : "", more);
    buf_add_char(out, ' ');
}

static void render_histogram(const struct family *f, const struct metric *metric, struct buf *out)
{
    const struct histogram *h = &metric->histogram;
    uint64_t total = 0;
    for (size_t i = 0; i <= h->bounds_n; i++) {
        char le[48];
        if (i < h->bounds_n)
            (void)snprintf(le, sizeof(le), "le=\"%g\"", h->bounds[i]);
        else
            (void)snprintf(le, sizeof(le), "le=\"+Inf\"");
        total += h->counts[i];
        add_line(out, f->name, "_bucket", metric->labels, le);
        buf_addf(out, "%llu\n", (unsigned long long)total);
    }
    add_line(out, f->name, "_sum", metric->labels, "");
    buf_addf(out, "%.9g\n", h->sum);
    add_line(out, f->name, "_count", metric->labels, "");
    buf_addf(out, "%llu\n", (unsigned long long)total);
}

static void render_metric(const struct family *f, const struct metric *metric, struct buf *out)
{
    switch (f->type) {
    case FAMILY_COUNTER:
        add_line(out, f->name, "", metric->labels, "");
        buf_addf(out, "%llu\n", (unsigned long long)metric->counter.value);
        break;
    case FAMILY_GAUGE:
        add_line(out, f->name, "", metric->labels, "");
        buf_addf(out, "%.17g\n", metric->gauge.value);
        break;
    case FAMILY_HISTOGRAM: render_histogram(f, metric, out); break;
    }
}

void metrics_render(struct metrics *m, struct buf *out)
{
    for (const struct render_hook *h = m->hooks; h != NULL; h = h->next)
        h->fn(m, h->ctx);
    for (const struct family *f = m->families; f != NULL; f = f->next) {
        buf_addf(out, "# HELP %s ", f->name);
        add_escaped(out, f->help, false);
        buf_addf(out, "\n# TYPE %s %s\n", f->name, TYPE_NAMES[f->type]);
        for (const struct metric *metric = f->metrics; metric != NULL; metric = metric->next)
            render_metric(f, metric, out);
    }
}

/* ---- the process itself ---- */

static double resident_bytes(void)
{
    char line[128] = ""; /* "size resident shared …", in pages */
    FILE *f = fopen("/proc/self/statm", "re");
    if (f == NULL)
        return 0;
    struct str rest = str_from(fgets(line, sizeof(line), f)), size, pages;
    uint64_t resident = 0;
    if (!str_next(&rest, ' ', &size) || !str_next(&rest, ' ', &pages) || !str_parse_u64(pages, UINT64_MAX, &resident))
        resident = 0;
    (void)fclose(f);
    return (double)resident * (double)sysconf(_SC_PAGESIZE);
}

static double open_fds(void)
{
    DIR *folder = opendir("/proc/self/fd");
    int n = -3; /* ".", ".." and the folder's own descriptor */
    if (folder == NULL)
        return 0;
    while (readdir(folder) != NULL)
        n++;
    (void)closedir(folder);
    return n;
}

static double max_fds(void)
{
    struct rlimit limit = {0};
    return getrlimit(RLIMIT_NOFILE, &limit) == 0 ? (double)limit.rlim_cur : 0;
}

static double cpu_seconds(void)
{
    struct timespec t = {0};
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void set_process(struct metrics *m, void *ctx)
{
    (void)ctx;
    gauge_set(metrics_gauge(m, "process_resident_memory_bytes", "Resident memory.", NULL, 0), resident_bytes());
    gauge_set(metrics_gauge(m, "process_open_fds", "Open file descriptors.", NULL, 0), open_fds());
    gauge_set(metrics_gauge(m, "process_max_fds", "Limit of open file descriptors.", NULL, 0), max_fds());
    gauge_set(metrics_gauge(m, "process_cpu_seconds_total", "User and system time so far.", NULL, 0), cpu_seconds());
    gauge_set(metrics_gauge(m, "process_start_time_seconds", "Start, in seconds since 1970.", NULL, 0), m->start_s);
}

void metrics_add_process(struct metrics *m)
{
    const int64_t start_ms = clock_wall_us() / 1000;
    m->start_s = (double)start_ms / 1e3;
    metrics_on_render(m, set_process, NULL);
}

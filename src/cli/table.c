#include "cli/table.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/own.h"

enum { COLUMNS_MAX = 16 };

static const json_t *member(const json_t *row, const char *path)
{
    struct str rest = str_from(path), part;
    char key[64];
    while (row != NULL && str_next(&rest, '.', &part)) {
        if (!str_copy_to(part, key, sizeof(key)))
            return NULL;
        row = json_object_get(row, key);
    }
    return row;
}

char *table_cell(const json_t *row, const char *path)
{
    const json_t *v = member(row, path);
    if (v == NULL || json_is_null(v))
        return mem_strdup("");
    return json_is_string(v) ? mem_strdup(json_string_value(v)) : json_format(v);
}

static char *size_text(const char *text)
{
    static const char *const UNITS[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    double v = strtod(text, NULL);
    size_t unit = 0;
    for (; v >= 1024 && unit < 4; unit++)
        v /= 1024;
    return mem_printf(unit == 0 ? "%.0f %s" : "%.1f %s", v, UNITS[unit]);
}

static char *age_text(const char *text)
{
    int64_t ns = 0;
    if (!clock_parse_ns(str_from(text), &ns))
        return mem_strdup("");
    long long s = (clock_wall_us() - ns / 1000) / 1000000;
    s = s < 0 ? 0 : s;
    return s < 120      ? mem_printf("%llds", s)
           : s < 7200   ? mem_printf("%lldm", s / 60)
           : s < 172800 ? mem_printf("%lldh", s / 3600)
                        : mem_printf("%lldd", s / 86400);
}

static char *cell_text(const json_t *row, const struct column *col)
{
    char *raw = table_cell(row, col->path);
    char *text = NULL;
    if (raw[0] == '\0')
        text = mem_strdup("-");
    else if (col->kind == COLUMN_SIZE)
        text = size_text(raw);
    else if (col->kind == COLUMN_AGE)
        text = age_text(raw);
    else if (col->kind == COLUMN_SHORT_ID && strlen(raw) == 36)
        text = mem_strdup(raw + 24); /* the last group: of ids made together, the first ones are alike */
    if (text == NULL)
        return raw;
    free(raw);
    return text;
}

void table_print(const json_t *rows, const struct column *columns)
{
    size_t n = json_array_size(rows), width[COLUMNS_MAX] = {0}, columns_n = 0;
    if (n == 0) {
        (void)puts("none");
        return;
    }
    for (; columns[columns_n].title != NULL && columns_n < COLUMNS_MAX; columns_n++)
        width[columns_n] = strlen(columns[columns_n].title);
    for (int pass = 0; pass < 2; pass++) {
        for (size_t i = 0; pass == 1 && i < columns_n; i++)
            (void)printf("%-*s%s", i + 1 < columns_n ? (int)width[i] : 0, columns[i].title,
                         i + 1 < columns_n ? "  " : "\n");
        for (size_t r = 0; r < n; r++)
            for (size_t i = 0; i < columns_n; i++) {
                auto_free char *text = cell_text(json_array_get(rows, r), &columns[i]);
                if (pass == 0 && strlen(text) > width[i])
                    width[i] = strlen(text);
                if (pass == 1)
                    (void)printf("%-*s%s", i + 1 < columns_n ? (int)width[i] : 0, text,
                                 i + 1 < columns_n ? "  " : "\n");
            }
    }
}

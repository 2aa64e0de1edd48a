#pragma once
/* cli/table.h - a list of JSON objects as a table for people. Layer: cli. */
#include <jansson.h>

struct column {
    const char *title, *path; /* "capacity.vcpus"; title NULL ends the list */
    enum { COLUMN_TEXT, COLUMN_SHORT_ID, COLUMN_SIZE, COLUMN_AGE } kind;
};
/* Aligned columns on stdout; "none" when there are no rows. */
void table_print(const json_t *rows, const struct column *columns);
/* The text of a member by path; "" when absent. Returned: free(). */
char *table_cell(const json_t *row, const char *path);

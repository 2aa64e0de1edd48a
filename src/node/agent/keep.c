#include "node/agent/keep.h"

#include <stddef.h>

#include "base/mem.h"
#include "base/own.h"
#include "os/file.h"

/* 1 MiB: a spec came through a body limit of that size. */
static const size_t KEEP_SIZE_MAX = 1024 * 1024;

static const struct field KEPT_STATE_FIELDS[] = {
    FIELD_OPT(STR, kept_state, status, "status", "as reported last"),
    FIELD_OPT(STR, kept_state, health, "health", "as reported last"),
    FIELD_OPT(STR, kept_state, cause, "cause", "as reported last"),
    FIELD_OPT(STR, kept_state, since, "since", "RFC 3339, of the status"),
    FIELD_OPT(BOOL, kept_state, was_started, "was_started", "at least once"),
    FIELD_OPT(BOOL, kept_state, is_failed, "is_failed", "given up"),
    FIELD_OPT(BOOL, kept_state, is_finished, "is_finished", "restart: never, and ended"),
    FIELD_OPT(BOOL, kept_state, is_removing, "is_removing", "to be forgotten once it is down"),
    FIELD_OPT(BOOL, kept_state, leaves_tombstone, "leaves_tombstone", "and remembered as deleted"),
    FIELD_OPT(I64, kept_state, restarts, "restarts", "in place"),
    FIELD_OPT(I64, kept_state, boot_ms, "boot_ms", "from start to the first healthy check"),
    FIELD_OPT(STR, kept_state, tap, "tap", "name of its link"),
    FIELD_OPT(STR, kept_state, mac, "mac", "of its end"),
    FIELD_OPT(STR, kept_state, ipv4, "ipv4", "for egress"),
    FIELD_OPT(STR, kept_state, revision, "revision", "of spec and program, hex"),
};
const struct field_table KEPT_STATE_TABLE = FIELD_TABLE(kept_state, KEPT_STATE_FIELDS);

static const struct field KEPT_AGENT_FIELDS[] = {
    FIELD_REQ(STR, kept_agent, incarnation, "incarnation", "of this home"),
    FIELD_OPT(I64, kept_agent, report_seq, "report_seq", "numbers up to here may have been used"),
};
const struct field_table KEPT_AGENT_TABLE = FIELD_TABLE(kept_agent, KEPT_AGENT_FIELDS);

enum err keep_write(const char *folder, const char *name, const struct field_table *table, const void *value,
                    struct errinfo *err)
{
    auto_free char *path = mem_printf("%s/%s.json", folder, name);
    AUTO(buf) struct buf text = {0};
    fields_encode(table, value, &text);
    buf_add_char(&text, '\n');
    return file_replace(path, buf_str(&text), 0600, err);
}

enum err keep_read(const char *folder, const char *name, const struct field_table *table, struct arena *arena,
                   void *ret_value, struct errinfo *err)
{
    auto_free char *path = mem_printf("%s/%s.json", folder, name);
    AUTO(buf) struct buf text = {0};
    enum err rc = file_read(path, KEEP_SIZE_MAX, &text, err);
    if (rc != OK)
        return rc;
    rc = fields_parse(table, buf_str(&text), arena, ret_value, err);
    if (rc == OK)
        return OK;
    err_ignore(err_wrap(err, rc, "'%s'", path));
    if (err != NULL)
        err->code = ERR_CORRUPT;
    return ERR_CORRUPT;
}

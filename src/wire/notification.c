#include "wire/notification.h"

#include <stdio.h>

static const struct field NOTIFICATION_FIELDS[] = {
    FIELD_REQ(ID, notification, log_id, "log_id", "incarnation of the log"),
    FIELD_REQ(I64, notification, seq, "seq", "it reaches at least this far"),
};
const struct field_table NOTIFICATION_WIRE = FIELD_TABLE(notification, NOTIFICATION_FIELDS);

/* Room for a name, escaped. */
enum { TOKEN_SIZE = 3 * NOTIFICATION_NAME_MAX + 1 };

static const char *token(struct str name, char ret[static TOKEN_SIZE])
{
    static const char HEX[] = "0123456789ABCDEF";
    size_t n = 0;
    for (size_t i = 0; i < name.len && i < NOTIFICATION_NAME_MAX; i++) {
        char c = name.ptr[i];
        bool is_plain =
            (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
        if (is_plain) {
            ret[n++] = c;
            continue;
        }
        ret[n++] = '=';
        ret[n++] = HEX[(unsigned char)c >> 4];
        ret[n++] = HEX[(unsigned char)c & 15];
    }
    ret[n] = '\0';
    return ret;
}

void notification_log_subject(const char *installation, struct id log, char ret[static NOTIFICATION_SUBJECT_SIZE])
{
    char name[TOKEN_SIZE], id[ID_TEXT_SIZE];
    id_format(log, id);
    (void)snprintf(ret, NOTIFICATION_SUBJECT_SIZE, "slipform.%s.log.%s", token(str_from(installation), name), id);
}

void notification_edge_subject(const char *installation, struct str region, char ret[static NOTIFICATION_SUBJECT_SIZE])
{
    char name[TOKEN_SIZE], where[TOKEN_SIZE];
    (void)snprintf(ret, NOTIFICATION_SUBJECT_SIZE, "slipform.%s.region.%s.edge", token(str_from(installation), name),
                   token(region, where));
}

void notification_node_subject(const char *installation, struct id node, char ret[static NOTIFICATION_SUBJECT_SIZE])
{
    char name[TOKEN_SIZE], id[ID_TEXT_SIZE];
    id_format(node, id);
    (void)snprintf(ret, NOTIFICATION_SUBJECT_SIZE, "slipform.%s.node.%s", token(str_from(installation), name), id);
}

#pragma once
/* install/database_pair.h - between database.c and database_pair.c. Layer: install. */
#include "install/database.h"

#define DATABASE_ANSWER_SIZE 256u
#define DATABASE_SLOT_SIZE 24u
#define DATABASE_ASK_MS 10000

/* The name of the one that `name` is not. */
const char *database_other(const char *name);
bool database_is_primary(const struct home *h, const char *name);
/* What the primary keeps for that standby: its name, as PostgreSQL allows it for a slot. */
const char *database_slot(const char *name, char ret[static DATABASE_SLOT_SIZE]);
/* ERR_CONFLICT: it was a primary, or is not made yet, and would not follow. */
must_check enum err database_may_start(const struct home *h, const char *name, struct errinfo *err);
must_check enum err database_primary_is_well(const struct home *h, const char *name, struct errinfo *err);
must_check enum err database_standby_is_well(const struct home *h, const char *name, struct errinfo *err);
/* Made where it is none, following, and waited for at every commit. */
must_check enum err database_prepare_standby(const struct home *h, const char *name, struct errinfo *err);
void database_tell(const struct home *h, const struct service *s, char ret[static SERVICE_TELL_SIZE]);

/* Ask as administrator; the first line of the answer. Blocks. */
must_check enum err database_sql(const struct home *h, const char *name, struct str sql, int64_t timeout_ms,
                                 char ret[static DATABASE_ANSWER_SIZE], struct errinfo *err);
/* Into its data.new, from the other one, which must answer. */
must_check enum err database_base_backup(const struct home *h, const char *name, struct errinfo *err);

#pragma once
/* guest/user.h - the USER of an image: "name", "uid", "name:group", "uid:gid", by the image's own passwd and group.
 * Layer: guest. (libc's lookups would load name services from the image.) */
#include <sys/types.h>

#include "base/buf.h"
#include "base/err.h"

#define USER_GROUPS_MAX 64
/* Of /etc/passwd and /etc/group: larger ones are refused (chosen, never measured). */
#define USER_FILE_SIZE_MAX (4u * 1024u * 1024u)

struct user {
    uid_t uid;
    gid_t gid;
    gid_t groups[USER_GROUPS_MAX]; /* supplementary */
    size_t groups_n;
    char home[256];
    char name[64]; /* "" when passwd does not know it */
};

/* text "" is root. passwd and group are the files' texts. OK | ERR_NOT_FOUND no such user or group | ERR_INVALID */
must_check enum err user_find(struct str text, struct str passwd, struct str group, struct user *ret_user,
                              struct errinfo *err);

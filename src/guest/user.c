#include "guest/user.h"

struct columns {
    struct str items[7];
    size_t n;
};

static bool next_line(struct str *rest, struct columns *ret)
{
    struct str line;
    if (!str_next(rest, '\n', &line))
        return false;
    *ret = (struct columns){0};
    while (ret->n < 7 && str_next(&line, ':', &ret->items[ret->n]))
        ret->n++;
    return true;
}

static bool parse_id(struct str text, uint32_t *ret)
{
    uint64_t value;
    if (!str_parse_u64(text, UINT32_MAX - 1, &value))
        return false;
    *ret = (uint32_t)value;
    return true;
}

/* By name, or by number when is_number. False: passwd has no such line. */
static bool find_passwd(struct str passwd, struct str name, bool is_number, uint32_t number, struct user *u)
{
    struct columns c;
    while (next_line(&passwd, &c)) {
        uint32_t uid, gid;
        if (c.n < 6 || !parse_id(c.items[2], &uid) || !parse_id(c.items[3], &gid))
            continue;
        if (is_number ? uid != number : !str_eq(c.items[0], name))
            continue;
        u->uid = uid;
        u->gid = gid;
        (void)str_copy_to(c.items[0], u->name, sizeof(u->name));
        (void)str_copy_to(c.items[5], u->home, sizeof(u->home));
        return true;
    }
    return false;
}

static bool find_group(struct str group, struct str name, gid_t *ret_gid)
{
    struct columns c;
    while (next_line(&group, &c))
        if (c.n >= 3 && str_eq(c.items[0], name))
            return parse_id(c.items[2], ret_gid);
    return false;
}

static void add_groups(struct str group, struct user *u)
{
    struct columns c;
    while (u->name[0] != '\0' && next_line(&group, &c)) {
        struct str members = c.items[3], member;
        uint32_t gid;
        while (c.n >= 4 && str_next(&members, ',', &member))
            if (str_eq_c(member, u->name) && parse_id(c.items[2], &gid) && u->groups_n < USER_GROUPS_MAX)
                u->groups[u->groups_n++] = gid;
    }
}

enum err user_find(struct str text, struct str passwd, struct str group, struct user *ret_user, struct errinfo *err)
{
    *ret_user = (struct user){.home = "/"};
    if (str_is_empty(text))
        text = STR("0");
    size_t colon = str_find(text, ':');
    struct str name = str_slice(text, 0, colon);
    uint32_t number = 0;
    bool is_number = parse_id(name, &number);
    if (!find_passwd(passwd, name, is_number, number, ret_user)) {
        if (!is_number)
            return err_set(err, ERR_NOT_FOUND, "the image has no user '%.*s'", STR_ARG(name));
        ret_user->uid = number;
    }
    if (colon == text.len) {
        add_groups(group, ret_user);
        return OK;
    }
    struct str wanted = str_slice(text, colon + 1, text.len);
    if (parse_id(wanted, &ret_user->gid) || find_group(group, wanted, &ret_user->gid))
        return OK;
    return err_set(err, ERR_NOT_FOUND, "the image has no group '%.*s'", STR_ARG(wanted));
}

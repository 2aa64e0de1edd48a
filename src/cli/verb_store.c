/* slipform store: the servers that an installation on one machine keeps its log on, and who takes over. */
#include <stdio.h>
#include <string.h>

#include "base/own.h"
#include "cli/verbs.h"
#include "install/database.h"

const struct flag STORE_FLAGS[] = {
    {"stop", FLAG_BOOL, "", "promote: stop the primary when it runs"},
    {"may-lose", FLAG_BOOL, "", "promote: also a standby that was not waited for, which may lack what was appended"},
    {0},
};
const char STORE_DETAILS[] =
    "  store           the database servers of the log, and how far the standby is\n"
    "  store promote   the standby takes over; the primary must have ended, or --stop ends it. 'slipform up' makes a\n"
    "                  standby of it afterwards\n"
    "  store alone     acknowledge without the standby, which is gone, until the next 'slipform up'\n";

static int show(struct cli *c)
{
    struct service list[2];
    database_services(&c->home, list);
    for (size_t i = 0; i < 2; i++) {
        char text[SERVICE_TELL_SIZE];
        struct errinfo err;
        bool is_well = list[i].is_well(&c->home, &list[i], &err) == OK;
        list[i].tell(&c->home, &list[i], text);
        (void)printf("%-12s %s%s%s\n", list[i].name, text, is_well ? "" : ": ", is_well ? "" : err.msg);
    }
    return 0;
}

static int promote(struct cli *c)
{
    struct errinfo err;
    const char *name = NULL;
    const struct database_promotion o = {cli_flag(c, "stop"), cli_flag(c, "may-lose")};
    if (database_promote(&c->home, &o, &name, &err) != OK)
        return cli_fail(c, &err);
    cli_say(c, "'%s' has taken over; 'slipform up' makes a standby of the other one", name);
    return 0;
}

int verb_store(struct cli *c)
{
    struct errinfo err;
    if (home_store_is_elsewhere(&c->home))
        return cli_failf(
            c, ERR_INVALID,
            "this installation keeps its log on servers that it does not run: who runs them says which one "
            "is the primary (docs/operate.md, \"The log in PostgreSQL\")");
    if (!home_store_is(&c->home, "postgres"))
        return cli_failf(c, ERR_INVALID, "this installation keeps its log in '%.*s', which has no servers to choose of",
                         STR_ARG(c->home.inst.store));
    if (c->args_n == 0)
        return show(c);
    if (strcmp(c->args[0], "promote") == 0)
        return promote(c);
    if (strcmp(c->args[0], "alone") != 0)
        return cli_failf(c, ERR_INVALID, "'%s' is nothing to do with a store: promote, alone", c->args[0]);
    if (database_alone(&c->home, &err) != OK)
        return cli_fail(c, &err);
    cli_say(c, "'%s' acknowledges alone from now on", database_primary(&c->home));
    return 0;
}

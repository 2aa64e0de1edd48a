/* slipform erase: nobody reads a person's data again, in no copy of the log. An address is read from stdin: neither
 * argv nor the shell's history has it. */
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/json.h"
#include "base/own.h"
#include "cli/client.h"
#include "cli/verbs.h"
#include "event/id.h"

enum { ADDRESS_MAX = 254 }; /* in SMTP (RFC 5321) */

static enum err read_address(char ret[static ADDRESS_MAX + 1], struct errinfo *err)
{
    size_t n = 0;
    char c = '\0';
    while (read(STDIN_FILENO, &c, 1) == 1 && c != '\n') {
        if (n == ADDRESS_MAX)
            return err_set(err, ERR_INVALID, "an address has at most %d bytes", ADDRESS_MAX);
        ret[n++] = c;
    }
    ret[n] = '\0';
    return n > 0 ? OK : err_set(err, ERR_INVALID, "the address comes on stdin");
}

/* The place in the waitlist that the address on stdin has. */
static enum err find_place(const struct cli *c, struct id *ret, struct errinfo *err)
{
    char address[ADDRESS_MAX + 1] = "", email[ADDRESS_MAX + 2];
    auto_json json_t *items = NULL;
    if (isatty(STDIN_FILENO))
        cli_say(c, "the address, then Return:");
    enum err rc = read_address(address, err);
    if (rc == OK)
        rc = client_list(c, API_PUBLIC, "/v1/waitlist", &items, err);
    if (rc != OK)
        return rc;
    for (size_t i = 0; i < json_array_size(items); i++) {
        const json_t *place = json_array_get(items, i);
        if (str_copy_to(json_member_str(place, "email"), email, sizeof(email)) && strcasecmp(email, address) == 0 &&
            id_parse(json_member_str(place, "waiting_id"), ret))
            return OK;
    }
    return err_set(err, ERR_NOT_FOUND, "nobody of that address is in the waitlist");
}

int verb_erase(struct cli *c)
{
    struct id subject;
    char text[ID_TEXT_SIZE];
    struct errinfo err = {0};
    enum err rc = OK;
    if (strcmp(c->args[0], "-") == 0)
        rc = find_place(c, &subject, &err);
    else if (!id_parse(str_from(c->args[0]), &subject))
        rc = err_set(&err, ERR_INVALID,
                     "say the id of a user or of a place in the waitlist, or '-' and an address on "
                     "stdin");
    if (rc != OK)
        return cli_fail(c, &err);
    id_format(subject, text);
    auto_free char *path = mem_printf("/v1/subjects/%s", text);
    if (client_call(c, &(struct client_call){.api = API_PUBLIC, .method = "DELETE", .path = path}, NULL, &err) != OK)
        return cli_fail(c, &err);
    (void)printf(c->json ? "{\"subject_id\":\"%s\"}\n"
                         : "%s is erased: its keys are gone, nobody reads its data again (backups of keys: "
                           "docs/threat-model.md)\n",
                 text);
    return 0;
}

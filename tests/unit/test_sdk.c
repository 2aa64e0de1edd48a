/* What slipform_main refuses before anything runs, as a person sees it: exit code and text; and what it takes. Each
 * case is a process of its own, with settings from its environment, as in a microVM. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/own.h"
#include "folder.h"
#include "sdk/slipform.h"

static enum err apply(void *model, const struct store_record *record, struct errinfo *err)
{
    (void)model;
    (void)record;
    (void)err;
    return OK;
}

static void get_nothing(struct http_request *r, void *ctx)
{
    (void)ctx;
    http_respond_empty(r, 204);
}

static const struct http_route ROUTES[] = {
    {.method = "GET", .pattern = "/", .handler = get_nothing, .doc = "nothing"},
};

static bool says(const struct buf *said, const char *text)
{
    return said->len > 0 && memmem(said->ptr, said->len, text, strlen(text)) != NULL;
}

/* One that nobody uses just now. */
static void free_port(char ret_text[static 8])
{
    struct sockaddr_in6 at = {.sin6_family = AF_INET6, .sin6_addr = in6addr_any};
    socklen_t size = sizeof(at);
    int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, size), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &size), 0);
    (void)close(fd);
    (void)snprintf(ret_text, 8, "%u", ntohs(at.sin6_port));
}

struct variable {
    const char *name, *value;
};
#define VARIABLES_MAX 4u

/* It ends by itself when it is refused; else it is told to once it is ready. Returns its exit code. */
static int run(const char *folder, const struct variable *variables, struct buf *ret_said)
{
    static const struct slipform_process PROCESS = {.name = "refused",
                                                    .doc = "Is refused.",
                                                    .apply = apply,
                                                    .routes = ROUTES,
                                                    .routes_n = sizeof(ROUTES) / sizeof(ROUTES[0])};
    int out[2], status = 0;
    bool is_told = false;
    assert_int_equal(pipe(out), 0);
    pid_t pid = fork();
    if (pid == 0) {
        (void)unsetenv("PORT");
        (void)chdir(folder);
        for (size_t i = 0; i < VARIABLES_MAX && variables[i].name != NULL; i++)
            (void)setenv(variables[i].name, variables[i].value, 1);
        (void)dup2(out[1], STDOUT_FILENO);
        (void)dup2(out[1], STDERR_FILENO);
        (void)close(out[0]);
        (void)close(out[1]);
        char *argv[] = {(char[]){"refused"}, NULL};
        exit(slipform_main(1, argv, &PROCESS)); /* exit, so that the leak checker looks */
    }
    (void)close(out[1]);
    char bytes[4096];
    for (ssize_t n = 0; (n = read(out[0], bytes, sizeof(bytes))) > 0;) {
        buf_add(ret_said, bytes, (size_t)n);
        if (!is_told && says(ret_said, "listening on"))
            is_told = kill(pid, SIGTERM) == 0;
    }
    (void)close(out[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static char *many(const char *one, size_t n)
{
    struct buf text = {0};
    for (size_t i = 0; i < n; i++)
        buf_addf(&text, "%s%s%zu", i > 0 ? "," : "", one, i);
    return buf_take(&text);
}

#define FILES {"SLIPFORM_OUTPUT", "files;path=log"}

static void what_is_refused(void **state)
{
    auto_free char *inputs = many("files;path=in-", APP_INPUTS_MAX);
    const struct {
        struct variable set[VARIABLES_MAX];
        const char *said;
    } cases[] = {
        {{{0}}, "no log to append to: set 'output' to a store, or 'events' and 'output_log'"},
        {{{"SLIPFORM_EVENTS", "http://[::1]:1"}}, "no log to append to"},
        {{{"SLIPFORM_OUTPUT_LOG", "00000000-0000-4000-8000-000000000001"}}, "no log to append to"},
        {{{"SLIPFORM_EVENTS", "http://[::1]:1"}, {"SLIPFORM_OUTPUT_LOG", "clicks"}}, "'log=<id>'"},
        {{{"SLIPFORM_OUTPUT", "tape;path=log"}}, "tape"},
        {{FILES, {"SLIPFORM_INPUTS", inputs}}, "a process reads at most 64 logs"},
        {{FILES, {"SLIPFORM_PARTITION_RANGES", "00000000-7fffffff,half"}}, "'half' is no partition range: use '*' or"},
        {{FILES, {"SLIPFORM_PARTITION_RANGES", "80000000-7fffffff"}}, "'80000000-7fffffff' is no partition range"},
        {{FILES, {"SLIPFORM_PARTITION_RANGES", "0-7fffffff"}}, "'0-7fffffff' is no partition range"},
        {{FILES, {"SLIPFORM_PARTITION_RANGES", "00000000-7FFFFFFF"}}, "is no partition range"},
        {{FILES, {"SLIPFORM_PORT", "65536"}}, "65535"},
        {{FILES, {"SLIPFORM_PORT", "http"}}, "port"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        AUTO(buf) struct buf said = {0};
        int code = run(*state, cases[i].set, &said);
        if (code <= 0 || !says(&said, cases[i].said))
            fail_msg("case %zu: exit code %d, '%s' is not in '%.*s'", i, code, cases[i].said, STR_ARG(buf_str(&said)));
    }
}

static void what_is_taken(void **state)
{
    char port[8];
    free_port(port);
    const struct variable cases[][VARIABLES_MAX] = {
        {FILES, {"PORT", port}, {"SLIPFORM_PARTITION_RANGES", "*"}},
        {FILES, {"SLIPFORM_PORT", port}, {"SLIPFORM_PARTITION_RANGES", "00000000-7fffffff,c0000000-ffffffff"}},
        {FILES, {"PORT", port}, {"SLIPFORM_INPUTS", "files;path=log,files;path=other"}}, /* the output is read once */
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        AUTO(buf) struct buf said = {0};
        int code = run(*state, cases[i], &said);
        if (code != 0)
            fail_msg("case %zu: exit code %d: %.*s", i, code, STR_ARG(buf_str(&said)));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_is_refused, folder_setup, folder_teardown),
        cmocka_unit_test_setup_teardown(what_is_taken, folder_setup, folder_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

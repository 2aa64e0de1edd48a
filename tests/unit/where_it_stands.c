/* Part of every unit test: a program that is ended by SIGTERM, as meson does with one whose time is up, says where it
 * stands before it ends. Children of a test that are ended on purpose say nothing. */
#include <execinfo.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

/* Of a sanitizer, when the program has one: with lines, which takes it a moment. */
void __sanitizer_print_stack_trace(void) __attribute__((weak)); /* NOLINT(bugprone-reserved-identifier) */

enum { FRAMES_MAX = 64 };
static pid_t program;

static void on_term(int signo)
{
    static const char SAYS[] = "\nended while it stood here:\n";
    if (getpid() == program) {
        void *frames[FRAMES_MAX];
        int n = backtrace(frames, FRAMES_MAX);
        (void)!write(STDERR_FILENO, SAYS, sizeof(SAYS) - 1);
        backtrace_symbols_fd(frames, n, STDERR_FILENO);
        if (__sanitizer_print_stack_trace != NULL)
            __sanitizer_print_stack_trace();
    }
    (void)raise(signo); /* SA_RESETHAND: now it ends */
}

__attribute__((constructor)) static void listen_for_term(void)
{
    void *frame;
    struct sigaction a = {.sa_handler = on_term, .sa_flags = (int)SA_RESETHAND};
    program = getpid();
    (void)backtrace(&frame, 1); /* loads what it needs now, not in the handler */
    (void)sigaction(SIGTERM, &a, NULL);
}

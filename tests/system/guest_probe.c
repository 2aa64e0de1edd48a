/* The program inside a microVM of test_guest.py: it says what is true there, or does what it is told. Static, no libc
 * services. Sub-commands may be chained by the caller only through arguments; each prints plain lines. */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <grp.h>
#include <ifaddrs.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static void show_file(const char *name, const char *path)
{
    char line[512];
    FILE *f = fopen(path, "r");
    if (f == NULL) {
        printf("%s: %s\n", name, strerror(errno));
        return;
    }
    while (fgets(line, sizeof(line), f) != NULL)
        printf("%s: %s", name, line);
    fclose(f);
}

static void show_addresses(void)
{
    struct ifaddrs *all, *a;
    if (getifaddrs(&all) != 0)
        return;
    for (a = all; a != NULL; a = a->ifa_next) {
        char text[64] = "";
        if (a->ifa_addr == NULL)
            continue;
        if (a->ifa_addr->sa_family == AF_INET)
            inet_ntop(AF_INET, &((struct sockaddr_in *)(void *)a->ifa_addr)->sin_addr, text, sizeof(text));
        if (a->ifa_addr->sa_family == AF_INET6)
            inet_ntop(AF_INET6, &((struct sockaddr_in6 *)(void *)a->ifa_addr)->sin6_addr, text, sizeof(text));
        if (text[0] != '\0')
            printf("address: %s %s\n", a->ifa_name, text);
    }
    freeifaddrs(all);
}

static int show(int argc, char **argv)
{
    gid_t groups[64];
    char text[1024];
    struct statvfs fs;
    int n = getgroups(64, groups);
    printf("uid: %d\ngid: %d\nppid: %d\nsession: %d\n", getuid(), getgid(), getppid(), getsid(0) == getpid());
    for (int i = 0; i < n; i++)
        printf("group: %d\n", groups[i]);
    printf("cwd: %s\n", getcwd(text, sizeof(text)));
    gethostname(text, sizeof(text));
    printf("hostname: %s\n", text);
    for (int i = 0; i < argc; i++)
        printf("arg: %s\n", argv[i]);
    for (char **e = environ; *e != NULL; e++)
        printf("env: %s\n", *e);
    show_addresses();
    show_file("resolv", "/etc/resolv.conf");
    show_file("hosts", "/etc/hosts");
    show_file("cmdline", "/proc/cmdline");
    show_file("image", "/image-file");
    FILE *f = fopen("/tmp/written", "w");
    printf("tmp: %s\n", f == NULL ? strerror(errno) : "written");
    f = fopen("/image-file", "a");
    printf("image-write: %s\n", f == NULL ? strerror(errno) : "written");
    statvfs("/", &fs);
    printf("overlay-mib: %llu\n", (unsigned long long)fs.f_blocks * fs.f_frsize >> 20);
    f = fopen("/dev/stderr", "w");
    printf("dev-stderr: %s\n", f == NULL ? strerror(errno) : "opened");
    printf("clock: %lld\n", (long long)time(NULL));
    fprintf(stderr, "to stderr\n");
    return 0;
}

static volatile sig_atomic_t signalled;

static void on_signal(int s)
{
    signalled = s;
}

static int wait_for_signal(void)
{
    sigset_t set, old;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGUSR1);
    sigprocmask(SIG_BLOCK, &set, &old);
    signal(SIGTERM, on_signal);
    signal(SIGUSR1, on_signal);
    printf("ready\n");
    fflush(stdout);
    while (signalled == 0)
        sigsuspend(&old);
    printf("signal %d\n", (int)signalled);
    return 7;
}

static int ignore_term(void)
{
    signal(SIGTERM, SIG_IGN);
    printf("ready\n");
    fflush(stdout);
    for (;;)
        pause();
}

/* Children that end after their parent: PID 1 has to reap them. */
static int orphans(int n)
{
    for (int i = 0; i < n; i++)
        if (fork() == 0) {
            if (fork() == 0)
                usleep(50000);
            _exit(0);
        }
    while (wait(NULL) > 0)
        ;
    for (int tries = 0; tries < 200; tries++) {
        int left = 0;
        DIR *d = opendir("/proc");
        for (struct dirent *e; (e = readdir(d)) != NULL;) {
            char path[300], text[256] = "";
            if (e->d_name[0] < '0' || e->d_name[0] > '9')
                continue;
            snprintf(path, sizeof(path), "/proc/%s/stat", e->d_name);
            FILE *f = fopen(path, "r");
            if (f == NULL)
                continue;
            if (fgets(text, sizeof(text), f) != NULL && strstr(text, "(probe)") != NULL)
                left++;
            fclose(f);
        }
        closedir(d);
        if (left == 1) { /* ourselves */
            printf("reaped\n");
            return 0;
        }
        usleep(20000);
    }
    printf("zombies are left\n");
    return 1;
}

static int long_line(size_t n)
{
    char *bytes = malloc(n + 1);
    memset(bytes, 'x', n);
    bytes[n] = '\n';
    for (size_t at = 0; at < n + 1;) {
        ssize_t w = write(1, bytes + at, n + 1 - at);
        if (w <= 0)
            return 1;
        at += (size_t)w;
    }
    printf("after\n");
    return 0;
}

static int count(int n, int pause_ms)
{
    for (int i = 1; i <= n; i++) {
        printf("count %d\n", i);
        fflush(stdout);
        usleep((unsigned)pause_ms * 1000);
    }
    return 5;
}

static int serve(int port)
{
    struct sockaddr_in6 a = {
        .sin6_family = AF_INET6, .sin6_port = htons((unsigned short)port), .sin6_addr = in6addr_any};
    int one = 1, s = socket(AF_INET6, SOCK_STREAM, 0);
    setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (bind(s, (struct sockaddr *)&a, sizeof(a)) < 0 || listen(s, 16) < 0) {
        printf("listen: %s\n", strerror(errno));
        return 1;
    }
    printf("listening\n");
    fflush(stdout);
    for (;;) {
        char request[4096];
        int c = accept(s, NULL, NULL);
        if (c < 0 || read(c, request, sizeof(request)) <= 0)
            continue;
        static const char ANSWER[] = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nprobe\n";
        if (write(c, ANSWER, sizeof(ANSWER) - 1) < 0)
            printf("write: %s\n", strerror(errno));
        close(c);
    }
}

static int memory_hog(void)
{
    for (size_t mib = 1;; mib++) {
        char *p = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (p == MAP_FAILED)
            return 1;
        memset(p, 1, 1 << 20);
    }
}

/* As root inside: whatever it does to the port and to PID 1 stays inside. */
static int hostile(void)
{
    printf("kill 1: %d\n", kill(1, SIGKILL));
    FILE *f = fopen("/dev/vport0p1", "w");
    printf("port: %s\n", f == NULL ? strerror(errno) : "opened");
    fwrite("\0\x01\xff\x1b[31m", 1, 8, stdout);
    printf("\n");
    f = fopen("/proc/sysrq-trigger", "w");
    printf("ready\n");
    fflush(stdout);
    usleep(500000); /* the lines are on their way: a crash takes with it what PID 1 has not sent yet */
    if (f != NULL) {
        fputs("c", f); /* a crash of the kernel */
        fflush(f);
    }
    return 0;
}

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "";
    int n = argc > 2 ? atoi(argv[2]) : 0, m = argc > 3 ? atoi(argv[3]) : 0;
    if (strcmp(what, "show") == 0)
        return show(argc, argv);
    if (strcmp(what, "exit") == 0)
        return n;
    if (strcmp(what, "raise") == 0)
        return raise(n);
    if (strcmp(what, "signal") == 0)
        return wait_for_signal();
    if (strcmp(what, "ignore-term") == 0)
        return ignore_term();
    if (strcmp(what, "orphans") == 0)
        return orphans(n);
    if (strcmp(what, "long") == 0)
        return long_line((size_t)n);
    if (strcmp(what, "count") == 0)
        return count(n, m);
    if (strcmp(what, "serve") == 0)
        return serve(n);
    if (strcmp(what, "memory") == 0)
        return memory_hog();
    if (strcmp(what, "hostile") == 0)
        return hostile();
    printf("unknown '%s'\n", what);
    return 99;
}

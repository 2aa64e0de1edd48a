/* Blobs in a bucket: the contract against a real S3 server (versitygw), faults against a double that plays a script. */
#include "blob_contract.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <uv.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/own.h"
#include "blob/sigv4.h"
#include "folder.h"
#include "net/http_client.h"
#include "os/file.h"

#define SERVER "/var/cache/slipform/versitygw/versitygw"
#define KEYS "aws_access_key_id = tester\naws_secret_access_key = tester-secret-words\n"
#define WAIT_MS_MAX 20000

static char folder[64]; /* of the run; removed at its end */
static unsigned places;

static char *below(const char *name)
{
    return mem_printf("%s/%s", folder, name);
}

static int listen_somewhere(unsigned *ret_port)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(at);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, len), 0);
    assert_int_equal(listen(fd, 16), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &len), 0);
    *ret_port = ntohs(at.sin_port);
    return fd;
}

static struct blob_store *open_bucket(unsigned port, const char *prefix, const char *more)
{
    auto_free char *spec = mem_printf("s3;endpoint=http://127.0.0.1:%u;bucket=blobs;region=us-east-1;prefix=%s;"
                                      "cache=%s/cache-%u;credentials=%s/keys;part_size=5242880%s",
                                      port, prefix, folder, ++places, folder, more);
    struct blob_store *s = NULL;
    struct errinfo err = {0};
    if (blob_store_open(spec, &s, &err) != OK)
        fail_msg("%s", err.msg);
    return s;
}

/* ---- the real server ---- */

static unsigned server_port;
static pid_t server;

static void run_server(const char *data)
{
    auto_free char *port = mem_printf("127.0.0.1:%u", server_port);
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null < 0)
        _exit(126);
    (void)dup2(null, 1);
    (void)dup2(null, 2);
    char *const argv[] = {
        (char[]){SERVER}, (char[]){"--quiet"}, (char[]){"--port"}, port, (char[]){"posix"}, mem_strdup(data), NULL};
    char *const env[] = {(char[]){"ROOT_ACCESS_KEY=tester"}, (char[]){"ROOT_SECRET_KEY=tester-secret-words"}, NULL};
    (void)execve(SERVER, argv, env);
    _exit(127);
}

static void start_server(void)
{
    auto_free char *data = below("data"), *bucket = below("data/blobs");
    assert_int_equal(folder_make(bucket, 0755, NULL), OK);
    int fd = listen_somewhere(&server_port);
    (void)close(fd);
    server = fork();
    if (server == 0)
        run_server(data);
    int64_t until = clock_mono_us() + (int64_t)WAIT_MS_MAX * 1000;
    auto_blob_store struct blob_store *s = open_bucket(server_port, "", ";attempts=1");
    struct errinfo err = {0};
    while (blob_check(s, &err) != OK) {
        if (clock_mono_us() > until)
            fail_msg("versitygw does not answer: %s", err.msg);
        uv_sleep(20); /* nothing tells that a port is open but trying */
    }
}

static unsigned prefixes;
static struct blob_store *again_s3(void)
{
    auto_free char *prefix = mem_printf("place-%u/", prefixes);
    return open_bucket(server_port, prefix, "");
}
static struct blob_store *open_s3(void)
{
    prefixes++;
    return again_s3();
}

/* Anybody may GET by the address, and it is good for this blob only. */
static void presigned(void **state)
{
    (void)state;
    auto_blob_store struct blob_store *s = open_s3();
    assert_int_equal(blob_put_bytes(s, STR("abc"), NULL, NULL, NULL), OK);
    AUTO(buf) struct buf url = {0};
    assert_int_equal(blob_presign(s, ABC, 60, &url, NULL), OK);
    assert_null(strstr(url.ptr, "tester-secret"));
    AUTO(http_result) struct http_result r = {0};
    assert_int_equal(http_fetch(&(struct http_call_options){.url = url.ptr}, NULL, &r), OK);
    assert_true(str_eq(buf_str(&r.body), STR("abc")));
    url.ptr[url.len - 1] = url.ptr[url.len - 1] == '0' ? '1' : '0';
    http_result_done(&r);
    assert_int_equal(http_fetch(&(struct http_call_options){.url = url.ptr}, NULL, &r), ERR_DENIED);
    assert_int_equal(blob_presign(s, ABC, 604801, &url, NULL), ERR_INVALID);
}

static void errors_of_the_real_one(void **state)
{
    (void)state;
    struct errinfo err = {0};
    struct blob_store *s = NULL;
    auto_free char *spec = mem_printf("s3;endpoint=http://127.0.0.1:%u;bucket=no-such;region=us-east-1;cache=%s/c-x;"
                                      "credentials=%s/keys",
                                      server_port, folder, folder);
    assert_int_equal(blob_store_open(spec, &s, &err), OK);
    assert_int_equal(blob_check(s, &err), ERR_INVALID);
    assert_non_null(strstr(err.msg, "there is no bucket 'no-such'"));
    int fd;
    assert_int_not_equal(blob_open(s, ABC, &fd, NULL, &err), OK);
    blob_store_close(s);
    auto_free char *bad = below("bad-keys");
    assert_int_equal(
        file_replace(bad, STR("aws_access_key_id = tester\naws_secret_access_key = wrong-words\n"), 0600, NULL), OK);
    auto_free char *spec2 = mem_printf("s3;endpoint=http://127.0.0.1:%u;bucket=blobs;region=us-east-1;cache=%s/c-y;"
                                       "credentials=%s",
                                       server_port, folder, bad);
    assert_int_equal(blob_store_open(spec2, &s, &err), OK);
    assert_int_equal(blob_check(s, &err), ERR_DENIED);
    assert_null(strstr(err.msg, "wrong-words"));
    assert_non_null(strstr(err.msg, "credentials"));
    blob_store_close(s);
}

/* ---- the double ---- */

struct step {
    const char *status, *headers, *body;
    size_t length; /* Content-Length; 0: the body's */
    bool hangs;    /* after what it sent; the peer must give up */
    bool cuts;     /* reads the head only, then closes */
};
struct log {
    unsigned n;
    char heads[32][1024];
};
struct double_ {
    pid_t pid;
    unsigned port;
    struct log *log; /* shared with the child */
};

static size_t read_head(int fd, char *head, size_t size)
{
    size_t n = 0;
    while (n + 1 < size && (n < 4 || memcmp(head + n - 4, "\r\n\r\n", 4) != 0) && read(fd, head + n, 1) == 1)
        n++;
    head[n] = '\0';
    return n;
}

static void read_body(int fd, const char *head)
{
    const char *at = strcasestr(head, "\ncontent-length:");
    char chunk[4096];
    for (long left = at == NULL ? 0 : strtol(at + 16, NULL, 10); left > 0;) {
        ssize_t n = read(fd, chunk, left < (long)sizeof(chunk) ? (size_t)left : sizeof(chunk));
        if (n <= 0)
            return;
        left -= n;
    }
}

static void play_one(int fd, const struct step *s, struct log *log)
{
    char head[4096];
    if (read_head(fd, head, sizeof(head)) == 0)
        return;
    (void)snprintf(log->heads[log->n], sizeof(log->heads[0]), "%.1000s", head);
    log->n++;
    if (s->cuts)
        return;
    read_body(fd, head);
    bool is_head = strncmp(head, "HEAD", 4) == 0;
    size_t length = s->length > 0 ? s->length : s->body == NULL ? 0 : strlen(s->body);
    (void)dprintf(fd, "HTTP/1.1 %s\r\nConnection: close\r\n%sContent-Length: %zu\r\n\r\n%s", s->status,
                  s->headers == NULL ? "" : s->headers, length, is_head || s->body == NULL ? "" : s->body);
    char c;
    if (s->hangs)
        (void)!read(fd, &c, 1); /* until the peer closes */
}

/* The last step is played for ever. */
static struct double_ play(const struct step *steps, size_t n)
{
    struct double_ d = {0};
    d.log = mmap(NULL, sizeof(*d.log), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    int fd = listen_somewhere(&d.port);
    d.pid = fork();
    if (d.pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        (void)signal(SIGPIPE, SIG_IGN);
        for (size_t i = 0; d.log->n < 32; i++) {
            int peer = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
            play_one(peer, &steps[i < n ? i : n - 1], d.log);
            (void)close(peer);
        }
        _exit(0);
    }
    (void)close(fd);
    return d;
}
#define PLAY(...)                                                                                                      \
    play((const struct step[]){__VA_ARGS__}, sizeof((const struct step[]){__VA_ARGS__}) / sizeof(struct step))

static void stop(struct double_ *d)
{
    (void)kill(d->pid, SIGKILL);
    (void)waitpid(d->pid, NULL, 0);
    (void)munmap(d->log, sizeof(*d->log));
}

static void denied_says_which_right(void **state)
{
    (void)state;
    struct double_ d = PLAY({"404 Not Found"}, {"403 Forbidden", .body = "<Error><Code>AccessDenied</Code></Error>"});
    struct errinfo err = {0};
    auto_blob_store struct blob_store *s = open_bucket(d.port, "", "");
    assert_int_equal(blob_put_bytes(s, STR("abc"), NULL, NULL, &err), ERR_DENIED);
    assert_non_null(strstr(err.msg, "s3:PutObject"));
    assert_null(strstr(err.msg, "tester-secret"));
    assert_int_equal(d.log->n, 2); /* repeating does not help */
    assert_non_null(strstr(d.log->heads[1], "If-None-Match: *"));
    int fd;
    assert_int_equal(blob_open(s, ABC, &fd, NULL, &err), ERR_DENIED); /* the cache does not say that it is stored */
    stop(&d);
}

static void clock_and_region_are_told(void **state)
{
    (void)state;
    struct double_ d =
        PLAY({"403 Forbidden", "Date: Mon, 01 Jan 2001 00:00:00 GMT\r\n",
              "<Error><Code>RequestTimeTooSkewed</Code></Error>"},
             {"301 Moved", "x-amz-bucket-region: eu-north-1\r\n", "<Error><Code>PermanentRedirect</Code></Error>"});
    struct errinfo err = {0};
    auto_blob_store struct blob_store *s = open_bucket(d.port, "", "");
    assert_int_equal(blob_check(s, &err), ERR_DENIED);
    assert_non_null(strstr(err.msg, "01 Jan 2001"));
    assert_int_equal(blob_check(s, &err), ERR_INVALID);
    assert_non_null(strstr(err.msg, "'eu-north-1', not in 'us-east-1'"));
    stop(&d);
}

static void slow_down_is_waited_for(void **state)
{
    (void)state;
    struct double_ d = PLAY({"503 Slow Down", .body = "<Error><Code>SlowDown</Code></Error>"},
                            {"500 Internal Server Error"}, {.cuts = true}, {"200 OK", .body = "abc"});
    auto_blob_store struct blob_store *s = open_bucket(d.port, "", "");
    assert_int_equal(blob_verify(s, ABC, NULL), OK);
    assert_int_equal(d.log->n, 4);
    stop(&d);
}

static void attempts_are_bounded(void **state)
{
    (void)state;
    struct double_ d = PLAY({"503 Slow Down"});
    struct errinfo err = {0};
    auto_blob_store struct blob_store *s = open_bucket(d.port, "", ";attempts=3");
    assert_int_equal(blob_check(s, &err), ERR_UNAVAILABLE);
    assert_non_null(strstr(err.msg, "3 times"));
    assert_int_equal(d.log->n, 3);
    stop(&d);
}

static void half_a_body_is_gone_on_with(void **state)
{
    (void)state;
    struct double_ d = PLAY({"200 OK", .body = "a", .length = 3}, {"206 Partial Content", .body = "b", .length = 2},
                            {"200 OK", .body = "abc"}); /* the last one knows no ranges */
    auto_blob_store struct blob_store *s = open_bucket(d.port, "", "");
    assert_int_equal(blob_verify(s, ABC, NULL), OK);
    assert_int_equal(d.log->n, 3);
    assert_non_null(strstr(d.log->heads[1], "Range: bytes=1-"));
    assert_non_null(strstr(d.log->heads[2], "Range: bytes=2-"));
    stop(&d);
}

static void slow_body_is_given_up(void **state)
{
    (void)state;
    struct double_ d = PLAY({"200 OK", .body = "a", .length = 3, .hangs = true}, {"206 Partial Content", .body = "bc"});
    auto_blob_store struct blob_store *s = open_bucket(d.port, "", ";stall_s=1");
    assert_int_equal(blob_verify(s, ABC, NULL), OK);
    assert_int_equal(d.log->n, 2);
    stop(&d);
}

static void wrong_bytes_are_not_given_out(void **state)
{
    (void)state;
    struct double_ d = PLAY({"200 OK", .body = "abd"}, {"200 OK", .body = "abc"}, {"200 OK", .body = "abd"});
    struct errinfo err = {0};
    auto_blob_store struct blob_store *s = open_bucket(d.port, "", ""), *t = open_bucket(d.port, "", "");
    assert_int_equal(blob_verify(s, ABC, NULL), OK); /* damaged on the way once */
    int fd = -1;
    assert_int_equal(blob_open(t, ABC, &fd, NULL, &err), ERR_CORRUPT);
    assert_int_equal(fd, -1);
    assert_int_equal(d.log->n, 4);
    stop(&d);
}

/* What was begun and cannot be ended is aborted. */
static void cut_multipart_is_aborted(void **state)
{
    (void)state;
    struct double_ d = PLAY({"404 Not Found"}, {"200 OK", .body = "<X><UploadId>upl</UploadId></X>"},
                            {"200 OK", "ETag: \"1\"\r\n"}, {.cuts = true}, {.cuts = true}, {"204 No Content"});
    auto_blob_store struct blob_store *s = open_bucket(d.port, "", ";attempts=2");
    const size_t size = (size_t)6 * 1024 * 1024;
    auto_free char *bytes = mem_alloc(size);
    assert_int_equal(blob_put_bytes(s, (struct str){bytes, size}, NULL, NULL, NULL), ERR_UNAVAILABLE);
    assert_int_equal(d.log->n, 6);
    assert_non_null(strstr(d.log->heads[3], "partNumber=2&uploadId=upl"));
    assert_memory_equal(d.log->heads[5], "DELETE", 6);
    assert_non_null(strstr(d.log->heads[5], "uploadId=upl"));
    stop(&d);
}

/* 200 of the end of an upload may hold an error; it is tried again. */
static void error_in_a_200(void **state)
{
    (void)state;
    struct double_ d =
        PLAY({"404 Not Found"}, {"200 OK", .body = "<X><UploadId>upl</UploadId></X>"}, {"200 OK", "ETag: \"1\"\r\n"},
             {"200 OK", "ETag: \"2\"\r\n"}, {"200 OK", .body = "<Error><Code>InternalError</Code></Error>"},
             {"200 OK", .body = "<CompleteMultipartUploadResult/>"}, {"200 OK", .length = 6291456});
    auto_blob_store struct blob_store *s = open_bucket(d.port, "", "");
    const size_t size = (size_t)6 * 1024 * 1024;
    auto_free char *bytes = mem_alloc(size);
    assert_int_equal(blob_put_bytes(s, (struct str){bytes, size}, NULL, NULL, NULL), OK);
    assert_int_equal(d.log->n, 7);
    stop(&d);
}

static void stale_uploads_are_ended(void **state)
{
    (void)state;
    char now[CLOCK_TEXT_SIZE];
    clock_format_us(clock_wall_us(), now);
    auto_free char *list =
        mem_printf("<L><Upload><Key>p/sha256/aa/a</Key><UploadId>old</UploadId><Initiated>2020-01-01T00:00:00.000Z</"
                   "Initiated></Upload>"
                   "<Upload><Key>p/sha256/bb/b</Key><UploadId>new</UploadId><Initiated>%s</Initiated></Upload>"
                   "<Upload><Key>q/sha256/cc/c</Key><UploadId>alien</UploadId><Initiated>2020-01-01T00:00:00.000Z</"
                   "Initiated></Upload></L>",
                   now);
    struct double_ d = PLAY({"200 OK", .body = list}, {"204 No Content"});
    auto_blob_store struct blob_store *s = open_bucket(d.port, "p/", "");
    uint64_t n = 0;
    assert_int_equal(blob_sweep(s, 3600, &n, NULL), OK);
    assert_int_equal(n, 1);
    assert_int_equal(d.log->n, 2);
    assert_non_null(strstr(d.log->heads[1], "uploadId=old"));
    stop(&d);
}

/* In a bucket without a prefix there may be keys of others: only what can be a blob of ours is ended. */
static void uploads_of_others_go_on(void **state)
{
    (void)state;
    struct double_ d = PLAY({"200 OK", .body = "<L><Upload><Key>backups/db.tar</Key><UploadId>alien</UploadId>"
                                               "<Initiated>2020-01-01T00:00:00.000Z</Initiated></Upload>"
                                               "<Upload><Key>sha256/ab/abc</Key><UploadId>old</UploadId>"
                                               "<Initiated>2020-01-01T00:00:00.000Z</Initiated></Upload></L>"},
                            {"204 No Content"});
    auto_blob_store struct blob_store *s = open_bucket(d.port, "", "");
    uint64_t n = 0;
    assert_int_equal(blob_sweep(s, 3600, &n, NULL), OK);
    assert_int_equal(n, 1);
    assert_int_equal(d.log->n, 2);
    assert_non_null(strstr(d.log->heads[0], "prefix=sha256%2F"));
    assert_non_null(strstr(d.log->heads[1], "uploadId=old"));
    stop(&d);
}

static void old_is_sent_again(void **state)
{
    (void)state;
    struct double_ d = PLAY({"200 OK", "Last-Modified: Mon, 01 Jan 2001 00:00:00 GMT\r\n", .length = 3}, {"200 OK"});
    auto_blob_store struct blob_store *s = open_bucket(d.port, "", "");
    assert_int_equal(blob_put_bytes(s, STR("abc"), NULL, NULL, NULL), OK);
    assert_int_equal(d.log->n, 2);
    assert_memory_equal(d.log->heads[1], "PUT", 3);
    assert_null(strstr(d.log->heads[1], "If-None-Match"));
    stop(&d);
}

static void too_big_to_copy_stays(void **state)
{
    (void)state;
    struct double_ d = PLAY({"200 OK", .length = (size_t)6 << 30});
    auto_blob_store struct blob_store *s = open_bucket(d.port, "", "");
    assert_int_equal(blob_set_aside(s, ABC, NULL), ERR_LIMIT);
    assert_int_equal(d.log->n, 1); /* neither copied nor deleted */
    stop(&d);
}

static void cache_is_bounded(void **state)
{
    (void)state;
    struct double_ d = PLAY({"200 OK", .body = "abc"});
    auto_blob_store struct blob_store *s = open_bucket(d.port, "", ";cache_size=3"),
                                      *t = open_bucket(d.port, "", ";cache_size=2");
    for (int i = 0; i < 2; i++)
        assert_int_equal(blob_verify(s, ABC, NULL), OK);
    assert_int_equal(d.log->n, 1);
    for (int i = 0; i < 2; i++)
        assert_int_equal(blob_verify(t, ABC, NULL), OK);
    assert_int_equal(d.log->n, 3);
    stop(&d);
}

/* ---- without any server ---- */

static void bad_specs(void **state)
{
    (void)state;
    static const char *const BAD[] = {"",
                                      "folder",
                                      "bucket;path=/tmp",
                                      "s3;endpoint=http://127.0.0.1:1;bucket=b;region=r;cache=/tmp/x;secret=word",
                                      "s3;endpoint=http://user:word@127.0.0.1:1;bucket=b;region=r;cache=/tmp/x",
                                      "s3;endpoint=127.0.0.1;bucket=b;region=r;cache=/tmp/x",
                                      "s3;endpoint=http://a;bucket=../b;region=r;cache=/tmp/x",
                                      "s3;endpoint=http://a;bucket=b;region=r;cache=/tmp/x;part_size=1"};
    for (size_t i = 0; i < sizeof(BAD) / sizeof(BAD[0]); i++) {
        struct blob_store *s = NULL;
        struct errinfo err = {0};
        assert_int_equal(blob_store_open(BAD[i], &s, &err), ERR_INVALID);
        assert_null(strstr(err.msg, "word"));
    }
}

static void open_keys_are_refused(void **state)
{
    (void)state;
    auto_free char *keys = below("open-keys");
    assert_int_equal(file_replace(keys, STR(KEYS), 0600, NULL), OK);
    assert_int_equal(chmod(keys, 0644), 0);
    auto_free char *spec = mem_printf("s3;endpoint=http://a;bucket=b;region=r;cache=%s/x;credentials=%s", folder, keys);
    struct blob_store *s = NULL;
    assert_int_equal(blob_store_open(spec, &s, NULL), ERR_DENIED);
}

/* The examples of AWS's documentation, "Signature Version 4 for Amazon S3": a GET with a range, and a signed URL. */
static void signatures(void **state)
{
    (void)state;
    struct sigv4_key key = {"AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", NULL, "us-east-1"};
    struct sigv4_pair headers[] = {
        {"x-amz-date", "20130524T000000Z"}, {"range", "bytes=0-9"}, {"x-amz-content-sha256", SIGV4_EMPTY}};
    struct sigv4_request r = {
        "GET", "examplebucket.s3.amazonaws.com", "/test.txt", NULL, 0, headers, 3, SIGV4_EMPTY, 1369353600};
    AUTO(buf) struct buf text = {0}, query = {0};
    sigv4_authorize(&r, &key, &text);
    assert_non_null(strstr(text.ptr, "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"));
    r.headers_n = 0;
    sigv4_presign(&r, &key, 86400, &query);
    assert_non_null(strstr(query.ptr, "aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"));
}

static int run_contract(void)
{
    if (access(SERVER, X_OK) != 0) {
        (void)fprintf(stderr, "NOT TESTED: blobs in a real bucket: %s is not there (tools/setup builds it)\n", SERVER);
        return 0;
    }
    start_server();
    const struct blob_factory factory = {"s3", open_s3, again_s3};
    int failed = blob_contract_run(&factory);
    const struct CMUnitTest tests[] = {cmocka_unit_test(presigned), cmocka_unit_test(errors_of_the_real_one)};
    failed += cmocka_run_group_tests_name("blob s3, real", tests, NULL, NULL);
    (void)kill(server, SIGKILL);
    (void)waitpid(server, NULL, 0);
    return failed;
}

int main(void)
{
    (void)signal(SIGPIPE, SIG_IGN);
    if (!scratch_make("/tmp", folder, sizeof(folder)))
        return 1;
    auto_free char *keys = below("keys");
    if (file_replace(keys, STR(KEYS), 0600, NULL) != OK)
        return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(signatures),
        cmocka_unit_test(bad_specs),
        cmocka_unit_test(open_keys_are_refused),
        cmocka_unit_test(denied_says_which_right),
        cmocka_unit_test(clock_and_region_are_told),
        cmocka_unit_test(slow_down_is_waited_for),
        cmocka_unit_test(attempts_are_bounded),
        cmocka_unit_test(half_a_body_is_gone_on_with),
        cmocka_unit_test(slow_body_is_given_up),
        cmocka_unit_test(wrong_bytes_are_not_given_out),
        cmocka_unit_test(cut_multipart_is_aborted),
        cmocka_unit_test(error_in_a_200),
        cmocka_unit_test(stale_uploads_are_ended),
        cmocka_unit_test(uploads_of_others_go_on),
        cmocka_unit_test(old_is_sent_again),
        cmocka_unit_test(too_big_to_copy_stays),
        cmocka_unit_test(cache_is_bounded),
    };
    int failed = cmocka_run_group_tests_name("blob s3", tests, NULL, NULL);
    failed += run_contract();
    err_ignore(folder_remove(folder, NULL)); /* in /tmp */
    return failed;
}

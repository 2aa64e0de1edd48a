/* The blob room: what is stored under a digest has that digest, whole or not at all. */
#include "blob_contract.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <utime.h>

#include "base/mem.h"
#include "base/own.h"
#include "blob/garbage.h"
#include "blob/jobs.h"
#include "folder.h"

struct fixture {
    char folder[64];
    struct blob_store *store;
};

static int setup(void **state)
{
    struct fixture *f = mem_alloc(sizeof(*f));
    assert_true(scratch_make("/tmp", f->folder, sizeof(f->folder)));
    assert_int_equal(blob_store_open_folder(f->folder, &f->store, NULL), OK);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    blob_store_close(f->store);
    (void)scratch_remove(f->folder);
    free(f);
    return 0;
}

static size_t files_in_tmp(const struct fixture *f)
{
    auto_free char *path = mem_printf("%s/tmp", f->folder);
    DIR *dir = opendir(path);
    size_t n = 0;
    for (struct dirent *e; (e = readdir(dir)) != NULL;)
        n += e->d_name[0] != '.';
    (void)closedir(dir);
    return n;
}

static void put_and_read(void **state)
{
    struct fixture *f = *state;
    char digest[DIGEST_TEXT_SIZE];
    for (int twice = 0; twice < 2; twice++) {
        assert_int_equal(blob_put_bytes(f->store, STR("abc"), NULL, digest, NULL), OK);
        assert_string_equal(digest, ABC);
    }
    auto_close int fd = -1;
    uint64_t size;
    char bytes[8];
    assert_int_equal(blob_open(f->store, ABC, &fd, &size, NULL), OK);
    assert_int_equal(size, 3);
    assert_int_equal(read(fd, bytes, sizeof(bytes)), 3);
    assert_memory_equal(bytes, "abc", 3);
    assert_int_equal(blob_verify(f->store, ABC, NULL), OK);
    assert_int_equal(files_in_tmp(f), 0);
}

static void put_in_pieces(void **state)
{
    struct fixture *f = *state;
    struct blob_put *p;
    char digest[DIGEST_TEXT_SIZE];
    uint64_t size;
    assert_int_equal(blob_put_begin(f->store, 3, &p, NULL), OK);
    assert_int_equal(blob_put_write(p, "a", 1, NULL), OK);
    assert_int_equal(blob_put_write(p, "bc", 2, NULL), OK);
    assert_int_equal(blob_put_finish(p, ABC, digest, &size, NULL), OK);
    assert_int_equal(size, 3);
}

static void refuses_other_content(void **state)
{
    struct fixture *f = *state;
    struct errinfo err;
    assert_int_equal(blob_put_bytes(f->store, STR("abd"), ABC, NULL, &err), ERR_CORRUPT);
    assert_non_null(strstr(err.msg, ABC));
    assert_int_equal(blob_stat(f->store, ABC, NULL, NULL), ERR_NOT_FOUND);
    assert_int_equal(files_in_tmp(f), 0);
}

static void refuses_too_much(void **state)
{
    struct fixture *f = *state;
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    assert_int_equal(write(fds[1], "abcd", 4), 4);
    (void)close(fds[1]);
    assert_int_equal(blob_put_fd(f->store, fds[0], 3, NULL, NULL, NULL, NULL), ERR_LIMIT);
    (void)close(fds[0]);
    assert_int_equal(files_in_tmp(f), 0);
}

static void refuses_bad_digests(void **state)
{
    struct fixture *f = *state;
    static const char *const BAD[] = {"", "sha256:", "sha256:../../../../etc/passwd",
                                      "sha256:BA7816BF8F01CFEA414140DE5DAE2223B00361A396177A9CB410FF61F20015AD",
                                      "md5:900150983cd24fb0d6963f7d28e17f72"};
    for (size_t i = 0; i < sizeof(BAD) / sizeof(BAD[0]); i++) {
        int fd;
        assert_int_equal(blob_open(f->store, BAD[i], &fd, NULL, NULL), ERR_INVALID);
        assert_int_equal(blob_delete(f->store, BAD[i], NULL), ERR_INVALID);
    }
}

static void finds_damage(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(blob_put_bytes(f->store, STR("abc"), NULL, NULL, NULL), OK);
    auto_free char *path = mem_printf("%s/sha256/ba/%s", f->folder, &ABC[7]);
    auto_close int fd = open(path, O_WRONLY | O_CLOEXEC);
    assert_int_equal(pwrite(fd, "x", 1, 1), 1);
    assert_int_equal(blob_verify(f->store, ABC, NULL), ERR_CORRUPT);
}

static void delete_is_idempotent(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(blob_put_bytes(f->store, STR("abc"), NULL, NULL, NULL), OK);
    assert_int_equal(blob_delete(f->store, ABC, NULL), OK);
    assert_int_equal(blob_delete(f->store, ABC, NULL), OK);
    assert_int_equal(blob_stat(f->store, ABC, NULL, NULL), ERR_NOT_FOUND);
}

static enum err count_each(const char *digest, uint64_t size_bytes, void *ctx, struct errinfo *err)
{
    (void)digest, (void)err;
    *(uint64_t *)ctx += size_bytes;
    return OK;
}

static void lists_all(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(blob_put_bytes(f->store, STR("abc"), NULL, NULL, NULL), OK);
    assert_int_equal(blob_put_bytes(f->store, STR("abcd"), NULL, NULL, NULL), OK);
    uint64_t sum = 0;
    assert_int_equal(blob_list(f->store, count_each, &sum, NULL), OK);
    assert_int_equal(sum, 7);
}

/* A writer that died leaves a file; the next open removes it once it is old, but never that of a living writer. */
static void removes_what_a_crash_left(void **state)
{
    struct fixture *f = *state;
    auto_free char *dead = mem_printf("%s/tmp/dead", f->folder);
    auto_close int fd = open(dead, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    struct utimbuf long_ago = {1000, 1000};
    assert_int_equal(utime(dead, &long_ago), 0);
    struct blob_put *living;
    assert_int_equal(blob_put_begin(f->store, 3, &living, NULL), OK);
    auto_blob_store struct blob_store *again = NULL;
    assert_int_equal(blob_store_open_folder(f->folder, &again, NULL), OK);
    assert_int_equal(access(dead, F_OK), -1);
    assert_int_equal(files_in_tmp(f), 1);
    assert_int_equal(blob_put_write(living, "abc", 3, NULL), OK);
    assert_int_equal(blob_put_finish(living, ABC, NULL, NULL, NULL), OK);
}

/* root writes for the user that the folder belongs to. */
static void belongs_to_the_folders_owner(void **state)
{
    struct fixture *f = *state;
    if (geteuid() != 0) {
        print_message("SKIPPED: only root can write for another user\n");
        skip();
    }
    assert_int_equal(chown(f->folder, 12345, 23456), 0);
    auto_blob_store struct blob_store *again = NULL;
    assert_int_equal(blob_store_open_folder(f->folder, &again, NULL), OK);
    assert_int_equal(blob_put_bytes(again, STR("abc"), NULL, NULL, NULL), OK);
    auto_free char *path = mem_printf("%s/sha256/ba/%s", f->folder, &ABC[7]),
                   *above = mem_printf("%s/sha256/ba", f->folder);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_true(st.st_uid == 12345 && st.st_gid == 23456);
    assert_int_equal(stat(above, &st), 0);
    assert_true(st.st_uid == 12345 && st.st_gid == 23456);
}

static char contract_folder[64];

static struct blob_store *again_folder(void)
{
    auto_free char *spec = mem_printf("folder;path=%s", contract_folder);
    struct blob_store *s = NULL;
    assert_int_equal(blob_store_open(spec, &s, NULL), OK);
    return s;
}

static void remove_contract_folder(void)
{
    if (contract_folder[0] != '\0')
        (void)scratch_remove(contract_folder);
}

static struct blob_store *open_folder(void)
{
    remove_contract_folder();
    assert_true(scratch_make("/tmp", contract_folder, sizeof(contract_folder)));
    return again_folder();
}

/* The rule, each row by itself. */
static void fates(void **state)
{
    (void)state;
    static const struct {
        enum blob_place place;
        bool is_used;
        int64_t since_s;
        enum blob_fate fate;
    } ROWS[] = {
        {BLOB_STORED, true, 0, BLOB_KEEP},          {BLOB_STORED, true, 999, BLOB_KEEP},
        {BLOB_STORED, false, 901, BLOB_KEEP},       {BLOB_STORED, false, 900, BLOB_PUT_ASIDE},
        {BLOB_STORED, false, 2000, BLOB_KEEP},      {BLOB_ASIDE, true, 0, BLOB_COME_BACK},
        {BLOB_ASIDE, true, 999, BLOB_COME_BACK},    {BLOB_ASIDE, false, 901, BLOB_KEEP},
        {BLOB_ASIDE, false, 900, BLOB_REMOVE},      {BLOB_ASIDE, false, 2000, BLOB_KEEP},
        {BLOB_STORED, false, INT64_MAX, BLOB_KEEP},
    };
    for (size_t i = 0; i < sizeof(ROWS) / sizeof(ROWS[0]); i++)
        assert_int_equal(blob_fate(ROWS[i].place, ROWS[i].is_used, ROWS[i].since_s, 1000, 100), ROWS[i].fate);
}

static enum err not_known(const char *digest, void *ctx, bool *ret_used, struct errinfo *err)
{
    (void)digest, (void)ctx, (void)ret_used;
    return err_set(err, ERR_UNAVAILABLE, "the log is not seen");
}

static void nothing_goes_while_use_is_not_known(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(blob_put_bytes(f->store, STR("abc"), NULL, NULL, NULL), OK);
    struct blob_collection c = {INT64_MAX / 2, BLOB_GRACE_DEFAULT_S, not_known, NULL};
    struct blob_collected ret;
    assert_int_equal(blob_collect(f->store, &c, &ret, NULL), ERR_UNAVAILABLE);
    c.grace_s = 3600;
    assert_int_equal(blob_collect(f->store, &c, &ret, NULL), ERR_INVALID);
    assert_int_equal(blob_verify(f->store, ABC, NULL), OK);
}

/* ---- settings ---- */

static void one_setting_names_the_store(void **state)
{
    (void)state;
    static const struct {
        const char *blobs, *blob_folder, *spec, *folder, *says;
    } ROWS[] = {
        {"folder;path=/b", NULL, "folder;path=/b", "/b", NULL},
        {NULL, "/old/blobs", "folder;path=/old/blobs", "/old/blobs", NULL},
        {"s3;endpoint=http://x;bucket=b;cache=/c", NULL, "s3;endpoint=http://x;bucket=b;cache=/c", "/c", NULL},
        {NULL, NULL, NULL, NULL, "'blobs' is missing"},
        {"folder;path=/b", "/b", NULL, NULL, "leave out 'blob_folder'"},
        {NULL, "/a;b", NULL, NULL, "';'"},
        {"/b", NULL, NULL, NULL, "folder;path=DIR"},
        {"s3;endpoint=http://x;bucket=b", NULL, NULL, NULL, "cache=DIR"},
    };
    for (size_t i = 0; i < sizeof(ROWS) / sizeof(ROWS[0]); i++) {
        auto_free char *spec = NULL;
        struct errinfo err = {0};
        enum err rc = blob_spec_of(ROWS[i].blobs, ROWS[i].blob_folder, &spec, &err);
        assert_int_equal(rc, ROWS[i].says == NULL ? OK : ERR_INVALID);
        if (ROWS[i].says != NULL) {
            assert_non_null(strstr(err.msg, ROWS[i].says));
            continue;
        }
        assert_string_equal(spec, ROWS[i].spec);
        assert_true(str_eq_c(blob_spec_folder(spec), ROWS[i].folder));
    }
}

/* ---- jobs ---- */

enum { ADDED = BLOB_JOBS_AT_ONCE + BLOB_JOBS_WAITING_MAX };
struct task {
    struct blob_job job;
    struct tasks *of;
    bool was_begun;
};
struct tasks {
    struct task items[ADDED];
    enum err answer;
    uv_sem_t go;
    uv_mutex_t lock;
    unsigned running_n, running_most, done_n;
};

static enum err wait_and_answer(struct blob_store *store, struct blob_job *job, struct errinfo *err)
{
    struct task *t = (struct task *)job;
    struct tasks *of = t->of;
    (void)store;
    uv_mutex_lock(&of->lock);
    t->was_begun = true;
    of->running_most = ++of->running_n > of->running_most ? of->running_n : of->running_most;
    uv_mutex_unlock(&of->lock);
    uv_sem_wait(&of->go);
    uv_mutex_lock(&of->lock);
    of->running_n--;
    uv_mutex_unlock(&of->lock);
    err_ignore(err_set(err, ERR_NOT_FOUND, "tried on the way")); /* is not the answer */
    return of->answer == OK ? OK : err_set(err, of->answer, "away");
}

static void task_done(struct blob_job *job)
{
    struct tasks *of = ((struct task *)job)->of;
    assert_int_equal(job->err.code, of->answer);
    of->done_n++;
}

static void run_tasks(struct tasks *of, enum err answer)
{
    uv_loop_t loop;
    struct errinfo err = {0};
    of->answer = answer;
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(uv_sem_init(&of->go, 0), 0);
    assert_int_equal(uv_mutex_init(&of->lock), 0);
    struct blob_jobs *jobs = blob_jobs_new(&loop, NULL);
    for (size_t i = 0; i < ADDED; i++) {
        of->items[i] = (struct task){.job = {.work = wait_and_answer, .done = task_done}, .of = of};
        assert_int_equal(blob_jobs_add(jobs, &of->items[i].job, &err), OK);
    }
    struct task over = {.job = {.work = wait_and_answer, .done = task_done}, .of = of};
    assert_int_equal(blob_jobs_add(jobs, &over.job, &err), ERR_UNAVAILABLE);
    assert_int_equal(of->done_n, 0);
    for (size_t i = 0; i < ADDED; i++)
        uv_sem_post(&of->go);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(of->done_n, ADDED);
    assert_in_range(of->running_most, 1, BLOB_JOBS_AT_ONCE);
    blob_jobs_free(jobs);
    uv_sem_destroy(&of->go);
    uv_mutex_destroy(&of->lock);
    assert_int_equal(uv_loop_close(&loop), 0);
}

static void jobs_are_few_at_once(void **state)
{
    (void)state;
    struct tasks of = {0};
    run_tasks(&of, OK);
    for (size_t i = 0; i < ADDED; i++)
        assert_true(of.items[i].was_begun);
}

/* Each of them would wait as long for the same answer. */
static void jobs_behind_one_that_found_nobody(void **state)
{
    (void)state;
    struct tasks of = {0};
    run_tasks(&of, ERR_UNAVAILABLE);
    size_t begun_n = 0;
    for (size_t i = 0; i < ADDED; i++)
        begun_n += of.items[i].was_begun;
    assert_in_range(begun_n, 1, BLOB_JOBS_AT_ONCE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(put_and_read, setup, teardown),
        cmocka_unit_test_setup_teardown(put_in_pieces, setup, teardown),
        cmocka_unit_test_setup_teardown(refuses_other_content, setup, teardown),
        cmocka_unit_test_setup_teardown(refuses_too_much, setup, teardown),
        cmocka_unit_test_setup_teardown(refuses_bad_digests, setup, teardown),
        cmocka_unit_test_setup_teardown(finds_damage, setup, teardown),
        cmocka_unit_test_setup_teardown(delete_is_idempotent, setup, teardown),
        cmocka_unit_test_setup_teardown(lists_all, setup, teardown),
        cmocka_unit_test(fates),
        cmocka_unit_test(one_setting_names_the_store),
        cmocka_unit_test(jobs_are_few_at_once),
        cmocka_unit_test(jobs_behind_one_that_found_nobody),
        cmocka_unit_test_setup_teardown(nothing_goes_while_use_is_not_known, setup, teardown),
        cmocka_unit_test_setup_teardown(belongs_to_the_folders_owner, setup, teardown),
        cmocka_unit_test_setup_teardown(removes_what_a_crash_left, setup, teardown),
    };
    int failed = cmocka_run_group_tests_name("blob", tests, NULL, NULL);
    const struct blob_factory factory = {"folder", open_folder, again_folder};
    failed += blob_contract_run(&factory);
    remove_contract_folder();
    return failed;
}

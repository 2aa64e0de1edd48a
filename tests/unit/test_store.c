/* The contract of stores, for every kind that can append: a factory each. */
#include "postgres_server.h"
#include "store_contract.h"
#include "store_disk.h"

/* --- files --- */

static void add_disk(struct fixture *x)
{
    struct test_disk *d = x->more = mem_alloc(sizeof(*d));
    test_disk_init(d);
    d->fault = FAULT_SHORT;
    x->opt.disk = &d->disk;
}

static void files_setup(struct fixture *x)
{
    setup(x);
    add_disk(x);
}

static void files_teardown(struct fixture *x)
{
    teardown(x);
    free(x->more);
}

static void files_faults(struct fixture *x, uint64_t seed)
{
    struct test_disk *d = x->more;
    d->random = seed;
    d->one_in = 40;
}

/* The same in segments of a few records, where each append goes on in another one. */
static void segments_setup(struct fixture *x)
{
    setup_in_memory(x, ";segment_size=600");
    add_disk(x);
}

/* --- simulated --- */

static void simulated_setup(struct fixture *x)
{
    struct store_world *w = store_world_new(7);
    *x = (struct fixture){.spec = "simulated;name=log", .opt = {.mode = STORE_CREATE, .world = w}, .more = w};
}

static void simulated_teardown(struct fixture *x)
{
    store_world_free(x->more);
}

static void simulated_faults(struct fixture *x, uint64_t seed)
{
    static const struct store_odds ODDS = {.unavailable = 30,
                                           .conflict = 50,
                                           .lost_before = 50,
                                           .lost_after = 50,
                                           .torn = 50,
                                           .slow = 100,
                                           .delay_us_max = 1000};
    store_world_set_odds(x->more, seed > 0 ? &ODDS : &(struct store_odds){0});
}

/* --- postgres: a log each in one database, reached through a relay that loses connections --- */

static struct postgres_server server;

static void postgres_setup(struct fixture *x)
{
    static int logs_n;
    *x = (struct fixture){.opt = {.mode = STORE_CREATE}};
    (void)snprintf(x->spec, sizeof(x->spec), "postgres;host=%s;dbname=slipform;user=replica;installation=test;log=l%d",
                   server.relay, ++logs_n);
}

static void postgres_teardown(struct fixture *x)
{
    (void)x;
}

static void postgres_faults(struct fixture *x, uint64_t seed)
{
    (void)x;
    postgres_server_cut(&server, seed, seed > 0 ? 10 : 0);
}

/* Its tables, made by their owner. */
static void postgres_migrate(void)
{
    struct fixture x = {.opt = {.mode = STORE_CREATE}};
    (void)snprintf(x.spec, sizeof(x.spec),
                   "postgres;host=%s;dbname=slipform;user=owner;installation=test;log=l0;rights=owner;replicas=replica",
                   server.folder);
    store_close(open_store(&x));
}

static int postgres_contract(void)
{
    static const struct contract_factory POSTGRES = {"postgres", postgres_setup, postgres_teardown, true,
                                                     postgres_faults};
    const char *missing = postgres_server_start(&server);
    if (missing != NULL) {
        print_error("SKIPPED: the contract of postgres stores is not tested: %s\n", missing);
        return 0;
    }
    postgres_migrate();
    int failures = contract_run(&POSTGRES);
    postgres_server_stop(&server);
    return failures;
}

int main(void)
{
    static const struct contract_factory FACTORIES[] = {
        {"files", files_setup, files_teardown, true, files_faults},
        {"segments", segments_setup, files_teardown, true, files_faults},
        {"simulated", simulated_setup, simulated_teardown, false, simulated_faults},
    };
    int failures = 0;
    for (size_t i = 0; i < sizeof(FACTORIES) / sizeof(FACTORIES[0]); i++)
        failures += contract_run(&FACTORIES[i]);
    return failures + postgres_contract();
}

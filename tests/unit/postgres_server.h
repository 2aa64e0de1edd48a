#pragma once
/* unit/postgres_server.h - a PostgreSQL of the test's own: a cluster in memory, reached by a Unix socket only. It ends
 * with the test, however that ends, and leaves nothing. */
#include <stdbool.h>
#include <stdint.h>

struct postgres_server {
    char folder[64]; /* the server's socket is here */
    char relay[80];  /* and here one that cuts connections when told to: postgres_server_cut */
    int alive_fd;
    int supervisor;             /* pid */
    struct postgres_cuts *cuts; /* shared with the relay */
};

/* Start it, with a database 'slipform', its owner 'owner', and a role 'replica'; anybody may be anybody. Why it cannot
 * be had, or NULL. The reason is lent. */
const char *postgres_server_start(struct postgres_server *s);
void postgres_server_stop(struct postgres_server *s);
/* From now on about one in `one_in` questions through the relay ends with the connection: half of them before the
 * server has it, half of them when its answer is there. 0: none. Also for connections that are open. */
void postgres_server_cut(struct postgres_server *s, uint64_t seed, uint64_t one_in);
/* The next answer through the relay is lost together with its connection. */
void postgres_server_cut_next(struct postgres_server *s);
/* All clients of the relay lose their connections, of which the server learns nothing. */
void postgres_server_forget_clients(struct postgres_server *s);
/* As superuser, in database 'slipform'; the first column of the first row, or "". Fails the test on an error.
 * Returned: free(). */
char *postgres_server_sql(const struct postgres_server *s, const char *database, const char *sql);

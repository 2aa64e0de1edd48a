#include "edge/run_dir.h"

#include <stdint.h>

#include "base/encode.h"
#include "base/mem.h"
#include "event/hash.h"

/* sun_path without its NUL, and the longest name that is put behind the folder ("/admin.sock"). */
enum { SOCKET_PATH_MAX = 107, SOCKET_NAME_MAX = 11 };

char *run_dir_choose(const char *run_dir, const char *state_dir)
{
    if (run_dir != NULL && run_dir[0] != '\0')
        return mem_strdup(run_dir);
    if (strlen(state_dir) + SOCKET_NAME_MAX <= SOCKET_PATH_MAX)
        return mem_strdup(state_dir);
    uint8_t digest[HASH_SIZE];
    char text[17];
    hash_bytes(state_dir, strlen(state_dir), digest);
    hex_format(digest, 8, text);
    return mem_printf("/run/slipform/%s", text);
}

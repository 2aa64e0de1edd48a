/* Certificates: 'a' a PEM text, 'b' DER bytes as a peer shows them. */
#include "crypto/cert.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO(arena) struct arena a = {0};
    struct cert_info info;
    struct identity who;
    size_t choice;
    struct str rest;
    if (!fuzz_choose(data, size, 2, &choice, &rest))
        return 0;
    if (choice == 0) {
        if (cert_info_read(rest, &a, &info, NULL) == OK)
            assert(info.common_name != NULL && strlen(info.sha256) == 64);
    } else if (cert_identity(rest.ptr, rest.len, &who, NULL) == OK) {
        assert(who.installation[0] != '\0' && who.role[0] != '\0' && who.id[0] != '\0');
    }
    return 0;
}

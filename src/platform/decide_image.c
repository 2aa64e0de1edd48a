/* Decisions about images that no deployment asked for. */
#include "event/hash.h"
#include "platform/decide_check.h"

/* One of no project, from these sources, that may still serve. */
static const struct image *built_from(const struct model *m, struct str context_digest)
{
    MODEL_EACH (image, i, &m->images)
        if (i->project == NULL && i->status != IMAGE_FAILED && str_eq_c(context_digest, i->context_digest))
            return i;
    return NULL;
}

enum err decide_create_image(const struct decide *d, struct str context_digest, struct event_list *out,
                             struct id *ret_id, struct errinfo *err)
{
    uint8_t digest[HASH_SIZE];
    struct resources nothing = {0};
    struct places places;
    struct placement at;
    const char *why = "";
    if (!hash_digest_parse(context_digest, digest))
        return err_set(err, ERR_INVALID, "'context_digest' must be 'sha256:' and 64 hex digits");
    const struct image *known = built_from(d->model, context_digest);
    if (known != NULL) {
        *ret_id = known->id;
        return OK;
    }
    struct wish wish = {.process = model_process_by_name(d->model, STR(BUILDER_PROGRAM)),
                        .label = "control",
                        .runtime = STR("host"),
                        .needs = &nothing};
    places_of_model(&places, d->model, d->settings, out->arena, ID_NONE);
    bool is_placed = places_take(&places, &wish, 1, &at, &why);
    places_done(&places);
    if (!is_placed)
        return err_set(err, ERR_LIMIT, "no node builds now: %s", why);
    struct build build = {.image_id = id_next(d->ids),
                          .context_digest = arena_str(out->arena, context_digest),
                          .because = STR("{\"rule\":\"asked for\"}")};
    (void)emit_build(out, d->ids, d->model, d->settings->installation, &build, &at);
    *ret_id = build.image_id;
    return OK;
}

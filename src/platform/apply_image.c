/* Fold of images that go, or get another builder. */
#include "platform/model_write.h"

void image_drop(struct model *m, const struct image *i)
{
    touch_image(m, i);
    bury(m, OBJECT_IMAGE, i->id, i->project == NULL ? ID_NONE : i->project->id);
    index_remove(m, &m->images, i->id);
    keys_remove(m, KEY_IMAGE_BUILDER, i);
    object_free(m, image, i);
}

enum err apply_delete_image(struct model *m, const struct delete_image *e, struct errinfo *err)
{
    const struct image *i = model_image(m, e->image_id);
    if (i == NULL)
        return refuse_missing(err, "image", e->image_id);
    const struct process *user = model_user_of_image(m, i);
    if (user != NULL)
        return err_set(err, ERR_CORRUPT, "the image is used by process '%s'", user->name);
    if (i->status == IMAGE_BUILDING)
        return err_set(err, ERR_CORRUPT, "the image is being built");
    const struct project *project = i->project;
    image_drop(m, i);
    if (project != NULL) /* what it was built for waited for its builder only */
        retain_of_project(m, project);
    return OK;
}

enum err apply_rebuild_image(struct model *m, const struct event *ev, struct errinfo *err)
{
    const struct rebuild_image *e = &ev->rebuild_image;
    const struct image *was = model_image(m, e->image_id);
    if (was == NULL)
        return refuse_missing(err, "image", e->image_id);
    if (was->status != IMAGE_BUILDING)
        return err_set(err, ERR_CORRUPT, "the image is %s: nobody builds it again", image_status_name(was->status));
    if (model_instance(m, e->builder_instance_id) == NULL)
        return refuse_missing(err, "builder instance", e->builder_instance_id);
    if (model_image_of_builder(m, e->builder_instance_id) != NULL)
        return err_set(err, ERR_CORRUPT, "its builder builds an image already");
    struct image *i = image_edit(m, was);
    keys_remove(m, KEY_IMAGE_BUILDER, i);
    i->builder_instance_id = e->builder_instance_id;
    keys_add(m, KEY_IMAGE_BUILDER, i);
    i->tries_n++;
    i->tried_ns = ev->time.instant_ns;
    texts_set(&m->texts, &i->cause, e->cause);
    touch_image(m, i);
    return OK;
}

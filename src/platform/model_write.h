#pragma once
/* platform/model_write.h - what the folds of one kind of event share. Only apply*.c, changes.c and model.c include it.
 * The shape of every fold: look everything up and refuse first, change afterwards, so that a refused event has changed
 * nothing.
 * Layer: platform. Pure. */
#include <stdlib.h>

#include "base/mem.h"
#include "platform/journal.h"
#include "platform/model.h"

/* The position and the time that the event being folded will have. */
static inline uint64_t model_next_seq(const struct model *m)
{
    return m->seq + 1;
}

/* Folds, by subject. OK | ERR_CORRUPT, nothing changed. */
must_check enum err apply_node_event(struct model *m, const struct event *ev, struct errinfo *err);
must_check enum err apply_instance_event(struct model *m, const struct event *ev, struct errinfo *err);
must_check enum err apply_deployment_event(struct model *m, const struct event *ev, struct errinfo *err);
must_check enum err apply_delete_image(struct model *m, const struct delete_image *e, struct errinfo *err);
must_check enum err apply_rebuild_image(struct model *m, const struct event *ev, struct errinfo *err);
must_check enum err apply_scaling_event(struct model *m, const struct event *ev, struct errinfo *err);
must_check enum err apply_project_event(struct model *m, const struct event *ev, struct errinfo *err);
must_check enum err apply_subject_event(struct model *m, const struct event *ev, struct errinfo *err);
must_check enum err apply_log_event(struct model *m, const struct event *ev, struct errinfo *err);

/* "region '0190…' " with an id, for refusals. */
must_check enum err refuse_missing(struct errinfo *err, const char *what, struct id id);
must_check enum err refuse_twice(struct errinfo *err, const char *what, struct id id);

/* ---- Changing the model ----
 * Everything that is found in the model is const. To change an object, ask for it with the function of its type:
 *
 *     const struct node *was = model_node(m, id);    look up, refuse
 *     struct node *n = node_edit(m, was);            from here on nothing is refused
 *     n->status = status;
 *
 * That is how a trial learns what to take back (platform/journal.h); a cast around it would break trials. For the same
 * reason arrays and objects come from the functions below, never from malloc: a file that includes this one cannot name
 * malloc and free. The members of *m itself may be written to; what they point to may not.
 * A new type of object needs a table of its members (platform/members.c): tests name what was left out. */
#define MODEL_EDIT(type)                                                                                               \
    extern const struct members MEMBERS_##type;                                                                        \
    static inline struct type *type##_edit(struct model *m, const struct type *was)                                    \
    {                                                                                                                  \
        struct type *object = (struct type *)(uintptr_t)was;                                                           \
        if (m->journal != NULL)                                                                                        \
            journal_object(m->journal, object, &MEMBERS_##type);                                                       \
        return object;                                                                                                 \
    }
MODEL_EDIT(region)
MODEL_EDIT(zone)
MODEL_EDIT(node)
MODEL_EDIT(instance)
MODEL_EDIT(process)
MODEL_EDIT(project)
MODEL_EDIT(image)
MODEL_EDIT(certificate)
MODEL_EDIT(definition)
MODEL_EDIT(domain)
MODEL_EDIT(user)
MODEL_EDIT(waiting)
MODEL_EDIT(secret)
MODEL_EDIT(passed_record)

/* A new object, zeroed but for its texts, which are "". It is in no index yet. */
#define object_new(m, type) ((struct type *)members_new(m, &MEMBERS_##type))
/* Let go of its texts and arrays and of itself. It is in no index any more. */
#define object_free(m, type, object) members_free(m, &MEMBERS_##type, object)
void *members_new(struct model *m, const struct members *members);
void members_free(struct model *m, const struct members *members, const void *object);

/* Into an index of the model or of an object, and out of it. */
static inline void index_add(struct model *m, struct id_index *x, void *object)
{
    if (m->journal != NULL)
        journal_index_add(m->journal, x, object);
    id_index_add(x, object);
}
static inline void index_remove(struct model *m, struct id_index *x, struct id id)
{
    if (m->journal != NULL)
        journal_index_remove(m->journal, x, id);
    id_index_remove(x, id);
}

/* By what it is found besides its id: platform/keys.h. */
void keys_add(struct model *m, enum key_kind kind, const void *object);
void keys_remove(struct model *m, enum key_kind kind, const void *object);

/* Lists: text_list_* of platform/texts.h and these. */
void id_list_set(struct model *m, struct id_list *list, struct ids ids);
void text_list_set(struct texts *t, struct text_list *list, struct strs strs);
/* One more entry: its cause, status and health as they are now. The last INSTANCE_HISTORY_MAX are kept. */
void instance_remember(struct model *m, struct instance *i, int64_t at_ns);

/* An object is stamped with the position of the event that changed it, and so is what others follow it by. */
void touch_node(struct model *m, const struct node *n);
void touch_instance(struct model *m, const struct instance *i);
/* The two parts of it: what is known of it has changed; what its node (may be NULL) is asked for has. */
void touch_instance_state(struct model *m, const struct instance *i);
void touch_asked(struct model *m, const struct node *n);
/* Its instances too: what their node is asked for depends on it. */
void touch_deployment(struct model *m, const struct process *p);
void touch_image(struct model *m, const struct image *i);
void touch_project(struct model *m, const struct project *p);
void touch_route(struct model *m, const struct project *p);
void touch_edges(struct model *m, const struct process *p); /* of an application */
void touch_domain(struct model *m, const struct domain *d);
void bury(struct model *m, enum object_kind kind, struct id id, struct id scope);

/* An instance that is deleted: one more of those that its process remembers. */
void process_remember_gone(struct model *m, const struct instance *i, struct str because, int64_t now_ns);
/* ---- What leaves the model though no event names it (apply_retain.c). Said at the end of a fold: afterwards objects
 * that it looked up may be gone. ---- */
/* Of this project something came to its end. */
void retain_of_project(struct model *m, const struct project *p);
/* This image may be settled now. NULL: nothing. */
void retain_image(struct model *m, const struct image *i);
/* No process of no project names an image any more that one did. */
void retain_images(struct model *m);
void retain_nodes(struct model *m);
void retain_certificates(struct model *m, int64_t now_ns);
/* The log's format has come to EVENT_FORMAT_FORGETS. */
void retain_everything(struct model *m, int64_t now_ns);
void image_drop(struct model *m, const struct image *i);
void certificate_drop(struct model *m, const struct certificate *c);

/* A process without instances leaves the model. */
void process_drop(struct model *m, const struct process *p);
/* A project that goes takes these along. */
void project_drop_domains(struct model *m, const struct project *p);
void project_drop_secrets(struct model *m, const struct project *p);
/* {"sealed":"…"}: what may stand in a log for a personal field or a secret. */
bool is_sealed(struct str json);

/* "fd00:1:2:3::/64" */
bool prefix_parse(struct str text, uint64_t *ret_prefix);
/* An IPv6 address inside the prefix: its host number. */
bool address_parse(const char *text, uint64_t *ret_prefix, uint64_t *ret_host);
/* A report that changes nothing: of a boot that is over, or not newer than the last one of this boot. */
bool node_report_is_old(const struct node *n, struct str boot_id, int64_t report_seq, const char *last_boot_id,
                        int64_t last_seq);
/* A report of this boot was folded: it is the node's boot from now on. */
void node_hears(struct model *m, const struct node *n, struct str boot_id);

#ifndef MODEL_WRITE_MEMORY /* model.c, journal.c: they are what these would go around */
#pragma GCC poison malloc calloc realloc free mem_alloc mem_calloc mem_realloc
#pragma GCC poison id_index_add id_index_remove key_index_add key_index_remove
#endif

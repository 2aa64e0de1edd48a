#pragma once
/* platform/emit.h - events that decisions and plans both write. Texts are borrowed by the event: they live in the
 * list's arena, in the model, or are literals.
 * Layer: platform. Pure. */
#include "platform/events.h"
#include "platform/model.h"
#include "platform/place.h"

/* printf into the arena of the list, as str. */
struct str say(struct event_list *l, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* The same for JSON, in its canonical form (keys sorted, compact): an event that is folded when it is made and one that
 * is read back from the log are the same to the byte, and so are the models. "nowMs" is added: what was due then. */
struct str because(struct event_list *l, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* At most max bytes of a text, cut between two characters. */
const char *cut(struct event_list *l, const char *text, size_t max);
/* A JSON string literal with its quotes, in the arena. */
const char *quoted(struct event_list *l, const char *text);
const char *id_text(struct event_list *l, struct id id);

struct event *emit_deployment_status(struct event_list *l, struct id_source *ids, const struct process *d,
                                     enum deployment_status status, struct str cause, struct str because);
/* The control plane's own word about an instance: nobody observed it. */
struct event *emit_instance_status(struct event_list *l, struct id_source *ids, const struct instance *i,
                                   enum instance_status status, const char *desired, struct str cause,
                                   struct str because);
/* Its node is to stop it now: no edge leads to it. desired: stopped, deleted. */
struct event *emit_instance_end(struct event_list *l, struct id_source *ids, const struct instance *i,
                                const char *desired, struct str cause, struct str because);
/* The same, but edges withdraw it first when they may lead to it: the planner ends it once they have (plan_withdrawal).
 */
void emit_instance_withdrawal(struct event_list *l, struct id_source *ids, const struct instance *i,
                              const char *desired, struct str cause, struct str because);
/* It goes: withdrawn from routes, then drained when it may still run, then deleted by the planner. */
void emit_instance_removal(struct event_list *l, struct id_source *ids, const struct instance *i, struct str cause,
                           struct str because);
struct event *emit_delete_instance(struct event_list *l, struct id_source *ids, const struct instance *i,
                                   struct str because);
struct event *emit_create_instance(struct event_list *l, struct id_source *ids, struct id process_id, struct str owner,
                                   const struct placement *at, struct str because);

/* The program of builders; its process is of a bootstrap log, or made with the first build. */
#define BUILDER_PROGRAM "image-builder"
/* A build of an image: a builder that runs once, on the node where `at` has placed it, and the image. */
struct build {
    struct id builder_process;      /* of all builders; ID_NONE: it is looked for in the model */
    struct id image_id, project_id; /* project_id: ID_NONE for an image of no project */
    struct str context_digest, because;
};
/* Another builder for an image that is being built. cause: how those before ended. */
void emit_rebuild(struct event_list *l, struct id_source *ids, struct str owner, const struct build *build,
                  const struct placement *at, struct str cause);
/* Returns the builder's id. */
struct id emit_build(struct event_list *l, struct id_source *ids, const struct model *m, struct str owner,
                     const struct build *build, const struct placement *at);

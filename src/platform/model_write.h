#pragma once
/* platform/model_write.h - what the folds of one kind of event share. Only apply*.c, changes.c and model.c include it.
 * The shape of every fold: look everything up and refuse first, change afterwards, so that a refused event has changed
 * nothing.
 * Layer: platform. Pure. */
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

/* "region '0190…' " with an id, for refusals. */
must_check enum err refuse_missing(struct errinfo *err, const char *what, struct id id);
must_check enum err refuse_twice(struct errinfo *err, const char *what, struct id id);

/* Changes. An object is stamped with the position of the event that changed it, and so is what others follow it by. */
void touch_node(struct model *m, struct node *n);
void touch_instance(struct model *m, struct instance *i);
/* Its instances too: what their node is asked for depends on it. */
void touch_deployment(struct model *m, struct process *p);
void touch_image(struct model *m, struct image *i);
void touch_project(struct model *m, struct project *p);
void touch_route(struct model *m, struct project *p);
void bury(struct model *m, enum object_kind kind, struct id id, struct id scope);

void id_list_set(struct id_list *list, struct ids ids);
void text_list_set(struct texts *t, struct text_list *list, struct strs strs);

void instance_free(struct model *m, struct instance *i); /* out of memory only: the caller takes it out of indexes */
/* "fd00:1:2:3::/64" */
bool prefix_parse(struct str text, uint64_t *ret_prefix);
/* An IPv6 address inside the prefix: its host number. */
bool address_parse(const char *text, uint64_t *ret_prefix, uint64_t *ret_host);
/* A report that changes nothing: of a boot that is over, or not newer than the last one of this boot. */
bool node_report_is_old(const struct node *n, struct str boot_id, int64_t report_seq, const char *last_boot_id,
                        int64_t last_seq);
/* A report of this boot was folded: it is the node's boot from now on. */
void node_hears(struct model *m, struct node *n, struct str boot_id);

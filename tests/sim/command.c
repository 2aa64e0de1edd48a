/* What a replica decides on a command. It may be decided again after a conflict, so a command keeps its inputs. */
#include "sim.h"

/* A version of the program from before that format has no route for it. */
static bool is_too_new(const struct replica *r, enum command_kind kind)
{
    bool is_of_format_1 =
        kind < COMMAND_SCALE || kind == COMMAND_SUSPECT || kind == COMMAND_CERTIFICATE || kind == COMMAND_CREATE_IMAGE;
    return r->format < EVENT_FORMAT && !is_of_format_1;
}

static enum err node_reported(struct world *w, struct replica *r, const struct decide *d, const struct command *c,
                              struct event_list *out, struct errinfo *err)
{
    struct node_reported n = c->node_reported;
    n.replica = r->name_str;
    for (size_t i = 0; i < w->nodes_n; i++)
        if (id_eq(w->nodes[i].id, n.node_id))
            w->nodes[i].was_heard = true;
    return decide_node_reported(d, &n, out, err);
}

enum err command_decide(struct world *w, struct replica *r, const struct command *c, struct event_list *out,
                        struct errinfo *err)
{
    w->ids.wall_ms = w->now_ms + r->clock_offset_ms;
    struct decide d = {r->model, &w->settings, replica_clock_ms(w, r), &w->ids};
    struct id id;
    if (is_too_new(r, c->kind)) {
        happened(w, OUTCOME_command_too_new);
        return err_set(err, ERR_NOT_FOUND, "this version of the program knows no such command");
    }
    switch (c->kind) {
    case COMMAND_NODE_REPORTED: return node_reported(w, r, &d, c, out, err);
    case COMMAND_INSTANCE_OBSERVED: return decide_instance_observed(&d, &c->instance_observed, out, err);
    case COMMAND_IMAGE_OBSERVED: return decide_image_observed(&d, &c->image_observed, out, err);
    case COMMAND_DEPLOY: return decide_create_deployment(&d, &c->deploy, out, &id, err);
    case COMMAND_REPEAT: return decide_repeat_deployment(&d, c->id, STR("somebody"), out, &id, err);
    case COMMAND_CANCEL: return decide_cancel_deployment(&d, c->id, out, err);
    case COMMAND_STOP: return decide_stop_deployment(&d, c->id, out, err);
    case COMMAND_DELETE_INSTANCE: return decide_delete_instance(&d, c->id, out, err);
    case COMMAND_CREATE_INSTANCE:
        return decide_create_instance(&d, &(struct instance_create){.process_id = c->id}, out, &id, err);
    case COMMAND_DESIRED: return decide_instance_desired(&d, c->id, c->text, out, err);
    case COMMAND_SCALE: return decide_scale_process(&d, c->id, c->number, STR("by hand"), STR(""), out, err);
    case COMMAND_DRAIN: return decide_drain_node(&d, c->id, STR("by hand"), out, err);
    case COMMAND_UNDRAIN: return decide_undrain_node(&d, c->id, out, err);
    case COMMAND_CREATE_PROJECT: return decide_create_project(&d, c->text, out, &id, err);
    case COMMAND_DELETE_PROJECT: return decide_delete_project(&d, c->id, out, err);
    case COMMAND_SUSPECT:
        /* It may have waited in the queue while the node came back, or this replica stood still. */
        if (!r->may_vote || replica_hears(w, r, c->id))
            return OK;
        return decide_suspect_node(&d, c->id, r->name_str, STR("silent for 10 s"), out, err);
    case COMMAND_CERTIFICATE: return decide_issue_certificate(&d, c->text, STR("2036-01-01T00:00:00Z"), out, &id, err);
    case COMMAND_UPDATE_PROJECT: return decide_update_project(&d, &c->update, out, err);
    case COMMAND_SCALING_RULE: return decide_set_scaling_rule(&d, &c->scaling, out, err);
    case COMMAND_PUT_APPLICATION: return decide_put_application(&d, &c->application, out, &id, err);
    case COMMAND_DELETE_APPLICATION: return decide_delete_application(&d, c->text, c->value, out, err);
    case COMMAND_ATTACH_DOMAIN: return decide_attach_domain(&d, c->id, c->text, out, &id, err);
    case COMMAND_DOMAIN_OBSERVED: return decide_domain_observed(&d, c->id, c->number != 0, c->text, out, err);
    case COMMAND_DETACH_DOMAIN: return decide_detach_domain(&d, c->id, out, err);
    case COMMAND_SET_SECRET: return decide_set_secret(&d, c->id, c->text, c->value, out, &id, err);
    case COMMAND_UNSET_SECRET: return decide_unset_secret(&d, c->id, c->text, out, err);
    case COMMAND_CREATE_USER: return decide_create_user(&d, c->text, c->value, c->value, out, &id, err);
    case COMMAND_JOIN_WAITLIST: return decide_join_waitlist(&d, c->text, c->value, out, &id, err);
    case COMMAND_ERASE_SUBJECT: return decide_erase_subject(&d, c->id, out, err);
    case COMMAND_CREATE_IMAGE: return decide_create_image(&d, c->text, out, &id, err);
    case COMMAND_DELETE_IMAGE: return decide_delete_image(&d, c->id, out, err);
    }
    return OK;
}

/* What people do beside deploying: applications, domains, secrets, accounts. */
#include "sim.h"

#define text(w, ...) str_from(arena_printf(&(w)->arena, __VA_ARGS__))

static const void *any_of(struct world *w, const struct id_index *all)
{
    return all->n == 0 ? NULL : all->items[roll(w, all->n)];
}

/* ---- Projects ---- */

void act_update_project(struct world *w)
{
    const struct project *p = some_project(w);
    if (p == NULL)
        return;
    tell(w, "somebody changes what '%s' is deployed with", p->slug);
    ask(w, (struct command){
               .kind = COMMAND_UPDATE_PROJECT,
               .update = {.project_id = p->id, .instances = between(w, 3, 4), .drain_seconds = between(w, 1, 20)}});
}

void act_set_scaling_rule(struct world *w)
{
    const struct project *p = some_project(w);
    if (p == NULL)
        return;
    bool has = roll(w, 2) == 0;
    tell(w, "somebody %s a scaling rule of '%s'", has ? "sets" : "removes", p->slug);
    ask(w, (struct command){.kind = COMMAND_SCALING_RULE,
                            .scaling = {.project_id = p->id,
                                        .metric = STR("cpu"),
                                        .instances_min = 3,
                                        .instances_max = has ? 5 : 0,
                                        .target_percent = 70,
                                        .cool_down_seconds = 30}});
}

/* ---- Applications ---- */

static const struct process *some_application(struct world *w)
{
    const struct id_index *all = &w->oracle->processes;
    for (unsigned tries = 0; all->n > 0 && tries < 16; tries++) {
        const struct process *p = all->items[roll(w, all->n)];
        if (process_is_application(p) && !p->is_deleted)
            return p;
    }
    return NULL;
}

/* Of an image that is there and does what it should. */
static const struct image *good_image(struct world *w)
{
    const struct id_index *all = &w->oracle->images;
    for (unsigned tries = 0; all->n > 0 && tries < 16; tries++) {
        const struct image *i = all->items[roll(w, all->n)];
        if (i->status == IMAGE_READY && behaviour_of(i->digest) == GOOD)
            return i;
    }
    return NULL;
}

void act_put_application(struct world *w)
{
    const struct image *image = good_image(w);
    if (image == NULL)
        return;
    struct application_stream *stream = arena_alloc(&w->arena, sizeof(*stream));
    struct create_event_log *logs = arena_alloc(&w->arena, 2 * sizeof(*logs));
    struct str *input = arena_alloc(&w->arena, sizeof(*input));
    unsigned number = (unsigned)roll(w, 3);
    bool is_of_two = number == 1; /* logs that each hold half of what there is */
    logs[0] = (struct create_event_log){.partition_range = is_of_two ? STR("00000000-7fffffff") : STR("*")};
    logs[1] = (struct create_event_log){.partition_range = STR("80000000-ffffffff")};
    *input = text(w, "orders%u", number);
    *stream = (struct application_stream){
        .stream = {.name = *input, .version = STR("1"), .event_store = STR("files;path=orders")},
        .logs = logs,
        .logs_n = is_of_two ? 2 : 1};
    struct command c = {.kind = COMMAND_PUT_APPLICATION,
                        .application = {.name = text(w, "counter%u", number),
                                        .version = text(w, "v%u", (unsigned)roll(w, 2)),
                                        .streams = stream,
                                        .streams_n = 1,
                                        .process = {.image_digest = str_from(image->digest),
                                                    .config = STR("{}"),
                                                    .secret_refs = STR("[]"),
                                                    .instances_wanted = between(w, 1, 4)},
                                        .is_exposed = roll(w, 2) == 0,
                                        .input_streams = {input, 1}}};
    c.application.process.image_digest = arena_str(&w->arena, c.application.process.image_digest);
    tell(w, "somebody puts application '%s'", c.application.name.ptr);
    ask(w, c);
}

void act_delete_application(struct world *w)
{
    const struct process *p = some_application(w);
    if (p == NULL)
        return;
    tell(w, "somebody deletes application '%s'", p->name);
    ask(w, (struct command){.kind = COMMAND_DELETE_APPLICATION,
                            .text = arena_str(&w->arena, str_from(p->name)),
                            .value = arena_str(&w->arena, str_from(p->version))});
}

void act_scale_application(struct world *w)
{
    const struct process *p = some_application(w);
    int64_t to = between(w, 1, 5);
    if (p == NULL)
        return;
    tell(w, "somebody wants %lld instances of application '%s'", (long long)to, p->name);
    ask(w, (struct command){.kind = COMMAND_SCALE, .id = p->id, .number = to});
}

/* ---- Domains ---- */

void act_attach_domain(struct world *w)
{
    const struct project *p = some_project(w);
    struct str host = text(w, "www%u.example.org", (unsigned)roll(w, 6));
    if (p == NULL)
        return;
    tell(w, "somebody attaches %s to '%s'", host.ptr, p->slug);
    ask(w, (struct command){.kind = COMMAND_ATTACH_DOMAIN, .id = p->id, .text = host});
}

void act_domain_observed(struct world *w)
{
    const struct domain *d = any_of(w, &w->oracle->domains);
    bool is_proved = roll(w, 4) != 0;
    if (d == NULL)
        return;
    tell(w, "the records of %s %s", d->host, is_proved ? "prove it" : "do not prove it");
    ask(w, (struct command){.kind = COMMAND_DOMAIN_OBSERVED,
                            .id = d->id,
                            .number = is_proved,
                            .text = is_proved ? STR("") : STR("there is no TXT record")});
}

void act_detach_domain(struct world *w)
{
    const struct domain *d = any_of(w, &w->oracle->domains);
    if (d == NULL)
        return;
    tell(w, "somebody detaches %s", d->host);
    ask(w, (struct command){.kind = COMMAND_DETACH_DOMAIN, .id = d->id});
}

/* ---- Secrets, people ---- */

static struct str sealed(struct world *w)
{
    return text(w, "{\"sealed\":\"k%u:AAAA\"}", ++w->names_n);
}

void act_set_secret(struct world *w)
{
    const struct project *p = some_project(w);
    if (p == NULL)
        return;
    tell(w, "somebody sets a secret of '%s'", p->slug);
    ask(w, (struct command){.kind = COMMAND_SET_SECRET,
                            .id = roll(w, 4) == 0 ? ID_NONE : p->id,
                            .text = text(w, "KEY%u", (unsigned)roll(w, 3)),
                            .value = sealed(w)});
}

void act_unset_secret(struct world *w)
{
    const struct secret *s = any_of(w, &w->oracle->secrets);
    if (s == NULL)
        return;
    tell(w, "somebody unsets secret %s", s->name);
    ask(w, (struct command){.kind = COMMAND_UNSET_SECRET,
                            .id = s->project == NULL ? ID_NONE : s->project->id,
                            .text = arena_str(&w->arena, str_from(s->name))});
}

void act_create_user(struct world *w)
{
    tell(w, "somebody gets an account");
    ask(w, (struct command){
               .kind = COMMAND_CREATE_USER, .text = text(w, "digest%u", (unsigned)roll(w, 6)), .value = sealed(w)});
}

void act_join_waitlist(struct world *w)
{
    tell(w, "somebody joins the waitlist");
    ask(w, (struct command){
               .kind = COMMAND_JOIN_WAITLIST, .text = text(w, "digest%u", (unsigned)roll(w, 6)), .value = sealed(w)});
}

void act_erase_subject(struct world *w)
{
    const struct user *u = any_of(w, &w->oracle->users);
    const struct waiting *p = any_of(w, &w->oracle->waitlist);
    if (u == NULL && p == NULL)
        return;
    tell(w, "somebody wants to be forgotten");
    ask(w, (struct command){.kind = COMMAND_ERASE_SUBJECT,
                            .id = u != NULL && (p == NULL || roll(w, 2) == 0) ? u->id : p->id});
}

/* ---- Images ---- */

void act_create_image(struct world *w)
{
    struct str digest = str_from(arena_printf(&w->arena, "sha256:%063u%d", ++w->deploys_n, GOOD));
    tell(w, "somebody has an image built");
    ask(w, (struct command){.kind = COMMAND_CREATE_IMAGE, .text = digest});
}

void act_delete_image(struct world *w)
{
    const struct image *i = any_of(w, &w->oracle->images);
    if (i == NULL)
        return;
    tell(w, "somebody deletes an image");
    ask(w, (struct command){.kind = COMMAND_DELETE_IMAGE, .id = i->id});
}

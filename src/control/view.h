#pragma once
/* control/view.h - the model's objects as the documents of wire/: what the APIs answer.
 * Layer: control. Everything returned lives in the arena or is lent by the model until the next turn of the loop. */
#include "control/control.h"
#include "wire/deployment.h"
#include "wire/image.h"
#include "wire/node.h"
#include "wire/replica.h"
#include "wire/route.h"

void view_node(const struct control *c, const struct node *n, struct arena *a, struct node_resource *ret);
/* What its node-agent is asked for, what is known about it, its history. */
void view_instance(const struct control *c, const struct instance *i, struct arena *a, struct instance_resource *ret);
void view_image(const struct image *i, struct arena *a, struct image_resource *ret);
/* False: the project has no live deployment, there is no route. */
bool view_route(const struct control *c, const struct project *p, struct arena *a, struct route *ret);
/* False: edges do not lead to this process. */
bool view_application_route(const struct control *c, const struct process *p, struct arena *a, struct route *ret);

void view_project(const struct control *c, const struct project *p, struct arena *a, struct project_resource *ret);
void view_deployment(const struct control *c, const struct process *d, struct arena *a,
                     struct deployment_resource *ret);

/* Names of the secrets that instances of it get. */
struct strs view_secret_names(const struct process *p, struct arena *a);

/* How this replica is, and what it knows of the others; `notifier` is left to the caller. */
void view_replica(struct control *c, struct arena *a, struct replica_resource *ret);

/* "https://<host>[:port]" */
struct str view_url(const struct control *c, const char *host, struct arena *a);
/* RFC 3339 of nanoseconds since 1970; "" for 0. */
struct str view_time_ns(int64_t ns, struct arena *a);
/* struct str of a text of the model. */
struct str view_text(const char *text);

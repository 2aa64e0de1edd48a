#pragma once
/* platform/decide_owned.h - what belongs to somebody: domains and secrets of a project, users, places in the waitlist.
 * Personal fields and secrets come sealed ({"sealed":"<key id>:…"}): this room never
 * sees them; `identity` is a keyed digest, by which the same person is found again.
 * The same again gives no events and the id that is there. Errors as platform/decide.h says; ERR_UNAVAILABLE until the
 * log's format is raised. Layer: platform. Pure. */
#include "platform/decide.h"

/* 64 KiB: an environment takes little more (chosen); 100 domains and secrets a project, 100,000 places in the waitlist
 * (chosen: bounds, not goals). 128 bytes: a digest as text. */
#define OWNED_SECRET_MAX 65536u
#define OWNED_PER_PROJECT_MAX 100u
#define OWNED_WAITLIST_MAX 100000u
#define OWNED_IDENTITY_MAX 128u

/* A host name of somebody's own shall lead to the project, once it is proved: the domain's `challenge` must stand in a
 * TXT record. ERR_CONFLICT: it is attached to another project | ERR_DENIED: a name of the platform's own domain */
must_check enum err decide_attach_domain(const struct decide *d, struct id project_id, struct str host,
                                         struct event_list *out, struct id *ret_id, struct errinfo *err);
/* What a look at its records found. */
must_check enum err decide_domain_observed(const struct decide *d, struct id domain_id, bool is_proved,
                                           struct str cause, struct event_list *out, struct errinfo *err);
/* An operator knows that it is the project's: proved without a look at its records. */
must_check enum err decide_vouch_domain(const struct decide *d, struct id domain_id, struct event_list *out,
                                        struct errinfo *err);
must_check enum err decide_detach_domain(const struct decide *d, struct id domain_id, struct event_list *out,
                                         struct errinfo *err);

/* project_id none: of event-sourced applications, by their secretRefs. */
must_check enum err decide_set_secret(const struct decide *d, struct id project_id, struct str name,
                                      struct str sealed_value, struct event_list *out, struct id *ret_id,
                                      struct errinfo *err);
must_check enum err decide_unset_secret(const struct decide *d, struct id project_id, struct str name,
                                        struct event_list *out, struct errinfo *err);

must_check enum err decide_create_user(const struct decide *d, struct str identity, struct str sealed_name,
                                       struct str sealed_email, struct event_list *out, struct id *ret_id,
                                       struct errinfo *err);
must_check enum err decide_join_waitlist(const struct decide *d, struct str identity, struct str sealed_email,
                                         struct event_list *out, struct id *ret_id, struct errinfo *err);
/* A user or a place in the waitlist. The caller deletes the subject's key. */
must_check enum err decide_erase_subject(const struct decide *d, struct id subject_id, struct event_list *out,
                                         struct errinfo *err);

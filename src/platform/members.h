#pragma once
/* platform/members.h - what the objects of a model are made of: one table a type, which the snapshot's encoder and
 * decoder, model_hash, trials, and the freeing of objects all read. A member that is left out of its table is found by
 * test_snapshot: every_byte_is_described.
 * Layer: platform. Pure. */
#include "platform/model.h"

enum member_kind {
    MEMBER_ID,    /* struct id */
    MEMBER_U64,   /* uint64_t */
    MEMBER_I64,   /* int64_t */
    MEMBER_U32,   /* uint32_t */
    MEMBER_U8,    /* uint8_t */
    MEMBER_BOOL,  /* bool */
    MEMBER_ENUM,  /* of 1 or 4 bytes, less than max */
    MEMBER_SEQ,   /* uint64_t: a position in the log, not behind the model's */
    MEMBER_TEXT,  /* const char *: a counted text */
    MEMBER_TEXTS, /* struct text_list */
    MEMBER_IDS,   /* struct id_list */
    MEMBER_REF,   /* pointer to another object of the model; NULL unless is_required */
    MEMBER_ARRAY, /* pointer to structs that `of` describes; their number is a uint32_t at count_offset, at most max */
    /* What follows is not encoded. */
    MEMBER_INDEX,   /* struct id_index: the objects that refer to this one by a MEMBER_REF with this back_offset */
    MEMBER_OBJECTS, /* struct id_index of the model itself: all objects of a type, which it owns */
    MEMBER_DERIVED, /* plain bytes that follow from the other members: `derive` of the table */
    MEMBER_OUTSIDE, /* not what was folded: the texts themselves, a journal */
};

struct members;
struct member {
    const char *name;
    uint16_t offset, size;
    enum member_kind kind;
    bool is_required;         /* REF */
    uint32_t max;             /* ENUM, ARRAY */
    uint16_t count_offset;    /* ARRAY */
    uint16_t back_offset;     /* REF: of the target's MEMBER_INDEX; 0: it has none */
    const struct members *of; /* REF, ARRAY, OBJECTS */
};

struct members {
    const char *name;
    size_t size; /* of the struct */
    const struct member *items;
    size_t n;
    /* Fill in the derived members. False: the others do not belong together. NULL: there are none. */
    bool (*derive)(void *object);
};

/* struct model itself: its MEMBER_OBJECTS are all types of objects, those that are referred to before those that refer
 * to them where that is possible. */
extern const struct members MEMBERS_model;
extern const struct members MEMBERS_instance_history, MEMBERS_gone_instance, MEMBERS_tombstone;

static inline void *member_at(const struct member *m, void *object)
{
    return (char *)object + m->offset;
}
static inline const void *member_in(const struct member *m, const void *object)
{
    return (const char *)object + m->offset;
}

/* Texts of a new object: "". */
void members_init(const struct members *members, void *object);
/* Free the arrays of an object, and its texts if `texts` is not NULL; not the object. */
void members_done(struct journal *j, struct texts *texts, const struct members *members, void *object);

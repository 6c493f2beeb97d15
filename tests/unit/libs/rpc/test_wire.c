/* Texts with a NUL byte, found in a message's bytes before protobuf-c makes C strings of them. */
#include "libs/base/id.h"
#include "libs/rpc/internal.h"
#include "tests/unit/harness.h"

#include "tollgate/v1/inference.pb-c.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int check(tg_str bytes, tg_error *err)
{
    *err = (tg_error){""};
    return tg_rpc_wire_check_texts(&tollgate__v1__generate_request__descriptor, bytes, err);
}

static void refused(tg_str bytes, const char *why)
{
    tg_error err;
    CU_ASSERT_EQUAL(check(bytes, &err), -EINVAL);
    CU_ASSERT_STRING_EQUAL(err.text, why);
}

static void accepted(tg_str bytes)
{
    tg_error err;
    CU_ASSERT_EQUAL(check(bytes, &err), 0);
    CU_ASSERT_STRING_EQUAL(err.text, "");
}

/* What it is for: without the check a reader sees "a". */
static void test_protobuf_c_cuts(void)
{
    Tollgate__V1__GenerateRequest *m =
        tollgate__v1__generate_request__unpack(NULL, 5,
                                               (const uint8_t *)"\x12\x03"
                                                                "a\0b");
    CU_ASSERT_PTR_NOT_NULL_FATAL(m);
    CU_ASSERT_STRING_EQUAL(m->text, "a");
    tollgate__v1__generate_request__free_unpacked(m, NULL);
}

static void test_texts(void)
{
    refused(TG_STR("\x12\x03" "a\0b"), "text: a text must not hold a NUL byte");
    refused(TG_STR("\x12\x01\0"), "text: a text must not hold a NUL byte");
    refused(TG_STR("\x12\x01" "a\x12\x02" "b\0"), "text: a text must not hold a NUL byte");
    accepted(TG_STR("\x12\x01" "a"));
    accepted(TG_STR("\x12\x00")); /* an empty one: the zero is its length */
    accepted(TG_STR(""));
}

static void test_places_are_named(void)
{
    refused(TG_STR("\x3a\x01"
                   "a\x12\x01"
                   "t\x3a\x00\x3a\x02"
                   "b\0"),
            "stop[2]: a text must not hold a NUL byte");
    /* messages { messages { role: "a" } messages { content: "x\0" } } */
    refused(TG_STR("\x0a\x0b\x0a\x03\x0a\x01" "a\x0a\x04\x12\x02" "x\0"),
            "messages: messages[1]: content: a text must not hold a NUL byte");
    refused(TG_STR("\x92\x01\x05\x22\x03\x0a\x01\0"),
            "constraint: choice: values[0]: a text must not hold a NUL byte");
}

static void test_zeros_elsewhere(void)
{
    accepted(TG_STR("\x2a\x05\x0d\x00\x00\x80\x3f\x12\x01" "a")); /* sampling { temperature: 1 } */
    accepted(TG_STR("\x1a\x04\x0a\x02\x00\x01"));                 /* tokens { ids: 0, 1 } */
    accepted(TG_STR("\x58\x00\xfa\x7f\x01\0")); /* attempt: 0, and an unknown field */
    /* a known number as fixed64: unpacking refuses it */
    accepted(TG_STR("\x09\0\0\0\0\0\0\0\0\x12\x01" "a"));
}

/* An allocator whose blocks know their sizes: a text's is one more than the bytes that it was made
 * of. */
static void *sized_alloc(void *user, size_t size)
{
    size_t *block = malloc(sizeof *block + size);
    (void)user;
    if (block)
        *block = size;
    return block ? block + 1 : NULL;
}

static void sized_free(void *user, void *pointer)
{
    (void)user;
    if (pointer)
        free((size_t *)pointer - 1);
}

/* Whatever the bytes are: what protobuf-c reads from them is refused where it cuts a text, and
 * there only. */
static void test_random_bytes(void)
{
    static const uint8_t of[] = {0, 0, 0x0a, 0x0a, 0x12, 0x09, 0x80, 0x81, 1, 2, 3, 'a'};
    ProtobufCAllocator allocator = {sized_alloc, sized_free, NULL};
    uint64_t random = tg_test_seed();
    unsigned kept = 0, cuts = 0;
    for (size_t round = 0; round < tg_test_rounds(500000); round++) {
        uint8_t bytes[16];
        tg_error err = {""};
        const size_t len = 1 + tg_random_next(&random) % sizeof bytes;
        bool cut = false;
        for (size_t i = 0; i < len; i++)
            bytes[i] = of[tg_random_next(&random) % sizeof of];
        Tollgate__V1__StringList *m = tollgate__v1__string_list__unpack(&allocator, len, bytes);
        if (!m)
            continue;
        for (size_t i = 0; i < m->n_values; i++)
            cut |= strlen(m->values[i]) + 1 < ((size_t *)m->values[i])[-1];
        const int rc =
            tg_rpc_wire_check_texts(m->base.descriptor, (tg_str){(const char *)bytes, len}, &err);
        CU_ASSERT_EQUAL(rc, cut ? -EINVAL : 0);
        kept += !cut && m->n_values > 0;
        cuts += cut;
        tollgate__v1__string_list__free_unpacked(m, &allocator);
    }
    CU_ASSERT_TRUE(kept > 1000 && cuts > 1000);
}

static const tg_test tests[] = {
    {"protobuf_c_cuts", test_protobuf_c_cuts},
    {"texts", test_texts},
    {"places_are_named", test_places_are_named},
    {"zeros_elsewhere", test_zeros_elsewhere},
    {"random_bytes", test_random_bytes},
};
TG_TEST_MAIN("libs_rpc_wire", tests)

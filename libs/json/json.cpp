/* The reader behind json.h. simdjson parses into its tape, an array of 64-bit words documented by
 * that library: the type in the top 8 bits, a payload in the lower 56. A tg_json is an index into
 * the tape, so lookups allocate nothing. What simdjson does not check (repeated keys, depth, halves
 * of surrogate pairs) is checked here, once, before any value is handed out. */
#define SIMDJSON_EXCEPTIONS 0
extern "C" { /* the base headers are plain C */
#include "libs/json/json.h"
#include "libs/base/id.h"
#include "libs/json/json_check.h"
}

#include <cerrno>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <new>
#include <simdjson.h>

namespace
{

constexpr uint64_t PAYLOAD_MASK = (UINT64_C(1) << 56) - 1;
constexpr uint32_t COUNT_SATURATED = 0xFFFFFF;
constexpr size_t PAIRWISE_MAX = 16;                  /* members compared each with each */
constexpr size_t TABLE_SLOTS = 2 * TG_JSON_KEYS_MAX; /* a power of two */
constexpr size_t KEEP_BYTES = (size_t)1 << 20;       /* parser memory kept between documents */

} // namespace

struct tg_json_doc {
    simdjson::dom::parser *parser;
    const uint64_t *tape; /* NULL while there is no valid document */
    const uint8_t *strings;
    uint64_t hash_seed; /* so that nobody can choose keys that collide */
    uint32_t *table;    /* TABLE_SLOTS tape indexes; made when the first large object comes */
};

namespace
{

inline char tape_type(uint64_t word) { return (char)(word >> 56); }
inline uint64_t tape_payload(uint64_t word) { return word & PAYLOAD_MASK; }

tg_str tape_string(const tg_json_doc *doc, uint64_t word)
{
    const uint8_t *at = doc->strings + tape_payload(word);
    uint32_t len;
    memcpy(&len, at, sizeof len);
    return tg_str{(const char *)at + sizeof len, len};
}

/* The index after the value at `at`. */
size_t tape_after(const tg_json_doc *doc, size_t at)
{
    uint64_t word = doc->tape[at];
    switch (tape_type(word)) {
    case '[':
    case '{':
        return (uint32_t)word;
    case 'l':
    case 'u':
    case 'd':
        return at + 2;
    default:
        return at + 1;
    }
}

uint32_t tape_count(uint64_t word) { return (uint32_t)(word >> 32) & COUNT_SATURATED; }

uint64_t hash_key(uint64_t seed, tg_str key)
{
    uint64_t hash = seed ^ (key.len * UINT64_C(0x9E3779B97F4A7C15));
    for (size_t i = 0; i < key.len; i += 8) {
        uint64_t word = 0;
        memcpy(&word, key.data + i, key.len - i < 8 ? key.len - i : 8);
        unsigned __int128 wide = (unsigned __int128)(hash ^ word) * UINT64_C(0xD6E8FEB86659FD93);
        hash = (uint64_t)wide ^ (uint64_t)(wide >> 64) ^ seed;
    }
    return hash;
}

/* Each gives the tape index of a key that repeats an earlier one, or 0. */
size_t repeated_small(const tg_json_doc *doc, size_t at, size_t end)
{
    tg_str seen[PAIRWISE_MAX];
    size_t count = 0;
    for (; at < end; at = tape_after(doc, at + 1)) {
        tg_str key = tape_string(doc, doc->tape[at]);
        for (size_t i = 0; i < count; i++)
            if (seen[i].len == key.len && memcmp(seen[i].data, key.data, key.len) == 0)
                return at;
        seen[count++] = key;
    }
    return 0;
}

size_t repeated_large(const tg_json_doc *doc, size_t at, size_t end, size_t count)
{
    size_t slots = 64;
    while (slots < 2 * count)
        slots *= 2;
    memset(doc->table, 0, slots * sizeof *doc->table);
    for (; at < end; at = tape_after(doc, at + 1)) {
        tg_str key = tape_string(doc, doc->tape[at]);
        size_t slot = hash_key(doc->hash_seed, key) & (slots - 1);
        for (; doc->table[slot]; slot = (slot + 1) & (slots - 1)) {
            tg_str other = tape_string(doc, doc->tape[doc->table[slot]]);
            if (other.len == key.len && memcmp(other.data, key.data, key.len) == 0)
                return at;
        }
        doc->table[slot] = (uint32_t)at;
    }
    return 0;
}

/* Where the string of that tape index stands in the text: the nth string of one is the nth of the
 * other. */
size_t string_position(const tg_json_doc *doc, size_t index, tg_str text)
{
    size_t nth = 0;
    for (size_t at = 1; at < index;) {
        char type = tape_type(doc->tape[at]);
        nth += type == '"';
        at += type == 'l' || type == 'u' || type == 'd' ? 2 : 1;
    }
    return tg_json_nth_string(text, nth);
}

int check_object(tg_json_doc *doc, size_t at, tg_str text, tg_error *err)
{
    uint64_t word = doc->tape[at];
    size_t count = tape_count(word), end = (uint32_t)word - 1, repeated = 0;
    if (count > TG_JSON_KEYS_MAX)
        return tg_json_error(err, text, string_position(doc, at + 1, text),
                             "an object has more than 4096 members");
    if (count > PAIRWISE_MAX && !doc->table) {
        doc->table = (uint32_t *)calloc(TABLE_SLOTS, sizeof *doc->table);
        if (!doc->table)
            return tg_error_set(err, -ENOMEM, "out of memory");
    }
    repeated = count > PAIRWISE_MAX ? repeated_large(doc, at + 1, end, count)
                                    : repeated_small(doc, at + 1, end);
    if (!repeated)
        return 0;
    return tg_json_error(err, text, string_position(doc, repeated, text),
                         "this key was already given in the same object");
}

int check_tape(tg_json_doc *doc, tg_str text, tg_error *err)
{
    size_t depth = 0, end = (size_t)tape_payload(doc->tape[0]) - 1;
    static_assert(TG_JSON_KEYS_MAX == 4096 && TG_JSON_DEPTH_MAX == 64, "the messages say so");
    for (size_t at = 1; at < end; at++) {
        char type = tape_type(doc->tape[at]);
        if (type == '{' || type == '[') {
            if (++depth > TG_JSON_DEPTH_MAX) {
                tg_json_check(text, err); /* for the position */
                return tg_error_set(err, -EINVAL, "nested deeper than 64 levels");
            }
            int rc = type == '{' ? check_object(doc, at, text, err) : 0;
            if (rc < 0)
                return rc;
        } else if (type == '}' || type == ']') {
            depth--;
        } else if (type == 'l' || type == 'u' || type == 'd') {
            at++;
        }
    }
    return 0;
}

/* Gives back the memory of an unusually large document once a small one comes. */
int fit_parser(tg_json_doc *doc, size_t len)
{
    if (doc->parser && doc->parser->capacity() > KEEP_BYTES && len <= KEEP_BYTES) {
        delete doc->parser;
        doc->parser = nullptr;
    }
    if (!doc->parser)
        doc->parser = new (std::nothrow) simdjson::dom::parser();
    return doc->parser ? 0 : -ENOMEM;
}

inline const tg_json_doc *doc_of(tg_json value) { return (const tg_json_doc *)value.doc; }

inline uint64_t word_of(tg_json value)
{
    const tg_json_doc *doc = doc_of(value);
    return doc && doc->tape ? doc->tape[value.at] : 0;
}

} // namespace

extern "C" {

tg_json_doc *tg_json_doc_new(void)
{
    tg_json_doc *doc = (tg_json_doc *)calloc(1, sizeof *doc);
    if (doc)
        tg_random_bytes(&doc->hash_seed, sizeof doc->hash_seed);
    return doc;
}

tg_json_doc *tg_json_doc_free(tg_json_doc *doc)
{
    if (doc) {
        delete doc->parser;
        free(doc->table);
        free(doc);
    }
    return nullptr;
}

int tg_json_parse(tg_json_doc *doc, tg_str text, size_t size_max, tg_error *err, tg_json *ret_root)
{
    doc->tape = nullptr;
    if (text.len > size_max || text.len >= UINT32_MAX)
        return tg_error_set(err, -E2BIG, "JSON of %zu bytes; at most %zu are allowed", text.len,
                            size_max);
    if (text.len == 0)
        return tg_error_set(err, -EINVAL, "line 1, column 1: the JSON text is empty");
    if (text.len >= 3 && memcmp(text.data, "\xEF\xBB\xBF", 3) == 0)
        return tg_json_check(text, err); /* simdjson 3 passes over a byte order mark; JSON has none */
    if (fit_parser(doc, text.len) < 0)
        return tg_error_set(err, -ENOMEM, "out of memory");
    simdjson::error_code error = doc->parser->parse(text.data, text.len, true).error();
    if (error == simdjson::MEMALLOC)
        return tg_error_set(err, -ENOMEM, "out of memory");
    if (error) {
        tg_json_check(text, err); /* the reason and the position */
        return tg_error_set(err, -EINVAL, "not valid JSON: %s", simdjson::error_message(error));
    }
    int rc = tg_json_check_escapes(text, err);
    if (rc < 0)
        return rc;
    doc->tape = doc->parser->doc.tape.get();
    doc->strings = doc->parser->doc.string_buf.get();
    rc = check_tape(doc, text, err);
    if (rc < 0) {
        doc->tape = nullptr;
        return rc;
    }
    *ret_root = tg_json{doc, 1};
    return 0;
}

tg_json_type tg_json_type_of(tg_json value)
{
    switch (tape_type(word_of(value))) {
    case '{':
        return TG_JSON_OBJECT;
    case '[':
        return TG_JSON_ARRAY;
    case '"':
        return TG_JSON_STRING;
    case 'l':
    case 'u':
    case 'd':
        return TG_JSON_NUMBER;
    case 't':
    case 'f':
        return TG_JSON_BOOL;
    case 'n':
        return TG_JSON_NULL;
    default:
        return TG_JSON_NONE;
    }
}

static tg_json get_str(tg_json object, tg_str key)
{
    const tg_json_doc *doc = doc_of(object);
    uint64_t word = word_of(object);
    if (tape_type(word) != '{')
        return tg_json{nullptr, 0};
    size_t end = (uint32_t)word - 1;
    for (size_t at = object.at + 1; at < end; at = tape_after(doc, at + 1)) {
        tg_str name = tape_string(doc, doc->tape[at]);
        if (name.len == key.len && memcmp(name.data, key.data, key.len) == 0)
            return tg_json{doc, at + 1};
    }
    return tg_json{nullptr, 0};
}

tg_json tg_json_get(tg_json object, const char *key) { return get_str(object, tg_str_of(key)); }

tg_json tg_json_path(tg_json object, const char *dotted)
{
    for (;;) {
        size_t len = strcspn(dotted, ".");
        object = get_str(object, tg_str{dotted, len});
        if (dotted[len] == '\0')
            return object;
        dotted += len + 1;
    }
}

size_t tg_json_count(tg_json container)
{
    const tg_json_doc *doc = doc_of(container);
    uint64_t word = word_of(container);
    if (tape_type(word) != '{' && tape_type(word) != '[')
        return 0;
    size_t count = tape_count(word);
    if (count < COUNT_SATURATED)
        return count;
    count = 0; /* only an array can be this long */
    for (size_t at = container.at + 1, end = (uint32_t)word - 1; at < end; at = tape_after(doc, at))
        count++;
    return count;
}

tg_json tg_json_at(tg_json array, size_t index)
{
    if (tg_json_type_of(array) == TG_JSON_ARRAY) {
        tg_json_iter it = tg_json_iterate(array);
        while (tg_json_next(&it))
            if (index-- == 0)
                return it.value;
    }
    return tg_json{nullptr, 0};
}

int tg_json_bool(tg_json value, bool *ret)
{
    char type = tape_type(word_of(value));
    if (type != 't' && type != 'f')
        return -EINVAL;
    *ret = type == 't';
    return 0;
}

static double number_f64(tg_json value)
{
    double number;
    memcpy(&number, &doc_of(value)->tape[value.at + 1], sizeof number);
    return number;
}

int tg_json_u64(tg_json value, uint64_t *ret)
{
    switch (tape_type(word_of(value))) {
    case 'u':
        *ret = doc_of(value)->tape[value.at + 1];
        return 0;
    case 'l':
        if ((int64_t)doc_of(value)->tape[value.at + 1] < 0)
            return -EINVAL;
        *ret = doc_of(value)->tape[value.at + 1];
        return 0;
    case 'd': {
        double number = number_f64(value);
        if (!(number >= 0 && number < 0x1p64) || number != std::floor(number))
            return -EINVAL;
        *ret = (uint64_t)number;
        return 0;
    }
    default:
        return -EINVAL;
    }
}

int tg_json_i64(tg_json value, int64_t *ret)
{
    switch (tape_type(word_of(value))) {
    case 'l':
        *ret = (int64_t)doc_of(value)->tape[value.at + 1];
        return 0;
    case 'd': {
        double number = number_f64(value);
        if (!(number >= -0x1p63 && number < 0x1p63) || number != std::floor(number))
            return -EINVAL;
        *ret = (int64_t)number;
        return 0;
    }
    default: /* 'u' holds only what exceeds int64 */
        return -EINVAL;
    }
}

int tg_json_f64(tg_json value, double *ret)
{
    switch (tape_type(word_of(value))) {
    case 'l':
        *ret = (double)(int64_t)doc_of(value)->tape[value.at + 1];
        return 0;
    case 'u':
        *ret = (double)doc_of(value)->tape[value.at + 1];
        return 0;
    case 'd':
        *ret = number_f64(value);
        return 0;
    default:
        return -EINVAL;
    }
}

int tg_json_str(tg_json value, tg_str *ret)
{
    uint64_t word = word_of(value);
    if (tape_type(word) != '"')
        return -EINVAL;
    *ret = tape_string(doc_of(value), word);
    return 0;
}

tg_json_iter tg_json_iterate(tg_json container)
{
    tg_json_iter iter = {};
    uint64_t word = word_of(container);
    if (tape_type(word) == '{' || tape_type(word) == '[') {
        iter.doc = container.doc;
        iter.at = container.at + 1;
        iter.end = (uint32_t)word - 1;
        iter.object = tape_type(word) == '{';
    }
    return iter;
}

bool tg_json_next(tg_json_iter *iter)
{
    if (iter->at >= iter->end)
        return false;
    const tg_json_doc *doc = (const tg_json_doc *)iter->doc;
    size_t at = iter->at;
    if (iter->object)
        iter->key = tape_string(doc, doc->tape[at++]);
    iter->value = tg_json{doc, at};
    iter->at = tape_after(doc, at);
    return true;
}

bool tg_json_is_integer(tg_json value)
{
    char type = tape_type(word_of(value));
    return type == 'l' || type == 'u';
}

} // extern "C"

/* Numbers within bounds: decimal texts, compared digit by digit, so that nothing is rounded. */
#include "services/inference/constrain/schema_inside.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* digits of an integer; of a number as a schema may write it, the exponent worked in */
enum { WHOLE = 18, PLACES = 40 };

/* Digits without a leading zero but "0", and digits behind the point without a trailing one. */
typedef struct decimal {
    bool negative;
    char whole[PLACES + 1], fraction[PLACES + 1];
} decimal;

/* False: too many digits. */
static bool read_decimal(tg_str text, decimal *ret)
{
    char digits[2 * PLACES + 1];
    size_t len = 0, at = 0, point = 0;
    bool seen_point = false;
    *ret = (decimal){.negative = text.len > 0 && text.data[0] == '-'};
    for (at = ret->negative; at < text.len && text.data[at] != 'e' && text.data[at] != 'E'; at++) {
        if (text.data[at] == '.') {
            seen_point = true;
            continue;
        }
        if (len == PLACES)
            return false;
        digits[len++] = text.data[at];
        point += !seen_point;
    }
    long exponent = 0;
    if (at < text.len) {
        char written[16];
        if (!tg_str_copy(written, sizeof(written), (tg_str){text.data + at + 1, text.len - at - 1}))
            return false;
        exponent = strtol(written, NULL, 10);
    }
    if (exponent < -PLACES || exponent > PLACES)
        return false;
    const long whole = (long)point + exponent; /* so many of the digits stand before the point */
    size_t wholes = 0, fractions = 0;
    for (long i = whole < 0 ? whole : 0; i < (long)len || i < whole; i++) {
        const char digit = i < 0 || i >= (long)len ? '0' : digits[i];
        if (i < whole && (wholes > 0 || digit != '0')) {
            if (wholes == PLACES)
                return false;
            ret->whole[wholes++] = digit;
        } else if (i >= whole) {
            if (fractions == PLACES)
                return false;
            ret->fraction[fractions++] = digit;
        }
    }
    if (wholes == 0)
        ret->whole[0] = '0';
    while (fractions > 0 && ret->fraction[fractions - 1] == '0')
        ret->fraction[--fractions] = '\0';
    ret->negative &= wholes > 0 || fractions > 0;
    return true;
}

/* ---- automata over the text of a number; what else it must look like is not theirs to say ---- */

enum { SIGN = 1, BEFORE_POINT, BEHIND_POINT };
enum { EQUAL, LESS, MORE };

static void number_classes(uint8_t class_of[256])
{
    memset(class_of, 0, 256);
    for (uint8_t i = 0; i < 10; i++)
        class_of['0' + i] = (uint8_t)(i + 1);
    class_of['-'] = 11;
    class_of['.'] = 12;
}

typedef struct compared { /* a state: how far the text is, and how its digits so far stand to the
                             bound's */
    uint32_t phase, negative, order, at;
} compared;

static uint64_t pack(compared s)
{
    return (uint64_t)s.at << 16 | s.order << 8 | s.negative << 4 | s.phase;
}
static compared unpack(uint64_t s)
{
    return (compared){(uint32_t)(s & 15), (uint32_t)(s >> 4 & 15), (uint32_t)(s >> 8 & 255),
                      (uint32_t)(s >> 16)};
}

typedef struct bound {
    decimal value;
    size_t whole, fraction; /* digits */
    bool least, open;       /* a minimum, or a maximum; itself not allowed */
} bound;

static uint32_t order_of(char digit, char other)
{
    return digit < other ? LESS : digit > other ? MORE : EQUAL;
}

/* Of two whole numbers the one of more digits is more. */
static uint32_t whole_order(const bound *b, compared s)
{
    return s.at < b->whole ? LESS : s.at > b->whole ? MORE : s.order;
}

static uint64_t step_bound(const void *user, uint64_t state, uint8_t byte)
{
    const bound *b = user;
    compared s = unpack(state);
    if (byte == '-')
        return s.phase == SIGN && !s.negative ? pack((compared){SIGN, 1, EQUAL, 0}) : 0;
    if (byte == '.')
        return s.phase == BEFORE_POINT
                   ? pack((compared){BEHIND_POINT, s.negative, whole_order(b, s), 0})
                   : 0;
    if (byte < '0' || byte > '9')
        return 0;
    if (s.phase == BEHIND_POINT) {
        if (s.order == EQUAL)
            s.order = order_of((char)byte, s.at < b->fraction ? b->value.fraction[s.at] : '0');
        s.at += s.at < b->fraction;
        return pack(s);
    }
    s.phase = BEFORE_POINT;
    if (s.order == EQUAL && s.at < b->whole)
        s.order = order_of((char)byte, b->value.whole[s.at]);
    s.at += s.at <= b->whole;
    return pack(s);
}

static bool accepts_bound(const void *user, uint64_t state)
{
    const bound *b = user;
    const compared s = unpack(state);
    if (s.phase == SIGN)
        return false;
    uint32_t order = s.phase == BEFORE_POINT ? whole_order(b, s) : s.order;
    if (order == EQUAL && (s.phase == BEFORE_POINT ? 0 : s.at) < b->fraction)
        order = LESS; /* of the bound's digits the last one is no zero */
    const bool zero = order == EQUAL && b->fraction == 0 && strcmp(b->value.whole, "0") == 0;
    if (!zero && s.negative != b->value.negative)
        order = s.negative ? LESS : MORE;
    else if (!zero && s.negative && order != EQUAL)
        order = order == LESS ? MORE : LESS;
    return order == EQUAL ? !b->open : order == (b->least ? MORE : LESS);
}

typedef struct multiple { /* of factor / 10^places */
    uint32_t factor, places;
} multiple;

static uint64_t step_multiple(const void *user, uint64_t state, uint8_t byte)
{
    const multiple *m = user;
    const uint32_t phase = (uint32_t)(state & 15), places = (uint32_t)(state >> 4 & 255);
    if (byte == '-')
        return phase == SIGN ? state : 0;
    if (byte == '.')
        return phase == BEFORE_POINT ? (state & ~(uint64_t)15) | BEHIND_POINT : 0;
    if (byte < '0' || byte > '9' || (phase == BEHIND_POINT && places == m->places))
        return 0;
    const uint64_t rest = ((state >> 16) * 10 + byte - '0') % m->factor;
    return rest << 16 | (uint64_t)(places + (phase == BEHIND_POINT)) << 4 |
           (phase == SIGN ? BEFORE_POINT : phase);
}

static bool accepts_multiple(const void *user, uint64_t state)
{
    const multiple *m = user;
    uint64_t rest = state >> 16;
    for (uint32_t i = (uint32_t)(state >> 4 & 255); i < m->places; i++)
        rest = rest * 10 % m->factor;
    return rest == 0 && (state & 15) != SIGN;
}

/* ---- a schema's ---- */

static const char *const keywords[] = {"minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum",
                                       "multipleOf"};
enum { BOUNDS = 4, KEYWORDS = 5 };

static int also(const tg_schema_compiler *c, const tg_dfa_rule *rule, tg_dfa **dfa)
{
    tg_dfa *one = NULL, *both = NULL;
    int rc = tg_dfa_explore(rule, c->err, &one);
    if (rc == 0)
        rc = tg_dfa_both(*dfa, one, c->err, &both);
    tg_dfa_free(one);
    if (rc < 0)
        return rc;
    tg_dfa_free(*dfa);
    *dfa = both;
    return 0;
}

static int restrict_by(const tg_schema_compiler *c, const tg_json_node *n, size_t which,
                       tg_dfa **dfa)
{
    uint8_t class_of[256];
    bound b = {.least = which < 2, .open = which % 2 == 1};
    number_classes(class_of);
    if (!read_decimal(n->text, &b.value))
        return tg_schema_refuse(c, n, -ENOTSUP, "has too many digits");
    b.whole = strlen(b.value.whole);
    b.fraction = strlen(b.value.fraction);
    if (which < BOUNDS)
        return also(c,
                    &(tg_dfa_rule){step_bound, accepts_bound, &b,
                                   pack((compared){SIGN, 0, EQUAL, 0}), class_of, NULL},
                    dfa);
    char digits[2 * PLACES + 1];
    snprintf(digits, sizeof(digits), "%s%s", b.value.whole, b.value.fraction);
    const double factor = strtod(digits, NULL);
    if (b.value.negative || factor <= 0 || factor > TG_SCHEMA_MULTIPLE_MAX) {
        char why[96];
        snprintf(why, sizeof(why),
                 "must be above 0, and at most %d when its decimal point is left out",
                 TG_SCHEMA_MULTIPLE_MAX);
        return tg_schema_refuse(c, n, -ENOTSUP, why);
    }
    const multiple m = {(uint32_t)factor, (uint32_t)b.fraction};
    return also(c, &(tg_dfa_rule){step_multiple, accepts_multiple, &m, SIGN, class_of, NULL}, dfa);
}

/* How many digits may stand behind the point, so that numbers are told apart near the bounds by
 * whoever reads them as doubles. */
static int fraction_digits(const tg_schema_compiler *c, const tg_conjunction *k, bool integer,
                           size_t *ret)
{
    const tg_json_node *at = NULL;
    size_t whole = 1, fraction = 0, steps = TG_SCHEMA_DIGITS_MAX;
    for (uint32_t i = 0; i < k->len; i++) {
        for (size_t w = 0; w < KEYWORDS; w++) {
            const tg_json_node *n = tg_json_tree_get(k->parts[i].node, keywords[w]);
            decimal d;
            if (!n)
                continue;
            if (n->kind != TG_JSON_NUMBER)
                return tg_schema_refuse(c, n, -EINVAL, "must be a number");
            if (!read_decimal(n->text, &d) || strlen(d.whole) > WHOLE || strlen(d.fraction) > WHOLE)
                return tg_schema_refuse(c, n, -ENOTSUP, "has too many digits");
            if (w == BOUNDS) {
                steps = strlen(d.fraction) < steps ? strlen(d.fraction) : steps;
                continue;
            }
            at = n;
            whole = strlen(d.whole) > whole ? strlen(d.whole) : whole;
            fraction = strlen(d.fraction) > fraction ? strlen(d.fraction) : fraction;
        }
    }
    if (!integer && at && whole + fraction > TG_SCHEMA_DIGITS_MAX)
        return tg_schema_refuse(c, at, -ENOTSUP,
                                "and the other bounds come to more digits before and behind the "
                                "point than the 15 allowed");
    *ret = integer || whole >= TG_SCHEMA_DIGITS_MAX ? 0 : TG_SCHEMA_DIGITS_MAX - whole;
    *ret = steps < *ret ? steps : *ret;
    return 0;
}

int tg_schema_bounded_number(tg_schema_compiler *c, const tg_conjunction *k, bool integer,
                             tg_dfa **ret)
{
    char pattern[80];
    const tg_regex *regex = NULL;
    tg_dfa *dfa = NULL;
    size_t behind = 0;
    int rc = fraction_digits(c, k, integer, &behind);
    if (rc < 0)
        return rc;
    int len = snprintf(pattern, sizeof(pattern), "-?(0|[1-9][0-9]{0,%d})", WHOLE - 1);
    if (behind > 0)
        snprintf(pattern + len, sizeof(pattern) - (size_t)len, "(\\.[0-9]{1,%zu})?", behind);
    rc = tg_regex_parse(tg_str_of(pattern), true, c->arena, c->err, &regex);
    if (rc == 0)
        rc = tg_dfa_from_regex(regex, c->err, &dfa);
    for (uint32_t i = 0; i < k->len; i++) {
        for (size_t w = 0; w < KEYWORDS && rc == 0; w++) {
            const tg_json_node *n = tg_json_tree_get(k->parts[i].node, keywords[w]);
            rc = n ? restrict_by(c, n, w, &dfa) : 0;
            if (rc < 0)
                tg_schema_refuse(c, n, rc, NULL);
        }
    }
    if (rc < 0)
        tg_dfa_free(dfa);
    else
        *ret = dfa;
    return rc;
}

int tg_schema_number_key(const tg_conjunction *k, bool integer, tg_buf *ret, bool *ret_bounded)
{
    int rc = tg_buf_add_text(ret, integer ? "integer" : "number");
    *ret_bounded = false;
    for (uint32_t i = 0; i < k->len; i++) {
        for (size_t w = 0; w < KEYWORDS && rc == 0; w++) {
            const tg_json_node *n = tg_json_tree_get(k->parts[i].node, keywords[w]);
            if (!n)
                continue;
            *ret_bounded = true;
            rc = tg_buf_printf(ret, " %s " TG_STR_FMT, keywords[w], TG_STR_ARG(n->text));
        }
    }
    return rc;
}

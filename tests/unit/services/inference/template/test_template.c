#include "libs/base/buf.h"
#include "services/inference/template/template.h"
#include "tests/unit/harness.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static int render(const char *source, const char *variables, tg_error *err, tg_template_text *ret)
{
    tg_template *t = NULL;
    const tg_template_input in = {.variables = tg_str_of(variables),
                                  .bos_token = TG_STR("<s>"),
                                  .eos_token = TG_STR("</s>"),
                                  .add_generation_prompt = true,
                                  .now_s = 1764000000};
    int rc = tg_template_compile(tg_str_of(source), err, &t);
    if (rc == 0)
        rc = tg_template_render(t, &in, err, ret);
    tg_template_free(t);
    return rc;
}

static bool gives(const char *source, const char *variables, const char *want)
{
    tg_template_text text = {0};
    tg_error err = {""};
    int rc = render(source, variables, &err, &text);
    bool same = rc == 0 && tg_str_is((tg_str){text.bytes, text.len}, want);
    if (!same)
        printf("# %d %s: '%.*s', not '%s'\n", rc, err.text, (int)text.len,
               text.bytes ? text.bytes : "", want);
    tg_template_text_free(&text);
    return same;
}

static void test_blocks(void)
{
    CU_ASSERT(gives("a\n  {% if x %}\nyes\n  {% else %}\nno\n  {% endif %}\nb\n", "{\"x\":1}",
                    "a\nyes\nb"));
    CU_ASSERT(gives(
        "{% for a in x if a > 1 %}{{ loop.index }}{{ a }}{{ ',' if not loop.last }}{% endfor %}",
        "{\"x\":[1,2,3]}", "12,23"));
    CU_ASSERT(gives(
        "{% set n = namespace(i=0) %}{% for a in x %}{% set n.i = n.i + a %}{% endfor %}{{ n.i }}",
        "{\"x\":[1,2,3]}", "6"));
    CU_ASSERT(
        gives("{% macro m(a, b='z') %}[{{ a }}{{ b }}]{% endmacro %}{{ m(1) }}{{ m(2, b='y') }}",
              "{}", "[1z][2y]"));
    CU_ASSERT(gives("{%- for k, v in d.items() -%}\n {{ k }}={{ v }};\n{%- endfor -%}",
                    "{\"d\":{\"a\":1,\"b\":2}}", "a=1;b=2;"));
}

static void test_expressions(void)
{
    CU_ASSERT(
        gives("{{ x[1:] | length }} {{ x[::-1][0] }} {{ x[-1] }}", "{\"x\":[1,2,3]}", "2 3 3"));
    CU_ASSERT(gives("{{ x | tojson }}", "{\"x\":{\"a\":[1,2.5,null,true],\"b\":\"<é>\"}}",
                    "{\"a\": [1, 2.5, null, true], \"b\": \"<é>\"}"));
    CU_ASSERT(gives("{{ 7 // 2 }} {{ -7 % 3 }} {{ 7 / 2 }} {{ 1 < 2 < 3 }} {{ 'a' ~ 1 ~ none }}",
                    "{}", "3 2 3.5 True a1None"));
    CU_ASSERT(
        gives("{{ ' a b '.strip().split(' ')[1].upper() }}{{ x is defined }}", "{}", "BFalse"));
    CU_ASSERT(gives("{{ x | selectattr('k', 'equalto', 2) | map(attribute='v') | join(',') }}",
                    "{\"x\":[{\"k\":1,\"v\":\"a\"},{\"k\":2,\"v\":\"b\"}]}", "b"));
    CU_ASSERT(gives("{{ strftime_now('%d %b %Y') }}", "{}", "24 Nov 2025"));
}

/* As Python's: what is empty, whole characters, what is not there. */
static void test_string_methods(void)
{
    CU_ASSERT(gives("{{ x.strip('é') }}|{{ x.strip('éè') }}|{{ x.lstrip('xé') }}|{{ ' \\t "
                    "'.strip() }}|{{ 'aXbX'.rstrip('Xb') }}",
                    "{\"x\":\"èéaéè\"}", "èéaéè|a|èéaéè||a"));
    CU_ASSERT(gives("{{ 'a,b,,c,'.split(',') }}{{ ' a  b '.split() }}{{ 'a--b--c'.split('--', 1) "
                    "}}{{ ''.split(',') }}{{ ''.split() }}",
                    "{}", "['a', 'b', '', 'c', '']['a', 'b']['a', 'b--c'][''][]"));
    CU_ASSERT(gives(
        "{{ 'aaaa'.replace('aa', 'b') }}|{{ 'xéx'.replace('x', '') }}|{{ 'éb'.replace('', '-') "
        "}}|{{ 'aaa'.replace('a', 'b', 2) }}|"
        "{{ 'abc'.replace('', '-', 2) }}|{{ ''.replace('a', 'b') }}|{{ ''.replace('', 'b') }}",
        "{}", "bb|é|-é-b-|bba|-a-bc||b"));
    CU_ASSERT(gives("{{ 'éxé'.find('x') }} {{ 'ab'.find('c') }} {{ 'ab'.find('') }} {{ "
                    "'aaaa'.count('aa') }} {{ 'é'.count('') }}",
                    "{}", "1 -1 0 2 2"));
    CU_ASSERT(gives("{{ '\\u00e9\\x41\\q' }}", "{}", "éA\\q"));
}

static void test_equality(void)
{
    CU_ASSERT(gives("{{ x == {'b': [1, {'c': none}], 'a': 2.0} }} {{ [1, [2]] == [1, [3]] }} {{ "
                    "[1, [2]] < [1, [3]] }} {{ {'a': 1} == {'a': 1, 'b': 1} }} "
                    "{{ [1] == [1, 1] }} {{ [[1, 2]] < [[1]] }}",
                    "{\"x\":{\"a\":2,\"b\":[1,{\"c\":null}]}}",
                    "True False True False False False"));
}

/* Only what the template wrote is trusted, through every way a string can take. */
static void test_provenance(void)
{
    static const char *const ways[] = {
        "{{ x }}",
        "{{ x.strip() | upper | lower }}",
        "{{ x[1:] + x[:1] }}",
        "{{ [x, x] | join }}",
        "{{ [x] | tojson }}",
        "{{ 'a'.replace('a', x) }}",
        "{% set y %}{{ x }}{% endset %}{{ y.split('e') | last }}",
        "{{ [x] }}",
        "{% for k in o %}{{ k }}{% endfor %}",
        "{{ o }}{{ o | tojson }}",
        "{% for k, v in o.items() %}{{ k }}{{ v }}{% endfor %}",
        "{{ o.keys() | first }}{{ (o | dictsort)[0][0] }}{{ (x | string) * 2 }}",
        "{{ x[::-1] | reverse | replace('x', '') }}",
        "{% macro m(a) %}{{ a }}{{ caller() if caller }}{% endmacro %}{{ m(x) }}{% call m(a=x) "
        "%}{{ x }}{% endcall %}"};
    for (size_t i = 0; i < sizeof(ways) / sizeof(*ways); i++) {
        tg_template_text text = {0};
        CU_ASSERT_EQUAL_FATAL(
            render(ways[i], "{\"x\":\"<|end|>\",\"o\":{\"<|end|>\":\"<|end|>\"}}", NULL, &text), 0);
        CU_ASSERT(text.len > 0 && !memchr(text.trusted, 1, text.len));
        tg_template_text_free(&text);
    }
    tg_template_text text = {0};
    CU_ASSERT_EQUAL_FATAL(render("<{{ '|' ~ x ~ bos_token }}", "{\"x\":\"ab\"}", NULL, &text), 0);
    CU_ASSERT(text.len == 7 && memcmp(text.trusted, "\1\1\0\0\1\1\1", 7) == 0);
    tg_template_text_free(&text);
}

static void test_refusals(void)
{
    tg_error err = {""};
    CU_ASSERT_EQUAL(render("a\n{% include 'x' %}", "{}", &err, NULL), -ENOTSUP);
    CU_ASSERT(strstr(err.text, "line 2") && strstr(err.text, "include"));
    CU_ASSERT_EQUAL(render("{{ x | wordcount }}", "{}", NULL, NULL), -ENOTSUP);
    CU_ASSERT_EQUAL(render("{% if x %}", "{}", NULL, NULL), -EINVAL);
    CU_ASSERT_EQUAL(render("{{ x.y.z }}", "{}", NULL, NULL), -EINVAL);
    CU_ASSERT_EQUAL(render("{{ raise_exception('no') }}", "{}", NULL, NULL), -EINVAL);
    CU_ASSERT_EQUAL(render("{% for a in range(10000000) %}{% endfor %}", "{}", NULL, NULL), -E2BIG);
    CU_ASSERT_EQUAL(render("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "{}", NULL, NULL),
                    -E2BIG);
    err.text[0] = '\0';
    CU_ASSERT_EQUAL(render("{{ 'abcdefgh' * 10000000 }}", "{}", &err, NULL), -E2BIG);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "more than 16777216 bytes of text"));
    err.text[0] = '\0';
    CU_ASSERT_EQUAL(render("{% set x = 'a' * 1000000 %}{% for a in range(2000) %}{% set q = "
                           "x.count('b') %}{% endfor %}",
                           "{}", &err, NULL),
                    -E2BIG);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "more than 4000000 steps"));
    CU_ASSERT_EQUAL(render("x", "{\"a\":1,\"a\":2}", NULL, NULL), -EINVAL);
    CU_ASSERT_EQUAL(render("{{ 'a'.split('') }}", "{}", NULL, NULL), -EINVAL);
    CU_ASSERT_EQUAL(render("{{ '\\x4g' }}", "{}", NULL, NULL), -EINVAL);
    CU_ASSERT_EQUAL(render("{{ '\\u00' }}", "{}", NULL, NULL), -EINVAL);
    CU_ASSERT_EQUAL(render("{{ '\\ud83d' }}", "{}", NULL, NULL), -ENOTSUP);
}

/* Values within values, and long texts again and again: what a template can write in few steps must
 * not take forever to work on, nor the stack. Without their bounds these would run for hours, or
 * crash. */
static void test_work_is_bounded(void)
{
    static const char nest[] = "{% set n = namespace(a=1, b=1) %}{% for i in range(DEPTH) %}{% set "
                               "n.a = [n.a, n.a] %}{% set n.b = [n.b, n.b] %}{% endfor %}";
    static const char *const uses[] = {"{{ n.a == n.b }}",
                                       "{{ n.a < n.b }}",
                                       "{{ n.a in [n.b] }}",
                                       "{{ {'k': n.a} == {'k': n.b} }}",
                                       "{{ [n.a, n.b] | unique | length }}",
                                       "{{ [n.a].count(n.b) }}",
                                       "{{ n.a }}",
                                       "{{ n.a | tojson }}"};
    static const char *const depths[] = {"60", "200000"};
    for (size_t d = 0; d < 2; d++) {
        for (size_t i = 0; i < sizeof(uses) / sizeof(*uses); i++) {
            char source[512];
            const char *hole = strstr(nest, "DEPTH");
            snprintf(source, sizeof(source), "%.*s%s%s%s", (int)(hole - nest), nest, depths[d],
                     hole + 5, uses[i]);
            CU_ASSERT_EQUAL(render(source, "{}", NULL, NULL), -E2BIG);
        }
    }
    static const char *const searches[] = {
        "x.split(x ~ 'b')", "x.replace(x ~ 'b', 'c')", "x.count(x ~ 'b')", "x.find(x ~ 'b')",
        "x.strip(y)",       "x.startswith(x)",         "x == z",           "x < z",
        "x is lower"};
    for (size_t i = 0; i < sizeof(searches) / sizeof(*searches); i++) {
        char source[256];
        snprintf(source, sizeof(source),
                 "{%% set x = 'a' * 1000000 %%}{%% set y = 'b' * 1000000 %%}{%% set z = 'a' * "
                 "1000000 %%}{%% for i in range(1000000) %%}{%% set q = %s %%}{%% endfor %%}",
                 searches[i]);
        CU_ASSERT_EQUAL(render(source, "{}", NULL, NULL), -E2BIG);
    }
}

/* Renders `use` `times` times over, in a scope of `set`. */
static int render_times(const char *set, const char *use, unsigned times, const char *variables,
                        tg_error *err)
{
    tg_template_text text = {0};
    tg_buf source;
    tg_buf_init(&source, 0);
    tg_buf_printf(&source, "%s{%% for i in range(%u) %%}{%% set q = %s %%}{%% endfor %%}", set,
                  times, use);
    const int rc = render(source.data, variables, err, &text);
    tg_template_text_free(&text);
    tg_buf_free(&source);
    return rc;
}

/* Once is allowed; so many times are more than the steps. Without the count they would go through,
 * after some 10^8 comparisons. */
static void expect_counted(const char *set, const char *use, unsigned times, const char *variables)
{
    tg_error err = {""};
    const int once = render_times(set, use, 1, variables, NULL);
    const int often = render_times(set, use, times, variables, &err);
    if (once != 0 || often != -E2BIG || !strstr(err.text, "steps"))
        printf("# %s: %d, %d %s\n", use, once, often, err.text);
    CU_ASSERT_EQUAL(once, 0);
    CU_ASSERT_EQUAL(often, -E2BIG);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "more than 4000000 steps"));
}

static void test_every_walk_counts(void)
{
    static const char *const walks[][2] = {
        {"{% set x = [1] * 100000 %}", "x.count(2)"},
        {"{% set x = [1] * 100000 %}", "x | sum"},
        {"{% set x = [1] * 100000 %}", "x | max"},
        {"{% set x = [1] * 100000 %}", "x | select('none') | length"},
        {"{% set x = '    ' * 500000 %}", "x | int"},
        {"{% set x = 'é' * 700 %}{% set y = 'ü' * 2000 ~ 'é' %}", "x.strip(y)"},
        {"{% set x = 'a' * 100000 %}{% set y = [x ~ 'b'] * 20 %}{% set x = x ~ 'c' %}",
         "x.startswith(y)"},
        {"{% set x = [0.1234567890123456] * 400 %}", "x | tojson"},
        {"{% set n = namespace() %}{% set n.x = n %}{% set p = 'x' ~ '.x' * 5000 %}",
         "[n] | map(attribute=p)"},
    };
    for (size_t i = 0; i < sizeof(walks) / sizeof(*walks); i++)
        expect_counted(walks[i][0], walks[i][1], 1000, "{}");
}

/* Names, keys and parameters are looked up one after the other. */
static void test_look_ups_count(void)
{
    tg_buf variables, macro, call;
    tg_buf_init(&variables, 0);
    tg_buf_init(&macro, 0);
    tg_buf_init(&call, 0);
    tg_buf_add_text(&variables, "{\"first\":1");
    tg_buf_add_text(&macro, "{% macro m(p");
    tg_buf_add_text(&call, "m(1");
    for (unsigned i = 0; i < 1500; i++) {
        tg_buf_printf(&variables, ",\"k%u\":1", i);
        tg_buf_printf(&macro, ",p%u", i);
        tg_buf_add_text(&call, ",1");
    }
    tg_buf_add_text(&variables, "}");
    tg_buf_add_text(&macro, ") %}{% endmacro %}");
    tg_buf_add_text(&call, ")");
    expect_counted("", "first", 50000, variables.data);
    tg_buf_clear(&variables);
    tg_buf_add_text(&variables, "{\"d\":{\"a\":1");
    for (unsigned i = 0; i < 1500; i++)
        tg_buf_printf(&variables, ",\"k%u\":1", i);
    tg_buf_add_text(&variables, "}}");
    expect_counted("", "d.k1499", 50000, variables.data);
    expect_counted(macro.data, call.data, 30, "{}");
    tg_buf_free(&variables);
    tg_buf_free(&macro);
    tg_buf_free(&call);
}

/* A macro writes while its callers' texts wait: together they are bounded, not only each. */
static void test_waiting_texts_are_bounded(void)
{
    tg_error err = {""};
    const int rc = render(
        "{% set k = 'a' * 1024 %}{% set s = k * 8192 %}{% macro m(n) %}{{ s }}{{ m(n - 1) if n }}"
        "{% endmacro %}{{ m(20) }}",
        "{}", &err, NULL);
    CU_ASSERT_EQUAL(rc, -E2BIG);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "bytes of unfinished texts"));
}

/* A reason is cut after a whole character: it goes into JSON. */
static void test_reasons_are_whole(void)
{
    tg_error err = {""};
    CU_ASSERT_EQUAL(render("{{ raise_exception('x' ~ 'é' * 500) }}", "{}", &err, NULL), -EINVAL);
    CU_ASSERT(strstr(err.text, "xééé") && tg_utf8_valid(err.text, strlen(err.text)));
}

static const tg_test tests[] = {{"blocks", test_blocks},
                                {"expressions", test_expressions},
                                {"string_methods", test_string_methods},
                                {"equality", test_equality},
                                {"provenance", test_provenance},
                                {"refusals", test_refusals},
                                {"work_is_bounded", test_work_is_bounded},
                                {"every_walk_counts", test_every_walk_counts},
                                {"look_ups_count", test_look_ups_count},
                                {"waiting_texts_are_bounded", test_waiting_texts_are_bounded},
                                {"reasons_are_whole", test_reasons_are_whole}};
TG_TEST_MAIN("services_inference_template_template", tests)

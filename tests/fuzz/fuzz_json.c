/* The reader, the writer and the raw scanner on any bytes. Whatever the reader accepts the plain
 * validator accepts too, the writer's text is accepted again, and the raw scanner finds as many
 * members. */
#include "libs/json/json.h"
#include "libs/json/json_check.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
    if (!condition)
        abort();
}

static void check_accepted(tg_str text, tg_json root)
{
    tg_json_doc *again = tg_json_doc_new();
    tg_buf buf;
    tg_buf_init(&buf, 0);
    require(tg_json_check(text, NULL) == 0);
    tg_json_out out = tg_json_out_to(&buf);
    tg_json_out_value(&out, root);
    tg_json second = {NULL, 0};
    require(out.status == 0 &&
            tg_json_parse(again, tg_buf_str(&buf), 64u << 20, NULL, &second) == 0);
    require(tg_json_type_of(root) == tg_json_type_of(second));
    require(tg_json_count(root) == tg_json_count(second));
    if (tg_json_type_of(root) == TG_JSON_OBJECT) {
        size_t at = 0, count = 0;
        for (tg_json_member m; tg_json_raw_next(text, &at, &m);)
            count++;
        require(count == tg_json_count(root));
    }
    tg_buf_free(&buf);
    tg_json_doc_free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static tg_json_doc *doc;
    tg_str text = {(const char *)data, size};
    tg_json root;
    tg_error err = {{0}};
    if (!doc)
        doc = tg_json_doc_new();
    int rc = tg_json_parse(doc, text, 1 << 20, &err, &root);
    if (rc == 0)
        check_accepted(text, root);
    else
        require(err.text[0] != '\0');
    size_t at = 0;
    for (tg_json_member m; tg_json_raw_next(text, &at, &m);)
        (void)tg_json_raw_key_is(m.key_raw, "model");
    return 0;
}

/* Any bytes as a chat template, rendered with a small conversation: refused with a reason, or rendered. */
#include "services/inference/template/template.h"

#include <errno.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const tg_template_message messages[] = {{TG_STR("user"), TG_STR("a b")}, {TG_STR("assistant"), TG_STR("c")}};
    const tg_template_input in = {.messages = messages, .messages_len = 2, .bos_token = TG_STR("<s>"),
                                  .variables = TG_STR("{\"x\":[1,2.5,null,{\"a\":\"b\"}]}")};
    tg_template *t = NULL;
    tg_template_text text = {0};
    tg_error err = {""};
    int rc = tg_template_compile((tg_str){(const char *)data, size}, &err, &t);
    if (rc == 0)
        rc = tg_template_render(t, &in, &err, &text);
    if (rc < 0 && rc != -ENOMEM && err.text[0] == '\0')
        abort();
    tg_template_text_free(&text);
    tg_template_free(t);
    return 0;
}

/* Any bytes as a chat template, rendered with a small conversation: refused with a reason, or
 * rendered. */
#include "services/inference/template/template.h"

#include <errno.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const tg_template_message messages[] = {
        {.role = TG_STR("user"), .content = TG_STR("a b")},
        {.role = TG_STR("assistant"),
         .content = TG_STR("c"),
         .reasoning = TG_STR("r"),
         .tool_calls = TG_STR(
             "[{\"id\":\"1\",\"function\":{\"name\":\"f\",\"arguments\":\"{\\\"a\\\":[1]}\"}}]")},
        {.role = TG_STR("tool"),
         .content = TG_STR("d"),
         .name = TG_STR("f"),
         .tool_call_id = TG_STR("1")}};
    const tg_template_input in = {.messages = messages,
                                  .messages_len = 3,
                                  .tools = TG_STR("[{\"function\":{\"name\":\"f\"}}]"),
                                  .bos_token = TG_STR("<s>"),
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

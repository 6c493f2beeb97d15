/* The forms a single value can have. Internal to libs/config. */
#ifndef TG_CONFIG_SCALAR_H
#define TG_CONFIG_SCALAR_H

#include "libs/config/schema.h"

/* U32, U64, DURATION (milliseconds) and BYTES. 0, -EINVAL or -ERANGE; bounds are the caller's. */
int tg_scalar_number(const tg_field *field, const tg_yaml_node *node, uint64_t *ret);
/* "a duration such as 250ms or 30s, from 1ms to 10s" */
void tg_scalar_allowed(const tg_field *field, char *to, size_t size);
/* A duration or a size in the largest unit that shows it exactly; a plain number otherwise. */
void tg_scalar_format(const tg_field *field, uint64_t value, char *to, size_t size);

bool tg_scalar_is_id(tg_str text);
bool tg_scalar_is_address(tg_str text);

#endif

/* Formats of weights: `test-dtype TYPE INPUTS MODE`, TYPE being GGUF's number. Rows of INPUTS
 * weights from standard input, changed, on standard output: MODE is
 *   to        blocks to float32
 *   packed    the same by way of the panels that the kernels read
 *   from      float32 to blocks */
#include "services/inference/backend/cpu/pack.h"

#include <stdio.h>
#include <stdlib.h>

#define BYTES_MAX ((size_t)16 << 20)

static void by_panels(const uint8_t *data, tg_dtype type, size_t inputs, size_t rows, size_t bytes,
                      float *ret)
{
    const tg_gguf_tensor tensor = {.dims = {inputs, rows, 1, 1},
                                   .dims_len = 2,
                                   .type = type,
                                   .data = data,
                                   .size_bytes = bytes};
    tg_packed packed;
    uint8_t *panels = aligned_alloc(64, tg_pack_bytes(&tensor, &packed));
    if (!panels)
        return;
    for (uint32_t i = 0; i < packed.panels; i++)
        tg_pack_panel(&tensor, &packed, i, panels + i * packed.panel_bytes);
    packed.data = panels;
    for (uint32_t r = 0; r < rows; r++)
        tg_unpack_row(&packed, r, ret + r * inputs);
    free(panels);
}

int main(int argc, char **argv)
{
    const tg_dtype_info *info =
        argc == 4 ? tg_dtype_get((uint32_t)strtoul(argv[1], NULL, 10)) : NULL;
    const size_t inputs = info ? strtoul(argv[2], NULL, 10) : 0;
    if (!info || info->block_len == 0 || inputs == 0 || inputs % info->block_len)
        return 2;
    const tg_dtype type = (tg_dtype)strtoul(argv[1], NULL, 10);
    const size_t row_bytes = inputs / info->block_len * info->block_bytes;
    const bool from = strcmp(argv[3], "from") == 0;
    uint8_t *in = malloc(BYTES_MAX);
    const size_t len = in ? fread(in, 1, BYTES_MAX, stdin) : 0;
    const size_t rows = len / (from ? inputs * sizeof(float) : row_bytes);
    const size_t out_bytes = rows * (from ? row_bytes : inputs * sizeof(float));
    void *out = calloc(1, out_bytes + 1);
    if (!out)
        return 1;
    if (from)
        tg_dtype_from_f32(type, (const void *)in, rows * inputs, out);
    else if (strcmp(argv[3], "packed") == 0)
        by_panels(in, type, inputs, rows, len, out);
    else
        tg_dtype_to_f32(type, in, rows * inputs, out);
    fwrite(out, 1, out_bytes, stdout);
    free(in);
    free(out);
    return 0;
}

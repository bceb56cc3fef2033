/* What the C files of this folder give the one module that they are built as (_compiled.c). Flags stand in pyproject.toml. */
#ifndef SODATE_COMPILED_H
#define SODATE_COMPILED_H
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>

extern PyMethodDef ATTEND_METHODS[], FEW_METHODS[], GATE_METHODS[], ROWS_METHODS[], STEP_METHODS[], TRIE_METHODS[];

/* Floats of the widest register that `trie` has code for on this processor, 0 if none; whether `product` multiplies such weights. */
int trie_width(void), product_takes_float32(void), product_takes_bfloat16(void), few_works(void);

/* out (count, lanes) = w (count, k) x (k, lanes), on one thread. */
void product_float32(const float *w, const float *x, float *out, Py_ssize_t count, Py_ssize_t k, Py_ssize_t lanes);

/* Weights as a decoding step of few rows reads them, by the type and the columns of their array and the k numbers these stand
 * for: ROWS_AT_ONCE rows of one, from row `at` on (a multiple of that), with at most 4 rows of x (rows, k): out (rows,
 * ROWS_AT_ONCE). Beyond the weight's last row nothing is written. */
enum { ROWS_AT_ONCE = 16, PANEL_BLOCK = 320 /* bytes of 16 rows and 32 columns in 4 bits (_panels.c) */ };
typedef struct { int size; Py_ssize_t rows, k, bytes; const uint8_t *at; } Weight; /* size: of a block, 0 for float32 */
int weight_of(const Py_buffer *array, Py_ssize_t k, Py_ssize_t rows, Weight *to); /* whether it is one */
void weight_rows(const Weight *weight, Py_ssize_t at, const float *x, Py_ssize_t rows, float *out);

/* The same of a panel, for 1, 2, 3 or 4 rows of x, `stride` numbers from each other, or 8 or 16 side by side, in rows of `stride`. */
void panel_rows(const uint8_t *panel, const float *x, Py_ssize_t stride, float *out, Py_ssize_t k, Py_ssize_t rows);

/* out = act(gate) · up, of `size` numbers, on one thread. */
void gate_of(const float *gate, const float *up, float *out, Py_ssize_t size, int kind);

/* Where a reply's tokens of one key head lie. */
typedef struct {
    const float *keys, *values;
    const int64_t *blocks;
    Py_ssize_t stride, size; /* floats from block to block, tokens of a block */
} Held;

/* One row and key head: tokens [from, to) of the reply, on one thread. query and out are (group, dim); `room` holds
 * group * (dim + to - from) floats. */
void attend_one_head(const float *query, Py_ssize_t query_row, Py_ssize_t query_column, const Held *held, float *out,
                     float *room, Py_ssize_t group, Py_ssize_t dim, Py_ssize_t from, Py_ssize_t to, float scale);
#endif

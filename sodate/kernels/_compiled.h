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
 * for: ROWS_AT_ONCE rows of one, from row `at` on (a multiple of that), with `rows` rows of x: out (rows, ROWS_AT_ONCE). Beyond the
 * weight's last row nothing is written, but by panels, which end in rows of zeros. x is (rows, k) for up to VERY_FEW rows; for more,
 * of which bfloat16 takes none, it is side_by_side (k, 16). */
enum { ROWS_AT_ONCE = 16, VERY_FEW = 4, SIDES = 16 };
enum { PANEL4 = 320, PANEL8 = 544 /* bytes of 16 rows and 32 columns in 4 or 8 bits (_panels.c) */ };
typedef struct { int size; Py_ssize_t rows, k, bytes; const uint8_t *at; } Weight; /* size: of a block, 0 for float32 */
int weight_of(const Py_buffer *array, Py_ssize_t k, Py_ssize_t rows, Weight *to); /* whether it is one */
void weight_rows(const Weight *weight, Py_ssize_t at, const float *x, Py_ssize_t rows, float *out);
void side_by_side(const float *x, Py_ssize_t rows, Py_ssize_t k, Py_ssize_t from, Py_ssize_t to, float *side);

/* The same of a panel of this size, for 1, 2, 3 or 4 rows of x, `stride` numbers from each other, or 5 to 16 side by side, in rows of
 * `stride`; there is room for 16 in `out`, and what is put there beyond `rows` means nothing. */
void panel_rows(const uint8_t *panel, const float *x, Py_ssize_t stride, float *out, Py_ssize_t k, Py_ssize_t rows, int size);

/* out (rows, 16) += numbers (columns, 16) times x, of which a column's `rows` numbers lie side by side, `stride` from the next column's;
 * with AVX2, which needs room for the next multiple of 4 or 6 rows. */
void add_products(const float *numbers, const float *x, Py_ssize_t stride, float *out, Py_ssize_t columns, Py_ssize_t rows);

/* out = act(gate) · up, of `size` numbers, on one thread. */
void gate_of(const float *gate, const float *up, float *out, Py_ssize_t size, int kind);

/* Where a reply's tokens of one key head lie. */
typedef struct {
    const float *keys, *values;
    const int64_t *blocks;
    Py_ssize_t stride, size; /* floats from block to block, tokens of a block */
} Held;

/* Of one key head the queries (rows, group, dim) of rows that follow each other in one reply, by how far apart they lie. */
typedef struct { const float *at; Py_ssize_t row, head, column; } Queries;

/* Attention of these on one thread, row r to the last `window` (all, if 0) of its reply's first seen[r] tokens: keys and values are
 * read once for all. out (group, dim) of each row, `out_row` floats apart; `room` holds `attend_room` floats. */
void attend_together(const Queries *query, const Held *held, float *out, Py_ssize_t out_row, float *room, Py_ssize_t rows,
                     Py_ssize_t group, Py_ssize_t dim, const int64_t *seen, Py_ssize_t window, float scale);
Py_ssize_t attend_room(Py_ssize_t rows, Py_ssize_t group, Py_ssize_t dim, const int64_t *seen, Py_ssize_t size);

/* The same for queries that lie side by side (_attend_lanes.c), of the tokens [begin, to), begin at a block's; whether it takes so many,
 * of so many tokens a block. */
int attends_in_lanes(Py_ssize_t queries, Py_ssize_t size, Py_ssize_t dim);
void attend_lanes(const Queries *query, const Held *held, float *out, Py_ssize_t out_row, float *room, Py_ssize_t rows, Py_ssize_t group,
                  Py_ssize_t dim, const int64_t *seen, Py_ssize_t window, float scale, Py_ssize_t begin, Py_ssize_t to);

/* How many runs of rows of one reply there are that attend together; where each begins, and at last the number of rows, in `first`. */
Py_ssize_t same_reply(const int64_t *owner, Py_ssize_t rows, Py_ssize_t group, Py_ssize_t size, Py_ssize_t dim, Py_ssize_t *first);
#endif

/* A decoding step's blocks: what _blocks.c reads from Python's arrays, and _step.c goes through. */
#ifndef SODATE_STEP_H
#define SODATE_STEP_H
#include "_compiled.h"

enum { STEP_ROWS = SIDES, PARTS = 3 };

typedef struct {
    Weight weight;
    const float *bias, *down, *up[PARTS];  /* down (parts R, in) NULL: without a lora; up (R, outputs) of each part */
    Py_ssize_t in, out, ranks, ends[PARTS]; /* numbers of x and y; where the parts of y end */
    int parts;
} Layer;

typedef struct {
    Layer qkv, output, wide, down;
    const float *before, *after, *before_mlp, *after_mlp, *q_norm, *k_norm, *cos, *sin;
    float *keys, *values;
    Py_ssize_t heads, groups, inner, dim, size, blocks, window, positions; /* inner: numbers of the MLP */
    int gate;
    float scale, eps;
} Block;

/* `count` blocks of a decoder of this hidden size, and the norm after them; `narrow`: some weight takes few rows only. */
typedef struct { Block *blocks; Py_ssize_t count, hidden; const float *norm; float eps; int narrow; } Decoder;

/* x (rows, hidden) through all blocks and the last norm. Of R ranks of versions row r has those from ranks[r][0] to ranks[r][1], all if NULL. Whether
 * there was memory enough. */
int step_through(const Decoder *decoder, float *x, Py_ssize_t rows, const int64_t *ranks, const int64_t *table, Py_ssize_t most,
                 const int64_t *owner, const int64_t *held);
#endif

/* A decoding step of few rows through all blocks of a decoder, in one call, for CPUs.
 *
 * For one row a block is read faster than Python makes a dozen calls, and threads that are sent home after each product
 * have to be called again. Here all threads go through the blocks together and wait for each other five times a block.
 *
 *     step(x (n, D), blocks, table (replies, most) int64, owner (n,) int64, held (n,) int64)
 *
 * x, at most 16 rows, goes in as embeddings and comes out as what the last block makes of it. Each of `blocks` is
 *     (layers, norms, (cos (n, d), sin (n, d)), (keys, values), (heads, groups, inner, window, gate, scale, eps))
 *     layers: of query-key-value, output, gate-and-up and down each (weight, bias (out,) or None, lora or None)
 *         weight float32 (out, in), bfloat16 as the uint16 of its bits for up to 4 rows, or bytes as `few` takes them;
 *             x is rounded for none
 *         lora (A (parts R, in), of each part B (its outputs, R), mask (R, n) or None): y += B (mask · A x)
 *     norms: before attention, after it or None, before the MLP, after it or None, of query and of key, or None
 * keys, values, table, owner, held, window and scale are those of `attend`, gate the kind of `gate`.
 */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#ifdef _OPENMP
#include <omp.h>
#else
static int omp_get_max_threads(void) { return 1; }
static int omp_get_thread_num(void) { return 0; }
#endif

#include "_compiled.h"
#include "_vector.h"

enum { MOST = SIDES, PARTS = 3, LINE = 16 /* floats */, AT_ONCE = 256 /* numbers that a thread gates */, ROOMS = 7 };

typedef struct {
    Weight weight, down; /* down.at NULL: without a lora */
    const float *bias, *up[PARTS], *mask;
    Py_ssize_t in, out, ranks, ends[PARTS]; /* numbers of x and y; where the parts of y end */
    int parts;
} Layer;

typedef struct {
    Layer qkv, output, wide, down;
    const float *before, *after, *before_mlp, *after_mlp, *q_norm, *k_norm, *cos, *sin;
    float *keys, *values;
    Py_ssize_t heads, groups, inner, dim, size, blocks, window; /* inner: numbers of the MLP */
    int gate;
    float scale, eps;
} Block;

/* What a step is of, and the room that its threads share. */
typedef struct {
    Block *blocks;
    Py_ssize_t count, hidden, rows, most, runs, first[MOST + 1];
    const int64_t *table, *owner, *held;
    float *x, *qkv, *attended, *y, *wide, *gated, *low, *side, *own; /* own: each thread's, `own_size` floats */
    Py_ssize_t own_size;
} Step;

/* ---- what a thread does for itself: rows (n, D) are few, and doing it twice is faster than waiting ---- */

FOR_EVERY_CPU
static void norm_row(const float *x, const float *weight, float *out, Py_ssize_t dim, float eps)
{
    float sum = 0;
    for (Py_ssize_t d = 0; d < dim; d++)
        sum += x[d] * x[d];
    const float factor = 1 / sqrtf(sum / dim + eps);
    for (Py_ssize_t d = 0; d < dim; d++)
        out[d] = x[d] * factor * weight[d];
}

FOR_EVERY_CPU
static void rotate_row(float *x, const float *cos, const float *sin, Py_ssize_t half)
{
    for (Py_ssize_t i = 0; i < half; i++) {
        const float first = x[i], second = x[half + i];
        x[i] = first * cos[i] - second * sin[i];
        x[half + i] = second * cos[half + i] + first * sin[half + i];
    }
}

static void norm_rows(const Step *s, const float *x, const float *weight, float *out, float eps)
{
    for (Py_ssize_t r = 0; r < s->rows; r++)
        norm_row(x + r * s->hidden, weight, out + r * s->hidden, s->hidden, eps);
}

/* x += y, or its norm. */
static void add(const Step *s, float *x, const float *y, const float *norm, float *room, float eps)
{
    if (norm != NULL) {
        norm_rows(s, y, norm, room, eps);
        y = room;
    }
    for (Py_ssize_t i = 0; i < s->rows * s->hidden; i++)
        x[i] += y[i];
}

/* ---- what they share ---- */

/* y (n, out) of h (n, in), without bias and lora. */
static void rows_each(const Step *s, const Weight *w, const float *h, float *y, float *room)
{
    if (s->rows > VERY_FEW) {
#pragma omp for schedule(static)
        for (Py_ssize_t at = 0; at < w->k; at += AT_ONCE)
            side_by_side(h, s->rows, w->k, at, w->k - at < AT_ONCE ? w->k : at + AT_ONCE, s->side);
        h = s->side;
    }
#pragma omp for schedule(guided)
    for (Py_ssize_t at = 0; at < w->rows; at += ROWS_AT_ONCE) {
        const Py_ssize_t some = w->rows - at < ROWS_AT_ONCE ? w->rows - at : ROWS_AT_ONCE;
        float found[MOST * ROWS_AT_ONCE];
        weight_rows(w, at, h, s->rows, found, room);
        for (Py_ssize_t r = 0; r < s->rows; r++)
            memcpy(y + r * w->rows + at, found + r * ROWS_AT_ONCE, some * sizeof(float));
    }
}

/* y += B (mask · low) */
static void add_lora(const Step *s, const Layer *l, float *y)
{
    const Py_ssize_t all = l->parts * l->ranks;
    if (l->mask != NULL) {
#pragma omp for schedule(static)
        for (Py_ssize_t i = 0; i < s->rows * all; i++)
            s->low[i] *= l->mask[i % l->ranks * s->rows + i / all];
    }
#pragma omp for schedule(static)
    for (Py_ssize_t j = 0; j < l->out; j++) {
        int part = 0;
        while (j >= l->ends[part])
            part++;
        const float *up = l->up[part] + (j - (part ? l->ends[part - 1] : 0)) * l->ranks;
        for (Py_ssize_t r = 0; r < s->rows; r++) {
            const float *low = s->low + r * all + part * l->ranks;
            float sum = 0;
            for (Py_ssize_t i = 0; i < l->ranks; i++)
                sum += up[i] * low[i];
            y[r * l->out + j] += sum;
        }
    }
}

/* y (n, out) of h (n, in). */
static void product(const Step *s, const Layer *l, const float *h, float *y, float *room)
{
    if (l->down.at != NULL)
        rows_each(s, &l->down, h, s->low, room);
    rows_each(s, &l->weight, h, y, room);
    if (l->down.at != NULL)
        add_lora(s, l, y);
    if (l->bias != NULL) {
#pragma omp for schedule(static)
        for (Py_ssize_t i = 0; i < s->rows * l->out; i++)
            y[i] += l->bias[i % l->out];
    }
}

/* act(gate) · up (n, I), gate and up the halves of each row. */
static void gated(const Step *s, const Block *b)
{
    const Py_ssize_t inner = b->down.in, pieces = (inner + AT_ONCE - 1) / AT_ONCE;
#pragma omp for schedule(static)
    for (Py_ssize_t job = 0; job < s->rows * pieces; job++) {
        const Py_ssize_t row = job / pieces, at = job % pieces * AT_ONCE;
        const float *gate = s->wide + row * 2 * inner + at;
        gate_of(gate, gate + inner, s->gated + row * inner + at, inner - at < AT_ONCE ? inner - at : AT_ONCE, b->gate);
    }
}

/* Query and key normed and turned in place; keys and values put where their replies hold them. */
static void place(const Step *s, const Block *b)
{
    const Py_ssize_t heads = b->heads + b->groups, dim = b->dim;
#pragma omp for schedule(static)
    for (Py_ssize_t job = 0; job < s->rows * heads; job++) {
        const Py_ssize_t row = job / heads, head = job % heads, group = head - b->heads, last = s->held[row] - 1;
        float *own = s->qkv + row * b->qkv.out + head * dim;
        const float *norm = group < 0 ? b->q_norm : b->k_norm;
        if (norm != NULL)
            norm_row(own, norm, own, dim, b->eps);
        rotate_row(own, b->cos + row * dim, b->sin + row * dim, dim / 2);
        if (group < 0)
            continue;
        const Py_ssize_t block = s->table[s->owner[row] * s->most + last / b->size];
        const Py_ssize_t at = ((block * b->groups + group) * b->size + last % b->size) * dim;
        memcpy(b->keys + at, own, dim * sizeof(float));
        memcpy(b->values + at, own + b->groups * dim, dim * sizeof(float));
    }
}

static void attention(const Step *s, const Block *b, float *room)
{
    const Py_ssize_t group = b->heads / b->groups, stride = b->groups * b->size * b->dim;
#pragma omp for schedule(dynamic)
    for (Py_ssize_t job = 0; job < s->runs * b->groups; job++) {
        const Py_ssize_t row = s->first[job / b->groups], rows = s->first[job / b->groups + 1] - row, head = job % b->groups;
        const Held where = {b->keys + head * b->size * b->dim, b->values + head * b->size * b->dim,
                            s->table + s->owner[row] * s->most, stride, b->size};
        const Py_ssize_t own = head * group * b->dim;
        const Queries query = {s->qkv + row * b->qkv.out + own, b->qkv.out, b->dim, 1};
        attend_together(&query, &where, s->attended + row * b->output.in + own, b->output.in, room, rows, group, b->dim,
                        s->held + row, b->window, b->scale);
    }
}

static void run(const Step *s)
{
#pragma omp parallel
    {
        float *x = s->own + omp_get_thread_num() * s->own_size, *h = x + s->rows * s->hidden, *room = h + s->rows * s->hidden;
        memcpy(x, s->x, s->rows * s->hidden * sizeof(float));
        for (Py_ssize_t i = 0; i < s->count; i++) {
            const Block *b = &s->blocks[i];
            norm_rows(s, x, b->before, h, b->eps);
            product(s, &b->qkv, h, s->qkv, room);
            place(s, b);
            attention(s, b, room);
            product(s, &b->output, s->attended, s->y, room);
            add(s, x, s->y, b->after, h, b->eps);
            norm_rows(s, x, b->before_mlp, h, b->eps);
            product(s, &b->wide, h, s->wide, room);
            gated(s, b);
            product(s, &b->down, s->gated, s->y, room);
            add(s, x, s->y, b->after_mlp, h, b->eps);
        }
#pragma omp master
        memcpy(s->x, x, s->rows * s->hidden * sizeof(float)); /* which all have read long ago */
    }
}

/* ---- called from Python ---- */

typedef struct { Py_buffer *at; Py_ssize_t count, room; } Taken;

/* The numbers of an array of `size` (any, if negative) of this type, held until the step ends; NULL with an error set. */
static void *take(Taken *taken, PyObject *given, int dimensions, char type, Py_ssize_t size, int written)
{
    if (taken->count == taken->room) {
        const Py_ssize_t room = taken->room ? 2 * taken->room : 256;
        Py_buffer *more = realloc(taken->at, room * sizeof(Py_buffer));
        if (more == NULL)
            return PyErr_NoMemory();
        taken->at = more, taken->room = room;
    }
    Py_buffer *a = &taken->at[taken->count];
    if (PyObject_GetBuffer(given, a, PyBUF_ND | PyBUF_FORMAT | (written ? PyBUF_WRITABLE : 0)))
        return NULL;
    taken->count++;
    if (a->ndim != dimensions || (type && a->format[0] != type) || (size >= 0 && a->len != size * a->itemsize))
        return PyErr_Format(PyExc_ValueError, "step: an array of %zd numbers has another shape or type than it should", a->len / a->itemsize);
    return a->buf;
}

static int floats(Taken *taken, PyObject *given, int dimensions, Py_ssize_t size, const float **to)
{
    *to = given == Py_None ? NULL : take(taken, given, dimensions, 'f', size, 0);
    return given == Py_None || *to != NULL;
}

static int lora_of(Taken *taken, PyObject *given, Layer *l, Py_ssize_t rows)
{
    PyObject *down, *ups, *mask;
    if (given == Py_None)
        return 1;
    if (!PyArg_ParseTuple(given, "OO!O", &down, &PyTuple_Type, &ups, &mask) || take(taken, down, 2, 'f', -1, 0) == NULL)
        return 0;
    const Py_buffer *a = &taken->at[taken->count - 1];
    l->parts = (int)PyTuple_GET_SIZE(ups);
    if (l->parts < 1 || l->parts > PARTS || a->shape[0] % l->parts || !weight_of(a, l->in, a->shape[0], &l->down))
        return PyErr_Format(PyExc_ValueError, "step: a lora does not fit its layer"), 0;
    l->ranks = a->shape[0] / l->parts;
    for (int i = 0; i < l->parts; i++) {
        if (!floats(taken, PyTuple_GET_ITEM(ups, i), 2, -1, &l->up[i]))
            return 0;
        const Py_buffer *up = &taken->at[taken->count - 1];
        if (l->up[i] == NULL || up->shape[1] != l->ranks)
            return PyErr_Format(PyExc_ValueError, "step: a lora does not fit its layer"), 0;
        l->ends[i] = (i ? l->ends[i - 1] : 0) + up->shape[0];
    }
    if (l->ends[l->parts - 1] != l->out)
        return PyErr_Format(PyExc_ValueError, "step: a lora does not fit its layer"), 0;
    return floats(taken, mask, 2, l->ranks * rows, &l->mask);
}

static int layer_of(Taken *taken, PyObject *given, Layer *l, Py_ssize_t in, Py_ssize_t out, Py_ssize_t rows)
{
    PyObject *weight, *bias, *lora;
    if (!PyArg_ParseTuple(given, "OOO", &weight, &bias, &lora) || take(taken, weight, 2, 0, -1, 0) == NULL)
        return 0;
    const Py_buffer *a = &taken->at[taken->count - 1];
    l->in = in, l->out = out;
    if (a->format[0] == 'h' || (a->format[0] == 'H' && rows > VERY_FEW) || !weight_of(a, in, l->out, &l->weight))
        return PyErr_Format(PyExc_ValueError, "step: a weight does not fit"), 0;
    return floats(taken, bias, 1, l->out, &l->bias) && lora_of(taken, lora, l, rows);
}

static int block_of(Taken *taken, PyObject *given, const Step *s, Block *b)
{
    PyObject *layers[4], *norms[6], *cos, *sin, *keys, *values;
    if (!PyArg_ParseTuple(given, "(OOOO)(OOOOOO)(OO)(OO)(nnnniff)", &layers[0], &layers[1], &layers[2], &layers[3], &norms[0],
                          &norms[1], &norms[2], &norms[3], &norms[4], &norms[5], &cos, &sin, &keys, &values, &b->heads,
                          &b->groups, &b->inner, &b->window, &b->gate, &b->scale, &b->eps))
        return 0;
    if ((b->keys = take(taken, keys, 4, 'f', -1, 1)) == NULL)
        return 0;
    const Py_buffer *a = &taken->at[taken->count - 1];
    b->blocks = a->shape[0], b->size = a->shape[2], b->dim = a->shape[3];
    const Py_ssize_t size = a->shape[1], dim = b->dim;
    if (b->groups < 1 || size != b->groups || b->heads % b->groups || b->heads < 1 || b->size < 1 || dim < 2 || dim % 2 || b->window < 0 ||
        b->inner < 1)
        return PyErr_Format(PyExc_ValueError, "step: keys don't fit the heads"), 0;
    if ((b->values = take(taken, values, 4, 'f', b->blocks * size * b->size * dim, 1)) == NULL ||
        !floats(taken, cos, 2, s->rows * dim, &b->cos) || !floats(taken, sin, 2, s->rows * dim, &b->sin) ||
        !floats(taken, norms[0], 1, s->hidden, &b->before) || !floats(taken, norms[1], 1, s->hidden, &b->after) ||
        !floats(taken, norms[2], 1, s->hidden, &b->before_mlp) || !floats(taken, norms[3], 1, s->hidden, &b->after_mlp) ||
        !floats(taken, norms[4], 1, dim, &b->q_norm) || !floats(taken, norms[5], 1, dim, &b->k_norm) ||
        !layer_of(taken, layers[0], &b->qkv, s->hidden, (b->heads + 2 * b->groups) * dim, s->rows) ||
        !layer_of(taken, layers[1], &b->output, b->heads * dim, s->hidden, s->rows) ||
        !layer_of(taken, layers[2], &b->wide, s->hidden, 2 * b->inner, s->rows) ||
        !layer_of(taken, layers[3], &b->down, b->inner, s->hidden, s->rows))
        return 0;
    if (b->cos == NULL || b->sin == NULL || b->before == NULL || b->before_mlp == NULL || b->gate < 0 || b->gate > 1)
        return PyErr_Format(PyExc_ValueError, "step: a norm or a rotation is missing"), 0;
    return 1;
}

/* Whether every row's tokens lie in blocks that are there, in each layer's pool. */
static int held_by(const Step *s, Py_ssize_t replies)
{
    for (Py_ssize_t i = 0; i < s->count; i++) {
        const Block *b = &s->blocks[i];
        for (Py_ssize_t r = 0; r < s->rows; r++) {
            const Py_ssize_t used = (s->held[r] + b->size - 1) / b->size;
            if (s->owner[r] < 0 || s->owner[r] >= replies || s->held[r] < 1 || used > s->most)
                return 0;
            for (Py_ssize_t k = 0; k < used; k++) {
                const int64_t block = s->table[s->owner[r] * s->most + k];
                if (block < 0 || block >= b->blocks)
                    return 0;
            }
        }
    }
    return 1;
}

static Py_ssize_t larger(Py_ssize_t a, Py_ssize_t b) { return a > b ? a : b; }
static Py_ssize_t lines(Py_ssize_t floats) { return (floats + LINE - 1) / LINE * LINE; }

/* Whether there was memory enough. */
static int with_room(Step *s)
{
    Py_ssize_t qkv = 0, attended = 0, wide = 0, low = 0, side = 0, room = 0;
    s->runs = same_reply(s->owner, s->rows, s->first);
    for (Py_ssize_t i = 0; i < s->count; i++) {
        const Block *b = &s->blocks[i];
        const Layer *layers[] = {&b->qkv, &b->output, &b->wide, &b->down};
        qkv = larger(qkv, b->qkv.out), attended = larger(attended, b->output.in), wide = larger(wide, b->wide.out);
        room = larger(room, attend_room(s->rows, b->heads / b->groups, b->dim, s->held, b->size));
        for (int k = 0; k < 4; k++) {
            low = larger(low, layers[k]->parts * layers[k]->ranks);
            side = larger(side, s->rows > VERY_FEW ? SIDES * layers[k]->in : 0);
        }
    }
    const Py_ssize_t n = s->rows, sizes[ROOMS] = {lines(n * qkv), lines(n * attended), lines(n * s->hidden), lines(n * wide), lines(n * wide), lines(n * low), lines(side)};
    float **to[ROOMS] = {&s->qkv, &s->attended, &s->y, &s->wide, &s->gated, &s->low, &s->side};
    Py_ssize_t whole = 0;
    for (int i = 0; i < ROOMS; i++)
        whole += sizes[i];
    s->own_size = lines(2 * n * s->hidden + larger(room, side));
    float *all = NULL;
    if (posix_memalign((void **)&all, LINE * sizeof(float), (whole + s->own_size * omp_get_max_threads()) * sizeof(float)))
        return 0;
    float *at = all;
    for (int i = 0; i < ROOMS; at += sizes[i++])
        *to[i] = at;
    s->own = at;
    run(s);
    free(all);
    return 1;
}

static PyObject *step(PyObject *Py_UNUSED(self), PyObject *args)
{
    PyObject *x, *blocks, *table, *owner, *held;
    Taken taken = {NULL, 0, 0};
    Step s = {NULL};
    int enough = 0;

    if (!PyArg_ParseTuple(args, "OO!OOO", &x, &PyList_Type, &blocks, &table, &owner, &held))
        return NULL;
    if ((s.x = take(&taken, x, 2, 'f', -1, 1)) == NULL)
        goto done;
    s.rows = taken.at[0].shape[0], s.hidden = taken.at[0].shape[1], s.count = PyList_GET_SIZE(blocks);
    if (!few_works() || s.rows < 1 || s.rows > MOST || s.hidden < 1) {
        PyErr_SetString(PyExc_ValueError, "step: this many rows are not taken, or not on this processor");
        goto done;
    }
    if ((s.table = take(&taken, table, 2, 'l', -1, 0)) == NULL)
        goto done;
    const Py_ssize_t replies = taken.at[taken.count - 1].shape[0];
    s.most = taken.at[taken.count - 1].shape[1];
    if ((s.owner = take(&taken, owner, 1, 'l', s.rows, 0)) == NULL || (s.held = take(&taken, held, 1, 'l', s.rows, 0)) == NULL)
        goto done;
    if ((s.blocks = calloc(s.count + 1, sizeof(Block))) == NULL) {
        PyErr_NoMemory();
        goto done;
    }
    for (Py_ssize_t i = 0; i < s.count; i++)
        if (!block_of(&taken, PyList_GET_ITEM(blocks, i), &s, &s.blocks[i]))
            goto done;
    if (!held_by(&s, replies)) {
        PyErr_SetString(PyExc_ValueError, "step: a row holds no tokens, more than its blocks do, or is nobody's");
        goto done;
    }
    Py_BEGIN_ALLOW_THREADS
    enough = with_room(&s);
    Py_END_ALLOW_THREADS
    if (!enough)
        PyErr_NoMemory();
done:
    free(s.blocks);
    while (taken.count > 0)
        PyBuffer_Release(&taken.at[--taken.count]);
    free(taken.at);
    if (!enough)
        return NULL;
    Py_RETURN_NONE;
}

PyMethodDef STEP_METHODS[] = {{"step", step, METH_VARARGS, "All blocks of a decoder for very few rows."}, {NULL, NULL, 0, NULL}};

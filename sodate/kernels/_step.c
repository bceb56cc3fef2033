/* A decoding step of few rows through all blocks of a decoder, in one call, for CPUs.
 *
 * For one row a block is read faster than Python makes a dozen calls, and threads that are sent home after each product
 * have to be called again. Here all threads go through the blocks together and wait for each other seven times a block.
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

#include "_step.h"
#include "_vector.h"

enum { LINE = 16 /* floats */, AT_ONCE = 256 /* numbers that a thread gates */, UP_AT_ONCE = 64, ROOMS = 7 };

/* What a step is of, and the room that its threads share. */
typedef struct {
    const Block *blocks;
    const float *norm; /* after all blocks */
    float eps;
    Py_ssize_t count, hidden, rows, most;
    const int64_t *ranks, *table, *owner, *held;
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

FOR_EVERY_CPU
static float dot(const float *a, const float *b, Py_ssize_t size)
{
    float sum = 0;
    for (Py_ssize_t i = 0; i < size; i++)
        sum += a[i] * b[i];
    return sum;
}

FOR_EVERY_CPU
static void add_times(float *y, const float *x, float factor, Py_ssize_t size)
{
    for (Py_ssize_t i = 0; i < size; i++)
        y[i] += factor * x[i];
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
static void rows_each(const Step *s, const Weight *w, const float *h, float *y)
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
        float found[STEP_ROWS * ROWS_AT_ONCE];
        weight_rows(w, at, h, s->rows, found);
        for (Py_ssize_t r = 0; r < s->rows; r++)
            memcpy(y + r * w->rows + at, found + r * ROWS_AT_ONCE, some * sizeof(float));
    }
}

static Py_ssize_t first_rank(const Step *s, Py_ssize_t row) { return s->ranks == NULL ? 0 : s->ranks[2 * row]; }
static Py_ssize_t end_rank(const Step *s, const Layer *l, Py_ssize_t row) { return s->ranks == NULL ? l->ranks : s->ranks[2 * row + 1]; }

/* y += B (A h), each row by the ranks that are its version's: as if it had come alone. */
static void add_lora(const Step *s, const Layer *l, const float *h, float *y)
{
    const Py_ssize_t all = l->parts * l->ranks;
#pragma omp for schedule(static)
    for (Py_ssize_t i = 0; i < all; i++)
        for (Py_ssize_t r = 0; r < s->rows; r++)
            if (first_rank(s, r) <= i % l->ranks && i % l->ranks < end_rank(s, l, r))
                s->low[r * all + i] = dot(l->down + i * l->in, h + r * l->in, l->in);
    Py_ssize_t begin = 0;
    for (int part = 0; part < l->parts; begin = l->ends[part++]) {
        const Py_ssize_t outputs = l->ends[part] - begin;
#pragma omp for schedule(static) nowait
        for (Py_ssize_t at = 0; at < outputs; at += UP_AT_ONCE)
            for (Py_ssize_t r = 0; r < s->rows; r++)
                for (Py_ssize_t i = first_rank(s, r); i < end_rank(s, l, r); i++)
                    add_times(y + r * l->out + begin + at, l->up[part] + i * outputs + at, s->low[r * all + part * l->ranks + i],
                              outputs - at < UP_AT_ONCE ? outputs - at : UP_AT_ONCE);
    }
#pragma omp barrier
}

/* y (n, out) of h (n, in). */
static void product(const Step *s, const Layer *l, const float *h, float *y)
{
    rows_each(s, &l->weight, h, y);
    if (l->down != NULL)
        add_lora(s, l, h, y);
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
        rotate_row(own, b->cos + last * dim, b->sin + last * dim, dim / 2);
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
    Py_ssize_t first[STEP_ROWS + 1];
    const Py_ssize_t runs = same_reply(s->owner, s->rows, group, b->size, b->dim, first);
#pragma omp for schedule(dynamic)
    for (Py_ssize_t job = 0; job < runs * b->groups; job++) {
        const Py_ssize_t row = first[job / b->groups], rows = first[job / b->groups + 1] - row, head = job % b->groups;
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
            product(s, &b->qkv, h, s->qkv);
            place(s, b);
            attention(s, b, room);
            product(s, &b->output, s->attended, s->y);
            add(s, x, s->y, b->after, h, b->eps);
            norm_rows(s, x, b->before_mlp, h, b->eps);
            product(s, &b->wide, h, s->wide);
            gated(s, b);
            product(s, &b->down, s->gated, s->y);
            add(s, x, s->y, b->after_mlp, h, b->eps);
        }
#pragma omp master
        norm_rows(s, x, s->norm, s->x, s->eps); /* which all have read long ago */
    }
}

static Py_ssize_t larger(Py_ssize_t a, Py_ssize_t b) { return a > b ? a : b; }
static Py_ssize_t lines(Py_ssize_t floats) { return (floats + LINE - 1) / LINE * LINE; }

int step_through(const Decoder *decoder, float *x, Py_ssize_t rows, const int64_t *ranks, const int64_t *table, Py_ssize_t most,
                 const int64_t *owner, const int64_t *held)
{
    Step step = {.blocks = decoder->blocks, .norm = decoder->norm, .eps = decoder->eps, .count = decoder->count, .hidden = decoder->hidden, .rows = rows, .most = most,
                 .ranks = ranks, .table = table, .owner = owner, .held = held, .x = x}, *s = &step;
    Py_ssize_t qkv = 0, attended = 0, wide = 0, low = 0, side = 0, room = 0;
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
    s->own_size = lines(2 * n * s->hidden + room);
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

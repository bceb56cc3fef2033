/* Attention over a packed trie for training on CPUs with AVX2 or AVX-512: every query sees the tokens of its segment's ancestors
 * and, causally, its own, if they are less than `window` behind (0: any). Scores never exist but for 16 queries at once.
 *
 *     trie(segments, q, k, v, out, lse, scale, window, wide)
 *     trie_back(segments, q, k, v, out, lse, dout, dq, dk, dv, scale, window, wide)
 *
 * `segments` is a tuple of int64 arrays: starts and ends (S,) of the segments; path_at (S + 1,) and path: the ancestors of
 * segment s are path[path_at[s]:path_at[s + 1]], root first; positions (N,). All else is float32: q, out, dout, dq
 * (N, H, D), k, v, dk, dv (N, K, D), K dividing H and 16 dividing D, lse (H, N): log Σ exp of a query's scores. The
 * numbers of one head lie densely, and gradients and outputs wholly. `wide` is the floats of a register, 16 or 8; WIDE says
 * how many this processor has, 0 if neither.
 *
 * With S = scale · q kᵀ and P = softmax(S): dv = Pᵀ do, dS = P ∘ (do vᵀ - Σ do ∘ o), dq = scale · dS k, dk = scale · dSᵀ q
 * (arXiv 2205.14135, appendix B). 16 queries lie side by side in registers, so that softmax is plain passes; the five
 * products are all `tile` (_trie_blocks.h). Sums are made in the same order whatever the number of threads.
 */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "_compiled.h"

#if defined(__x86_64__) && defined(__GNUC__)
#define VECTORS
#include <immintrin.h>
#define INSIDE inline __attribute__((always_inline))
int trie_width(void)
{
    return __builtin_cpu_supports("avx512f") ? 16 : __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? 8 : 0;
}
#else
int trie_width(void) { return 0; } /* torch computes the same there */
#endif

enum { LANES = 16 };
typedef Py_ssize_t Size;
static const float HIDDEN = -1e30f; /* the score of a key that a query does not see */

typedef struct {
    const int64_t *starts, *ends, *path_at, *path, *positions;
    Size segments, tokens, longest; /* longest: tokens on the longest path */
    Size window;
} Trie;

typedef struct { const float *at; Size token, head; } Rows; /* numbers from one token, one head to the next */

/* 16 queries or fewer of one segment: packed tokens [first, first + count), and the keys they see, range by range. */
typedef struct { Size segment, first, count; } Block;
typedef struct { Size from, to; } Range;

typedef struct {
    Trie trie;
    Rows q, k, v, out, dout;
    float *o, *lse, *dq, *dk, *dv; /* dense */
    Size heads, key_heads, dim, blocks;
    float scale;
    int wide;
    const Block *block;
} Task;

#ifdef VECTORS

static const float *rows_of(Rows r, Size token, Size head) { return r.at + token * r.token + head * r.head; }

/* Ranges of keys that some query of the block sees; returns how many. */
static Size ranges_of(const Trie *t, Block b, Range *ranges)
{
    Size count = 0;
    const Size lowest = t->window ? t->positions[b.first] - t->window + 1 : 0;
    for (int64_t at = t->path_at[b.segment]; at <= t->path_at[b.segment + 1]; at++) {
        const int own = at == t->path_at[b.segment + 1];
        const Size s = own ? b.segment : t->path[at], to = own ? b.first + b.count : t->ends[s];
        const Size hidden = lowest - t->positions[t->starts[s]];
        const Size from = t->starts[s] + (hidden > 0 ? hidden : 0);
        if (from < to)
            ranges[count++] = (Range){from, to};
    }
    return count;
}

/* Room of one thread, in floats: weights and their gradients, turned rows, plain rows. */
static Size room_of(const Task *a) { return (2 * (a->trie.longest + LANES) + 3 * a->dim) * LANES; }

/* (D, 16) of a block's rows (count, D), times a factor; lanes without a row are 0. */
static INSIDE void turn(Rows from, Block b, Size head, Size dim, float factor, float *to)
{
    memset(to, 0, dim * LANES * sizeof(float));
    for (Size r = 0; r < b.count; r++) {
        const float *row = rows_of(from, b.first + r, head);
        for (Size d = 0; d < dim; d++)
            to[d * LANES + r] = factor * row[d];
    }
}

#define WIDE 16
#include "_trie_blocks.h"
#undef WIDE
#define WIDE 8
#include "_trie_blocks.h"

/* dk and dv (N, K, D) of those of each query head (H, 2, N, D): a key head's are added in the order of its query heads. */
static void add_heads(const Task *a, const float *sums)
{
    const Size tokens = a->trie.tokens, dim = a->dim, group = a->heads / a->key_heads, size = tokens * dim;
#pragma omp for schedule(dynamic, 16)
    for (Size n = 0; n < tokens; n++)
        for (Size k = 0; k < a->key_heads; k++)
            for (Size d = 0; d < dim; d++) {
                const float *own = sums + 2 * k * group * size + n * dim + d;
                float dk = 0, dv = 0;
                for (Size h = 0; h < group; h++, own += 2 * size) {
                    dk += own[0];
                    dv += own[size];
                }
                a->dk[(n * a->key_heads + k) * dim + d] = dk;
                a->dv[(n * a->key_heads + k) * dim + d] = dv;
            }
}

/* Every block of every head; whether there was memory enough. Threads take what is next when they are free, so that one that
 * shares its core with another program does less. Sums do not depend on who made them: forward, a block's are its own, and
 * backward a head's are made by one thread, in the blocks' order. */
static int run(const Task *a, int back)
{
    const Size size = a->trie.tokens * a->dim, jobs = back ? a->heads : a->heads * a->blocks;
    float *sums = back ? calloc(2 * a->heads * size, sizeof(float)) : NULL;
    int enough = sums != NULL || !back;

#pragma omp parallel if (enough)
    {
        float *room = malloc(room_of(a) * sizeof(float));
        Range *ranges = malloc((a->trie.segments + 1) * sizeof(Range));
        if (room == NULL || ranges == NULL) {
#pragma omp atomic write
            enough = 0;
        }
#pragma omp barrier
        const int going = enough;
#pragma omp for schedule(dynamic)
        for (Size job = 0; job < jobs; job++)
            if (going && !back)
                (a->wide == 16 ? forward_block_16 : forward_block_8)(a, a->block[job % a->blocks], job / a->blocks, ranges, room);
            else if (going)
                for (Size i = 0; i < a->blocks; i++)
                    (a->wide == 16 ? backward_block_16 : backward_block_8)(a, a->block[i], job, ranges, room,
                                                                           sums + 2 * job * size, sums + (2 * job + 1) * size);
        if (going && back)
            add_heads(a, sums);
        free(room);
        free(ranges);
    }
    free(sums);
    return enough;
}

#else
static int run(const Task *a, int back) { return a == NULL || back; } /* never called: no width is taken */
#endif

/* ---- called from Python: take the arrays, check them, run without the interpreter's lock ---- */

enum { STARTS, ENDS, PATH_AT, PATH, POSITIONS, Q, K, V, OUT, LSE, DOUT, DQ, DK, DV, ARRAYS };
static const char *const NAMES[ARRAYS] = {"starts", "ends", "path_at", "path", "positions", "q", "k", "v", "out", "lse",
                                          "dout", "dq", "dk", "dv"};

static int of_kind(const Py_buffer *a, int i, int back)
{
    const int plan = i <= POSITIONS, dense = plan || i == LSE || i >= DQ || (i == OUT && !back);
    const int right = a->ndim == (plan ? 1 : i == LSE ? 2 : 3) && a->format[0] == (plan ? 'l' : 'f') &&
                      a->itemsize == (plan ? 8 : 4) && (dense ? PyBuffer_IsContiguous(a, 'C') : a->strides[2] == 4);
    if (!right)
        PyErr_Format(PyExc_ValueError, "%s has another type, number of dimensions or layout", NAMES[i]);
    return right;
}

/* Whether the segments are those of a trie in depth-first order, so that no index leads outside. */
static int is_trie(const Py_buffer *a)
{
    const int64_t *starts = a[STARTS].buf, *ends = a[ENDS].buf, *path_at = a[PATH_AT].buf, *path = a[PATH].buf, *positions = a[POSITIONS].buf;
    const Size segments = a[STARTS].shape[0], tokens = a[POSITIONS].shape[0];
    if (a[ENDS].shape[0] != segments || a[PATH_AT].shape[0] != segments + 1 || path_at[0] != 0 || path_at[segments] != a[PATH].shape[0])
        return 0;
    for (Size s = 0, at = 0; s < segments; at = ends[s++]) {
        int64_t depth = 0, before = -1;
        if (starts[s] != at || ends[s] <= at || ends[s] > tokens || path_at[s + 1] < path_at[s] || path_at[s + 1] > a[PATH].shape[0])
            return 0;
        for (int64_t i = path_at[s]; i < path_at[s + 1]; i++) {
            if (path[i] <= before || path[i] >= s) /* each once, or there would be more ranges than room for them */
                return 0;
            before = path[i];
            depth += ends[path[i]] - starts[path[i]];
        }
        for (int64_t n = starts[s]; n < ends[s]; n++)
            if (positions[n] != depth + n - starts[s])
                return 0;
    }
    return segments > 0 && ends[segments - 1] == tokens;
}

static int shapes_fit(const Py_buffer *a, int back)
{
    const Size tokens = a[POSITIONS].shape[0], heads = a[Q].shape[1], shared = a[K].shape[1], dim = a[Q].shape[2];
    int fit = shared > 0 && heads % shared == 0 && dim > 0 && dim % LANES == 0 && a[LSE].shape[0] == heads && a[LSE].shape[1] == tokens;
    for (int i = Q; i <= (back ? DV : OUT); i++)
        if (i != LSE) {
            const int of_keys = i == K || i == V || i == DK || i == DV;
            fit = fit && a[i].shape[0] == tokens && a[i].shape[1] == (of_keys ? shared : heads) && a[i].shape[2] == dim;
        }
    return fit;
}

static Rows strided(const Py_buffer *a) { return (Rows){a->buf, a->strides[0] / 4, a->strides[1] / 4}; }

/* Whether there was memory enough. */
static int started(const Py_buffer *a, float scale, Size window, int wide, int back)
{
    Task task = {.trie = {a[STARTS].buf, a[ENDS].buf, a[PATH_AT].buf, a[PATH].buf, a[POSITIONS].buf, a[STARTS].shape[0],
                          a[POSITIONS].shape[0], 0, window},
                 .q = strided(&a[Q]), .k = strided(&a[K]), .v = strided(&a[V]), .out = strided(&a[OUT]), .o = a[OUT].buf,
                 .lse = a[LSE].buf, .heads = a[Q].shape[1], .key_heads = a[K].shape[1], .dim = a[Q].shape[2], .scale = scale, .wide = wide};
    if (back) {
        task.dout = strided(&a[DOUT]);
        task.dq = a[DQ].buf, task.dk = a[DK].buf, task.dv = a[DV].buf;
    }
    Block *blocks = malloc((task.trie.tokens + 1) * sizeof(Block));
    if (blocks == NULL)
        return 0;
    for (Size s = 0; s < task.trie.segments; s++)
        for (Size at = task.trie.starts[s]; at < task.trie.ends[s]; at += LANES) {
            const Size left = task.trie.ends[s] - at;
            blocks[task.blocks++] = (Block){s, at, left < LANES ? left : LANES};
        }
    for (Size n = 0; n < task.trie.tokens; n++)
        task.trie.longest = task.trie.positions[n] + 1 > task.trie.longest ? task.trie.positions[n] + 1 : task.trie.longest;
    task.block = blocks;
    const int enough = run(&task, back);
    free(blocks);
    return enough;
}

static PyObject *called(PyObject *args, int back)
{
    PyObject *given[ARRAYS];
    Py_buffer a[ARRAYS];
    double scale;
    Py_ssize_t window;
    int wide, taken = 0, enough = 0;
    const int count = back ? ARRAYS : LSE + 1;
    const int parsed = back ? PyArg_ParseTuple(args, "(OOOOO)OOOOOOOOOdni", given, given + 1, given + 2, given + 3, given + 4,
                                               given + Q, given + K, given + V, given + OUT, given + LSE, given + DOUT,
                                               given + DQ, given + DK, given + DV, &scale, &window, &wide)
                            : PyArg_ParseTuple(args, "(OOOOO)OOOOOdni", given, given + 1, given + 2, given + 3, given + 4,
                                               given + Q, given + K, given + V, given + OUT, given + LSE, &scale, &window, &wide);
    if (!parsed)
        return NULL;
    for (; taken < count; taken++) {
        const int written = taken >= DQ || (!back && (taken == OUT || taken == LSE));
        if (PyObject_GetBuffer(given[taken], &a[taken], PyBUF_STRIDES | PyBUF_FORMAT | (written ? PyBUF_WRITABLE : 0)))
            break;
        if (!of_kind(&a[taken], taken, back)) {
            PyBuffer_Release(&a[taken]);
            break;
        }
    }
    if (taken == count) {
        if (window < 0 || (wide != 8 && wide != 16) || wide > trie_width() || !shapes_fit(a, back) || !is_trie(a))
            PyErr_SetString(PyExc_ValueError, "the shapes don't fit together, or the segments are no trie");
        else {
            Py_BEGIN_ALLOW_THREADS
            enough = started(a, (float)scale, window, wide, back);
            Py_END_ALLOW_THREADS
            if (!enough)
                PyErr_NoMemory();
        }
    }
    while (taken > 0)
        PyBuffer_Release(&a[--taken]);
    if (!enough)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *trie(PyObject *Py_UNUSED(self), PyObject *args) { return called(args, 0); }
static PyObject *trie_back(PyObject *Py_UNUSED(self), PyObject *args) { return called(args, 1); }

PyMethodDef TRIE_METHODS[] = {{"trie", trie, METH_VARARGS, "Attention over a trie."},
                              {"trie_back", trie_back, METH_VARARGS, "Its gradients."},
                              {NULL, NULL, 0, NULL}};

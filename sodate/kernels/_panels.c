/* Weights of 4 or 8 bits, of which 16 rows lie side by side, with few rows of x, for CPUs.
 *
 * A register holds one number of each of 16 rows of the weight (with AVX2, two do), so that what a row of x has meets all 16 in
 * one instruction and nothing is added up across a register. A panel is 16 rows; of each 32 columns it has
 *     4 bits: 16 d, float16 · 16 m, float16 · 4 times 16 words of 32 bits, one of each row: the q of 8 columns, the first one lowest
 *     8 bits: 16 d, float16 · 32 times 16 signed bytes, one of each row: the q of a column
 * and a number is d · q + m or d · q, rounded once: d · q is exact in float32, so that it is the number that was published.
 */
#include <stdint.h>
#include <string.h>

#include "_compiled.h"

enum { ROWS = 16, BLOCK = 32, HALVES = 2 * ROWS /* bytes */, WORD = 8 /* columns */, FEW = 4, MOST = 16, SIX = 6, PIECE = 128 /* columns */, LINE = 64 };

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>

#define OWN512 __attribute__((target("avx512f,avx2,fma,f16c")))
#define OWN256 __attribute__((target("avx2,fma,f16c")))
#define INSIDE static inline __attribute__((always_inline))
#define X(i, r) x[rows > FEW ? (i)*stride + (r) : (r)*stride + (i)]

/* Bytes of 32 columns, and how far ahead they are called for: 2 kB or a little more. */
#define SIZE(bits) ((bits) == 4 ? PANEL4 : PANEL8)
#define AHEAD(bits) ((bits) == 4 ? 8 * PANEL4 : 4 * PANEL8)

/* `rows` rows of x: up to FEW one behind the other, more side by side, each `stride` numbers long or apart; `ways` sums of each, as
 * one would wait for itself. out (rows, 16). */
OWN512 INSIDE void panel512(const uint8_t *p, const float *x, Py_ssize_t stride, float *out, Py_ssize_t k, const int bits,
                            const int rows, const int ways)
{
    const __m512 values = _mm512_setr_ps(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    __m512 sum[MOST][4];
    for (int r = 0; r < rows; r++)
        for (int w = 0; w < ways; w++)
            sum[r][w] = _mm512_setzero_ps();
    for (Py_ssize_t at = 0; at < k; at += BLOCK, p += SIZE(bits)) {
        const __m512 d = _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p));
        const __m512 m = bits == 4 ? _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(p + HALVES))) : d;
        const uint8_t *q = p + (bits == 4 ? 2 * HALVES : HALVES);
        for (int line = 0; line < SIZE(bits); line += LINE)
            _mm_prefetch((const char *)(p + AHEAD(bits) + line), _MM_HINT_T0);
        for (int g = 0; g < BLOCK; g += WORD, q += WORD * ROWS * bits / 8) {
            const __m512i words = _mm512_loadu_si512(q); /* of 8 bits, what 4 columns have */
            _Pragma("GCC unroll 8") for (int j = 0; j < WORD; j++) {
                __m512 weight;
                if (bits == 4) /* of an index its lowest 4 bits count */
                    weight = _mm512_fmadd_ps(_mm512_permutexvar_ps(j ? _mm512_srli_epi32(words, 4 * j) : words, values), d, m);
                else
                    weight = _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(q + j * ROWS)))), d);
                const Py_ssize_t i = at + g + j;
                _Pragma("GCC unroll 16") for (int r = 0; r < rows; r++)
                    sum[r][j % ways] = _mm512_fmadd_ps(weight, _mm512_set1_ps(X(i, r)), sum[r][j % ways]);
            }
        }
    }
    for (int r = 0; r < rows; r++) {
        for (int w = 1; w < ways; w++)
            sum[r][0] = _mm512_add_ps(sum[r][0], sum[r][w]);
        _mm512_storeu_ps(out + r * ROWS, sum[r][0]);
    }
}

/* The same with registers of 8 numbers: a column is two of them. */
typedef struct { __m256 at[2]; } Column;

OWN256 INSIDE Column halves256(const uint8_t *p)
{
    const Column to = {{_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p)), _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p + 1))}};
    return to;
}

/* A block: its d and m, and where the q of its next eight columns begin. */
typedef struct { Column d, m; const uint8_t *q; } Scaled;

OWN256 INSIDE Scaled block256(const uint8_t *p, const int bits)
{
    const Column d = halves256(p);
    const Scaled to = {d, bits == 4 ? halves256(p + HALVES) : d, p + (bits == 4 ? 2 * HALVES : HALVES)};
    for (int line = 0; line < SIZE(bits); line += LINE)
        _mm_prefetch((const char *)(p + AHEAD(bits) + line), _MM_HINT_T0);
    return to;
}

/* Column j of these eight. */
OWN256 INSIDE Column column256(const Scaled *block, const int j, const int bits)
{
    Column to;
    for (int side = 0; side < 2; side++)
        if (bits == 4) {
            const __m256i words = _mm256_srli_epi32(_mm256_loadu_si256((const __m256i *)block->q + side), 4 * j);
            const __m256 found = _mm256_cvtepi32_ps(_mm256_and_si256(words, _mm256_set1_epi32(15)));
            to.at[side] = _mm256_fmadd_ps(found, block->d.at[side], block->m.at[side]);
        } else {
            const __m256i bytes = _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(block->q + j * ROWS + side * ROWS / 2)));
            to.at[side] = _mm256_mul_ps(_mm256_cvtepi32_ps(bytes), block->d.at[side]);
        }
    return to;
}

OWN256 INSIDE void panel256(const uint8_t *p, const float *x, Py_ssize_t stride, float *out, Py_ssize_t k, const int bits, const int rows,
                            const int ways)
{
    __m256 sum[FEW][4][2];
    _Pragma("GCC unroll 4") for (int r = 0; r < rows; r++)
        for (int w = 0; w < ways; w++)
            sum[r][w][0] = sum[r][w][1] = _mm256_setzero_ps();
    for (Py_ssize_t at = 0; at < k; at += BLOCK, p += SIZE(bits)) {
        Scaled block = block256(p, bits);
        for (int g = 0; g < BLOCK; g += WORD, block.q += WORD * ROWS * bits / 8)
            _Pragma("GCC unroll 8") for (int j = 0; j < WORD; j++) {
                const Column weight = column256(&block, j, bits);
                _Pragma("GCC unroll 4") for (int r = 0; r < rows; r++) {
                    const __m256 own = _mm256_broadcast_ss(x + r * stride + at + g + j);
                    for (int side = 0; side < 2; side++)
                        sum[r][j % ways][side] = _mm256_fmadd_ps(weight.at[side], own, sum[r][j % ways][side]);
                }
            }
    }
    _Pragma("GCC unroll 6") for (int r = 0; r < rows; r++)
        _Pragma("GCC unroll 2") for (int side = 0; side < 2; side++) {
            for (int w = 1; w < ways; w++)
                sum[r][0][side] = _mm256_add_ps(sum[r][0][side], sum[r][w][side]);
            _mm256_storeu_ps(out + r * ROWS + side * ROWS / 2, sum[r][0][side]);
        }
}

/* `add_products` for few rows, whose sums registers hold. */
OWN256 INSIDE void add256(const float *numbers, const float *x, Py_ssize_t stride, float *out, Py_ssize_t columns, const int rows)
{
    __m256 sum[SIX][2];
    _Pragma("GCC unroll 6") for (int r = 0; r < rows; r++)
        _Pragma("GCC unroll 2") for (int side = 0; side < 2; side++)
            sum[r][side] = _mm256_loadu_ps(out + r * ROWS + side * ROWS / 2);
    for (Py_ssize_t i = 0; i < columns; i++) {
        const __m256 low = _mm256_loadu_ps(numbers + i * ROWS), high = _mm256_loadu_ps(numbers + i * ROWS + ROWS / 2);
        _Pragma("GCC unroll 6") for (int r = 0; r < rows; r++) {
            const __m256 own = _mm256_broadcast_ss(x + i * stride + r);
            sum[r][0] = _mm256_fmadd_ps(low, own, sum[r][0]);
            sum[r][1] = _mm256_fmadd_ps(high, own, sum[r][1]);
        }
    }
    _Pragma("GCC unroll 6") for (int r = 0; r < rows; r++)
        _Pragma("GCC unroll 2") for (int side = 0; side < 2; side++)
            _mm256_storeu_ps(out + r * ROWS + side * ROWS / 2, sum[r][side]);
}

OWN256 static void four256(const float *numbers, const float *x, Py_ssize_t stride, float *out, Py_ssize_t columns)
{
    add256(numbers, x, stride, out, columns, FEW);
}
OWN256 static void six256(const float *numbers, const float *x, Py_ssize_t stride, float *out, Py_ssize_t columns)
{
    add256(numbers, x, stride, out, columns, SIX);
}

void add_products(const float *numbers, const float *x, Py_ssize_t stride, float *out, Py_ssize_t columns, Py_ssize_t rows)
{
    for (Py_ssize_t r = 0; r < rows;) {
        const Py_ssize_t left = rows - r, most = left <= FEW || left == 7 || left == 8 ? FEW : SIX; /* 5 are one time six, 7 two times four */
        (most == SIX ? six256 : four256)(numbers, x + r, stride, out + r * ROWS, columns);
        r += most;
    }
}

/* More rows than FEW: registers hold the sums of six, so that a few blocks are made numbers first, for all to meet. */
OWN256 INSIDE void many256(const uint8_t *p, const float *x, Py_ssize_t stride, float *out, Py_ssize_t k, const int bits, Py_ssize_t rows)
{
    float numbers[PIECE * ROWS] __attribute__((aligned(LINE)));
    memset(out, 0, MOST * ROWS * sizeof(float));
    for (Py_ssize_t at = 0; at < k; at += PIECE) {
        const Py_ssize_t columns = k - at < PIECE ? k - at : PIECE;
        for (Py_ssize_t i = 0; i < columns; i += BLOCK, p += SIZE(bits)) {
            Scaled block = block256(p, bits);
            for (int g = 0; g < BLOCK; g += WORD, block.q += WORD * ROWS * bits / 8)
                _Pragma("GCC unroll 8") for (int j = 0; j < WORD; j++) {
                    const Column made = column256(&block, j, bits);
                    _mm256_store_ps(numbers + (i + g + j) * ROWS, made.at[0]);
                    _mm256_store_ps(numbers + (i + g + j) * ROWS + ROWS / 2, made.at[1]);
                }
        }
        add_products(numbers, x + at * stride, stride, out, columns, rows);
    }
}

#define GIVEN const uint8_t *p, const float *x, Py_ssize_t stride, float *out, Py_ssize_t k
OWN512 INSIDE void wide(GIVEN, Py_ssize_t rows, const int bits)
{
    switch (rows) {
    case 1: panel512(p, x, stride, out, k, bits, 1, 4); break;
    case 2: panel512(p, x, stride, out, k, bits, 2, 2); break;
    case 3: panel512(p, x, stride, out, k, bits, 3, 2); break;
    case 4: panel512(p, x, stride, out, k, bits, 4, 1); break;
    case 5: case 6: case 7: case 8: panel512(p, x, stride, out, k, bits, 8, 1); break;
    default: panel512(p, x, stride, out, k, bits, 16, 1);
    }
}
OWN256 INSIDE void narrow(GIVEN, Py_ssize_t rows, const int bits)
{
    switch (rows) {
    case 1: panel256(p, x, stride, out, k, bits, 1, 4); break;
    case 2: panel256(p, x, stride, out, k, bits, 2, 2); break;
    case 3: panel256(p, x, stride, out, k, bits, 3, 1); break;
    case 4: panel256(p, x, stride, out, k, bits, 4, 1); break;
    default: many256(p, x, stride, out, k, bits, rows);
    }
}
OWN512 static void wide4(GIVEN, Py_ssize_t rows) { wide(p, x, stride, out, k, rows, 4); }
OWN512 static void wide8(GIVEN, Py_ssize_t rows) { wide(p, x, stride, out, k, rows, 8); }
OWN256 static void narrow4(GIVEN, Py_ssize_t rows) { narrow(p, x, stride, out, k, rows, 4); }
OWN256 static void narrow8(GIVEN, Py_ssize_t rows) { narrow(p, x, stride, out, k, rows, 8); }

void panel_rows(GIVEN, Py_ssize_t rows, int size)
{
    if (__builtin_cpu_supports("avx512f"))
        (size == PANEL4 ? wide4 : wide8)(p, x, stride, out, k, rows);
    else
        (size == PANEL4 ? narrow4 : narrow8)(p, x, stride, out, k, rows);
}
#else
void panel_rows(const uint8_t *p, const float *x, Py_ssize_t stride, float *out, Py_ssize_t k, Py_ssize_t rows, int size) {}
void add_products(const float *numbers, const float *x, Py_ssize_t stride, float *out, Py_ssize_t columns, Py_ssize_t rows) {}
#endif

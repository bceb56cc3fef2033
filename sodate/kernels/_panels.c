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

enum { ROWS = 16, BLOCK = 32, HALVES = 2 * ROWS /* bytes */, WORD = 8 /* columns */, FEW = 4, MOST = 16, LINE = 64 };

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

OWN256 INSIDE void panel256(const uint8_t *p, const float *x, Py_ssize_t stride, float *out, Py_ssize_t k, const int bits, const int rows)
{
    const __m256i lowest = _mm256_set1_epi32(15);
    for (int side = 0; side < 2; side++) { /* 8 of the 16 rows at a time */
        __m256 sum[8];
        for (int r = 0; r < rows; r++)
            sum[r] = _mm256_setzero_ps();
        const uint8_t *own = p;
        for (Py_ssize_t at = 0; at < k; at += BLOCK, own += SIZE(bits)) {
            const __m256 d = _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(own + side * ROWS)));
            const __m256 m = bits == 4 ? _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(own + HALVES + side * ROWS))) : d;
            const uint8_t *q = own + (bits == 4 ? 2 * HALVES + side * 2 * ROWS : HALVES + side * ROWS / 2);
            for (int g = 0; g < BLOCK; g += WORD, q += WORD * ROWS * bits / 8) {
                const __m256i words = bits == 4 ? _mm256_loadu_si256((const __m256i *)q) : lowest;
                _Pragma("GCC unroll 8") for (int j = 0; j < WORD; j++) {
                    __m256 weight;
                    if (bits == 4)
                        weight = _mm256_fmadd_ps(_mm256_cvtepi32_ps(_mm256_and_si256(_mm256_srli_epi32(words, 4 * j), lowest)), d, m);
                    else
                        weight = _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(q + j * ROWS)))), d);
                    const Py_ssize_t i = at + g + j;
                    for (int r = 0; r < rows; r++)
                        sum[r] = _mm256_fmadd_ps(weight, _mm256_set1_ps(X(i, r)), sum[r]);
                }
            }
        }
        for (int r = 0; r < rows; r++)
            _mm256_storeu_ps(out + r * ROWS + side * ROWS / 2, sum[r]);
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
    case 8: panel512(p, x, stride, out, k, bits, 8, 1); break;
    default: panel512(p, x, stride, out, k, bits, 16, 1);
    }
}
OWN256 INSIDE void narrow(GIVEN, Py_ssize_t rows, const int bits)
{
    switch (rows) {
    case 1: panel256(p, x, stride, out, k, bits, 1); break;
    case 2: panel256(p, x, stride, out, k, bits, 2); break;
    case 3: panel256(p, x, stride, out, k, bits, 3); break;
    case 4: panel256(p, x, stride, out, k, bits, 4); break;
    case 8: panel256(p, x, stride, out, k, bits, 8); break;
    default:
        panel256(p, x, stride, out, k, bits, 8);
        panel256(p, x + 8, stride, out + 8 * ROWS, k, bits, 8);
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
#endif

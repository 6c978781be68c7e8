/* The loops of STREAM (McCalpin), and a read, for a figure to compare the agent's with: C, OpenMP, and what the compiler makes of
 * it for this processor. Arrays are four times the last caches together, as STREAM asks; the best of all passes counts.
 *
 * Prints bytes per second, a line each: read, copy, triad; first of all threads, then of one. */
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>

/* Thirty-two sums side by side, as the agent has them: one alone would wait for its own additions, not for memory. */
static double sum_of(const double *values, size_t n) {
    double sums[32] = {0}, sum = 0;
    for (size_t i = 0; i + 32 <= n; i += 32)
        for (int lane = 0; lane < 32; lane++) sums[lane] += values[i + lane];
    for (int lane = 0; lane < 32; lane++) sum += sums[lane];
    return sum;
}

static double best_of(int kernel, double *a, double *b, double *c, size_t n, int threads) {
    double best = 1e9, sum = 0;
    for (int pass = 0; pass < 40; pass++) {
        double begun = omp_get_wtime();
        switch (kernel) {
        case 0:
#pragma omp parallel num_threads(threads) reduction(+ : sum)
            {
                size_t share = n / threads, from = share * omp_get_thread_num();
                sum += sum_of(a + from, share) + sum_of(b + from, share) + sum_of(c + from, share);
            }
            break;
        case 1:
#pragma omp parallel for simd num_threads(threads) schedule(static)
            for (size_t i = 0; i < n; i++) c[i] = a[i];
            break;
        default:
#pragma omp parallel for simd num_threads(threads) schedule(static)
            for (size_t i = 0; i < n; i++) a[i] = b[i] + 1e-9 * c[i];
        }
        double took = omp_get_wtime() - begun;
        if (took < best) best = took;
    }
    /* The sum is used, so that it is made. */
    if (sum == 0.123456789) fputs("", stderr);
    return best;
}

int main(int count, char **arguments) {
    size_t n = count > 1 ? strtoull(arguments[1], 0, 10) / 3 / sizeof(double) : 0;
    double *a = malloc(n * sizeof *a), *b = malloc(n * sizeof *b), *c = malloc(n * sizeof *c);
    if (!n || !a || !b || !c) { fputs("stream: give the bytes of all arrays together\n", stderr); return 1; }
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < n; i++) { a[i] = 1; b[i] = 2; c[i] = 0.5; }
    static const char *names[] = {"read", "copy", "triad"};
    static const double moved[] = {24, 16, 24};
    int all = omp_get_max_threads();
    for (int threads = all;; threads = 1) {
        for (int kernel = 0; kernel < 3; kernel++)
            printf("%s %d %.0f\n", names[kernel], threads, moved[kernel] * n / best_of(kernel, a, b, c, n, threads));
        if (threads == 1) break;
    }
    return 0;
}

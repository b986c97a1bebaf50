/* log2() in place of the one of zig's C library, which is wrong in the last place for powers of two (log2(2**-1065) is
 * -1064.9999999999998) and in the seventh for subnormals. Exact for powers of two: tests/python/test_cpython_tests.py. */

#include <math.h>

double log2(double x) {
    if (!(x > 0.0) || isinf(x)) return log(x); /* nan, -inf, inf */
    int exponent;
    double fraction = frexp(x, &exponent); /* 0.5 ≤ fraction < 1 */
    /* On either side of 1 the two terms have the same sign, so that nothing cancels. */
    if (x > 1.0) return log(2.0 * fraction) / log(2.0) + (exponent - 1);
    return log(fraction) / log(2.0) + exponent;
}

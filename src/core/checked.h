// Size arithmetic that cannot wrap. Every size that comes from outside is computed with these.
#pragma once

#include <cstdint>

namespace moeq {

// False when the result does not fit; then *out is unspecified.
[[nodiscard]] inline bool checked_multiply(int64_t a, int64_t b, int64_t* out)
{
    return !__builtin_mul_overflow(a, b, out);
}

// Product of the extents. An extent of 0 makes it 0 whatever the others are.
[[nodiscard]] inline bool checked_product(int32_t ndim, const int64_t* extents, int64_t* out)
{
    int64_t product = 1;
    bool fits = true;
    for (int32_t i = 0; i < ndim; ++i) {
        if (extents[i] == 0) {
            *out = 0;
            return true;
        }
        fits = fits && checked_multiply(product, extents[i], &product);
    }
    *out = product;
    return fits;
}

constexpr int64_t ceil_divide(int64_t a, int64_t b) { return a / b + (a % b != 0 ? 1 : 0); }
constexpr int64_t round_up(int64_t a, int64_t b) { return ceil_divide(a, b) * b; }
constexpr int64_t round_down(int64_t a, int64_t b) { return a - a % b; }
constexpr int64_t minimum(int64_t a, int64_t b) { return a < b ? a : b; }
constexpr int64_t maximum(int64_t a, int64_t b) { return a > b ? a : b; }

} // namespace moeq

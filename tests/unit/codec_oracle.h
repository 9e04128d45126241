// Independent judges for the codec tests: formats written down as lists of their values in double, and nearest values
// found by comparing distances. Nothing here uses the product's algorithms.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <vector>

namespace codec_oracle {

inline float from_bits(uint32_t bits) { return std::bit_cast<float>(bits); }
inline uint32_t to_bits(float value) { return std::bit_cast<uint32_t>(value); }

// The value of sign-less code `code` of a binary float with the given mantissa width and bias, as if no code were
// special.
inline double small_float_value(uint32_t code, int mantissa_bits, int bias)
{
    const uint32_t exponent = code >> mantissa_bits;
    const double fraction = std::ldexp(static_cast<double>(code & ((1u << mantissa_bits) - 1u)), -mantissa_bits);
    return exponent == 0 ? std::ldexp(fraction, 1 - bias)
                         : std::ldexp(1.0 + fraction, static_cast<int>(exponent) - bias);
}

// The non-negative values of codes 0..last, ascending.
inline std::vector<double> small_float_values(uint32_t last, int mantissa_bits, int bias)
{
    std::vector<double> values;
    for (uint32_t code = 0; code <= last; ++code) {
        values.push_back(small_float_value(code, mantissa_bits, bias));
    }
    return values;
}

// The index of the value nearest to `x` by looking at every distance; an exact tie goes to the even index.
inline uint32_t nearest_even(const std::vector<double>& values, double x)
{
    uint32_t best = 0;
    double best_distance = std::numeric_limits<double>::infinity();
    for (uint32_t i = 0; i < values.size(); ++i) {
        const double distance = std::fabs(values[i] - x);
        if (distance < best_distance || (distance == best_distance && i % 2 == 0)) {
            best = i;
            best_distance = distance;
        }
    }
    return best;
}

// fp32 inputs that reach every exponent, both signs, and all bit patterns in principle.
class RandomFloats {
public:
    explicit RandomFloats(uint32_t seed) : engine_(seed) {}
    uint32_t bits() { return static_cast<uint32_t>(engine_()); }
    // A finite value of any exponent.
    float finite()
    {
        for (;;) {
            const float value = from_bits(bits());
            if (std::isfinite(value)) {
                return value;
            }
        }
    }
    // Uniform in [0, 1).
    double unit() { return static_cast<double>(engine_() >> 11) * 0x1p-53; }

private:
    std::mt19937_64 engine_;
};

// NF4's values as the decimals that bitsandbytes publishes, and FP4's by code.
inline constexpr float kNf4[16] = {-1.0f,
                                   -0.6961928009986877f,
                                   -0.5250730514526367f,
                                   -0.39491748809814453f,
                                   -0.28444138169288635f,
                                   -0.18477343022823334f,
                                   -0.09105003625154495f,
                                   0.0f,
                                   0.07958029955625534f,
                                   0.16093020141124725f,
                                   0.24611230194568634f,
                                   0.33791524171829224f,
                                   0.44070982933044434f,
                                   0.5626170039176941f,
                                   0.7229568362236023f,
                                   1.0f};
inline constexpr float kFp4Magnitudes[8] = {0.0f, 0.005208333333f, 2.0f / 3.0f, 1.0f, 1.0f / 3.0f,
                                            0.5f, 1.0f / 6.0f,     0.25f};
inline constexpr float kFp4Cuts[7] = {.00260417f, .0859375f, .20833333f, .29166667f, .4166667f, .583333f, .8333333f};
inline constexpr uint8_t kFp4Order[8] = {0, 1, 6, 7, 4, 5, 2, 3};

} // namespace codec_oracle

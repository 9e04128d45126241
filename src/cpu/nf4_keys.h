// NF4 codes of bf16 numbers from their bits alone. fl(x * fl(1 / a)) grows with x, so the code of x changes at 15 numbers, and
// these depend on the mantissa of the block's largest magnitude a only, while neither a nor its reciprocal leaves the normal
// numbers. Everything here is made at compile time, where every operation on floats rounds once, as IEEE has it.
#pragma once

#include <bit>
#include <cstdint>

#include "codec/nf4.h"

namespace moeq::cpu {

namespace {

// Blocks that keys are made for: those of a 0, and those of kLeastKeyedBits <= a < kEndKeyedBits, as fp32 bits. Below lie the
// tiny ones, which are scaled twice; above, a reciprocal may be subnormal.
constexpr uint32_t kLeastKeyedBits = codec::kTinyAmaxBits;
constexpr uint32_t kEndKeyedBits = 0x7E000000u; // 2^125

// A key is the distance of |x| from a / 2^(span / 128), in bf16 numbers and at least 0; for a negative x it is the complement. It
// says all of x that a code depends on: whatever is smaller has the code of 0. Cells are runs of keys of which at most one
// has a threshold.
template <int span, int cell_keys>
struct Nf4Keys {
    static constexpr int kSpan = span; // keys go from -span to span - 1
    static constexpr int kCellKeys = cell_keys;
    static constexpr int kCells = 2 * span / cell_keys;

    // Of a with the mantissa m / 128.
    struct Thresholds {
        int first[15]; // the least key whose code is above i
    };

    static constexpr float scaled(int mantissa, int key)
    {
        const uint32_t most = 0x3F80u + static_cast<uint32_t>(mantissa);
        const uint32_t magnitude = most - (span - 1) + static_cast<uint32_t>(key < 0 ? ~key : key);
        const float reciprocal = 1.0f / std::bit_cast<float>(most << 16);
        return std::bit_cast<float>((key < 0 ? 0x8000u | magnitude : magnitude) << 16) * reciprocal;
    }

    static constexpr Thresholds thresholds(int mantissa)
    {
        Thresholds found{};
        for (int i = 0; i < 15; ++i) {
            const float threshold = std::bit_cast<float>(codec::kNf4Thresholds.bits[i]);
            int low = -span; // the code of a key below is not above i
            int high = span; // that of this key would be
            while (low < high) {
                const int middle = (low + high) >> 1;
                if (scaled(mantissa, middle) > threshold)
                    high = middle;
                else
                    low = middle + 1;
            }
            found.first[i] = low;
        }
        return found;
    }

    // Of a cell: the code of its first key, and by which of its keys it is one more; cell_keys if by none.
    struct Cell {
        int code;
        int step;
        bool separate; // there is at most one step
    };

    static constexpr Cell cell(const Thresholds& thresholds, int number)
    {
        const int begin = number * cell_keys - span;
        Cell cell{0, cell_keys, true};
        for (const int first : thresholds.first) {
            if (first <= begin) {
                ++cell.code;
            } else if (first < begin + cell_keys) {
                cell.separate = cell.separate && cell.step == cell_keys;
                cell.step = first - begin;
            }
        }
        return cell;
    }
};

} // namespace

} // namespace moeq::cpu

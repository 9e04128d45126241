// Numbers that a seed gives, the same on every machine.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace moeq_random {

class Dice {
public:
    // Mixed, as the numbers of splitmix64 from neighbouring states are each other's, one place further.
    explicit Dice(uint64_t seed) : state_(mixed(~mixed(seed))) {}

    uint64_t next() { return mixed(state_ += 0x9E3779B97F4A7C15u); }
    int64_t below(int64_t count) { return static_cast<int64_t>(next() % static_cast<uint64_t>(count)); }
    int64_t between(int64_t low, int64_t high) { return low + below(high - low + 1); }
    bool chance(int percent) { return below(100) < percent; }

    template <class T, size_t kCount>
    const T& of(const T (&values)[kCount])
    {
        return values[below(static_cast<int64_t>(kCount))];
    }
    template <class T>
    const T& of(const std::vector<T>& values)
    {
        return values[static_cast<size_t>(below(static_cast<int64_t>(values.size())))];
    }

private:
    static uint64_t mixed(uint64_t z)
    {
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
        return z ^ (z >> 31);
    }

    uint64_t state_;
};

} // namespace moeq_random

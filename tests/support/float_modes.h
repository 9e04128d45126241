// The floating-point modes of a thread: control and sticky flags in one word, where the processor is a known one
// (MOEQ_TEST_FLOAT_MODES).
#pragma once

#include <cstdint>

#if defined(__SSE__)
#include <xmmintrin.h>
#endif

namespace moeq_test {

#if defined(__SSE__)
#define MOEQ_TEST_FLOAT_MODES 1

using FloatModes = uint32_t; // MXCSR
constexpr FloatModes kControl = 0xFFC0;
constexpr FloatModes kDefaultModes = 0x1F80;
constexpr FloatModes kFlush = 0x8040; // results to zero, and sources
constexpr FloatModes kPartsOfFlush[] = {0x8000, 0x0040};
constexpr FloatModes kDownward = 0x2000;
constexpr FloatModes kUpward = 0x4000;
constexpr FloatModes kTowardZero = 0x6000;
constexpr FloatModes kSticky = 0x3F;

inline FloatModes float_modes() { return _mm_getcsr(); }
inline void set_float_modes(FloatModes modes) { _mm_setcsr(modes); }

#elif defined(__aarch64__)
#define MOEQ_TEST_FLOAT_MODES 1

using FloatModes = uint64_t; // FPCR, and FPSR above it
constexpr FloatModes kControl = 0xFFFFFFFF;
constexpr FloatModes kDefaultModes = 0;
constexpr FloatModes kFlush = 0x03000000; // subnormals to zero (FZ), NaN without payload (DN)
constexpr FloatModes kPartsOfFlush[] = {0x01000000, 0x02000000};
constexpr FloatModes kUpward = 0x00400000;
constexpr FloatModes kDownward = 0x00800000;
constexpr FloatModes kTowardZero = 0x00C00000;
constexpr FloatModes kSticky = 0x0800009Full << 32;

inline FloatModes float_modes()
{
    uint64_t control;
    uint64_t status;
    __asm__ __volatile__("mrs %0, fpcr" : "=r"(control));
    __asm__ __volatile__("mrs %0, fpsr" : "=r"(status));
    return control | status << 32;
}

inline void set_float_modes(FloatModes modes)
{
    __asm__ __volatile__("msr fpcr, %0" : : "r"(modes & kControl) : "memory");
    __asm__ __volatile__("msr fpsr, %0" : : "r"(modes >> 32) : "memory");
}

#endif

#if defined(MOEQ_TEST_FLOAT_MODES)

constexpr FloatModes kHostModes[] = {kDefaultModes | kFlush,           kDefaultModes | kPartsOfFlush[0],
                                     kDefaultModes | kPartsOfFlush[1], kDefaultModes | kFlush | kDownward,
                                     kDefaultModes | kFlush | kUpward, kDefaultModes | kFlush | kTowardZero,
                                     kDefaultModes | kSticky};

class ScopedFloatModes {
public:
    explicit ScopedFloatModes(FloatModes modes) : before_(float_modes()) { set_float_modes(modes); }
    ~ScopedFloatModes() { set_float_modes(before_); }
    ScopedFloatModes(const ScopedFloatModes&) = delete;
    ScopedFloatModes& operator=(const ScopedFloatModes&) = delete;

private:
    FloatModes before_;
};

#endif

} // namespace moeq_test

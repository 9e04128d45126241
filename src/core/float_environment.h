// Results must not depend on the host's floating-point modes (a fast-math library sets flush-to-zero for the whole
// process), and the host's modes must not change. Every task of a call runs inside one of these.
#pragma once

#if defined(__SSE__)
#include <xmmintrin.h>
#endif

#include <cstdint>

namespace moeq {

class FloatEnvironment {
public:
#if defined(__SSE__)
    FloatEnvironment() : saved_(_mm_getcsr())
    {
        if (saved_ != kDefault)
            _mm_setcsr(kDefault);
    }
    ~FloatEnvironment() { _mm_setcsr(saved_); } // also takes back the sticky flags that we raised

private:
    static constexpr uint32_t kDefault = 0x1F80; // nearest even, subnormals kept, all exceptions masked
    uint32_t saved_;
#elif defined(__aarch64__)
    FloatEnvironment() : control_(control()), status_(status())
    {
        if (control_ != kDefault)
            set_control(kDefault);
    }
    ~FloatEnvironment()
    {
        if (control_ != kDefault)
            set_control(control_);
        set_status(status_); // takes back the sticky flags that we raised
    }

private:
    // Nearest even, subnormals of fp32 (FZ) and fp16 (FZ16) kept, NaN with its payload (DN), no traps.
    static constexpr uint64_t kDefault = 0;

    // GCC's builtins for these registers are unknown to Clang.
    static uint64_t control()
    {
        uint64_t bits;
        __asm__ __volatile__("mrs %0, fpcr" : "=r"(bits));
        return bits;
    }
    static uint64_t status()
    {
        uint64_t bits;
        __asm__ __volatile__("mrs %0, fpsr" : "=r"(bits));
        return bits;
    }
    static void set_control(uint64_t bits) { __asm__ __volatile__("msr fpcr, %0" : : "r"(bits) : "memory"); }
    static void set_status(uint64_t bits) { __asm__ __volatile__("msr fpsr, %0" : : "r"(bits) : "memory"); }

    uint64_t control_;
    uint64_t status_;
#endif

public:
    FloatEnvironment(const FloatEnvironment&) = delete;
    FloatEnvironment& operator=(const FloatEnvironment&) = delete;
};

} // namespace moeq

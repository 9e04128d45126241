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
    FloatEnvironment() : control_(__builtin_aarch64_get_fpcr64()), status_(__builtin_aarch64_get_fpsr64())
    {
        if (control_ != 0)
            __builtin_aarch64_set_fpcr64(0);
    }
    ~FloatEnvironment()
    {
        __builtin_aarch64_set_fpcr64(control_);
        __builtin_aarch64_set_fpsr64(status_);
    }

private:
    unsigned long long control_;
    unsigned long long status_;
#endif

public:
    FloatEnvironment(const FloatEnvironment&) = delete;
    FloatEnvironment& operator=(const FloatEnvironment&) = delete;
};

} // namespace moeq

#include "formats/given_amax.h"

#include "codec/amax.h"

namespace moeq {

moeq_status check_given_amax(const TensorView& amax, int32_t argument, Report& report)
{
    for (int64_t e = 0; e < amax.count; ++e) {
        const float value = *reinterpret_cast<const float*>(amax.data + e * amax.strides[0] * amax.itemsize());
        if (value >= 0.0f && codec::magnitude_bits_fp32(value) < codec::kNonfiniteBits)
            continue;
        const moeq_status status = report.fail(MOEQ_ERROR_VALUE, argument, "amax")
                                   << "got " << (value < 0.0f ? "a negative value" : "NaN or Inf") << " for expert "
                                   << e << "; want finite values of 0 or more";
        report.set_place({e, -1, -1});
        return status;
    }
    return MOEQ_OK;
}

} // namespace moeq

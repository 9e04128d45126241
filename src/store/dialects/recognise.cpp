#include "store/dialects/recognise.h"

#include "store/dialects/dialect.h"

namespace moeq::store {

moeq_status recognise_weights(const Checkpoint& checkpoint, const char* patterns, int32_t argument, Weights* out,
                              Report& report)
{
    MOEQ_TRY(out->begin(checkpoint, report));
    out->dialect = detect_dialect(checkpoint);
    const Dialect* reads = find_dialect(out->dialect);
    if (reads != nullptr)
        MOEQ_TRY(reads->recognise(out->allocator(), checkpoint, out, report));
    return out->complete(checkpoint, patterns, argument, report);
}

} // namespace moeq::store

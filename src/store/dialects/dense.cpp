// Files without a quantized weight: no project's way to lay one out, but what loaders want to find beside the tensors.
#include "store/dialects/parts.h"

namespace moeq::store {

constinit const Dialect kDenseDialect = {
    .id = MOEQ_DIALECT_NONE,
    .name = "none",
    .experts = ExpertForm::kAsTheyAre,
    .scale_kind = MOEQ_SCALE_DEFAULT,
    .adjust = nullptr,
    .list = nullptr,
    .fill = nullptr,
    .write_metadata = write_torch_metadata,
    .write_config = nullptr,
    .recognise = nullptr,
    .lacks_scales = nullptr,
};

} // namespace moeq::store

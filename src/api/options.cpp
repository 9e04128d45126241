#include "api/options.h"

#include "api/boundary.h"

namespace moeq {

moeq_status read_quantize_options(const moeq_quantize_options* given, const Argument& argument, bool for_builder,
                                  moeq_quantize_options* out, Report& report)
{
    MOEQ_TRY(read_struct(given, out, argument, report));
    MOEQ_TRY(check_zero(out->reserved, "reserved", argument, report));
    if (out->storage_count < 0 || (out->storage == nullptr) != (out->storage_count == 0))
        return report.fail(MOEQ_ERROR_ARGUMENT, argument)
               << "got storage_count " << out->storage_count
               << (out->storage == nullptr ? " without storage" : " with storage") << "; want both or neither";
    if (out->storage != nullptr && out->device_type != MOEQ_DEVICE_DEFAULT)
        return report.fail(MOEQ_ERROR_ARGUMENT, argument)
               << "got storage and a device_type; want one of them: the storage says where it is";
    if (out->staging_limit < 0 || (out->staging_limit != 0 && !for_builder))
        return report.fail(MOEQ_ERROR_ARGUMENT, argument)
               << "got staging_limit " << out->staging_limit
               << (for_builder ? "; want 0 (none) or more" : "; want 0: only builders stage");
    return MOEQ_OK;
}

} // namespace moeq

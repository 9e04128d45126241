#include "api/options.h"

#include "api/boundary.h"

namespace moeq {

moeq_status check_host_device(int32_t device_type, int32_t device_id, int32_t type_argument, int32_t id_argument,
                              const char* type_name, const char* id_name, Report& report)
{
    switch (device_type) {
    case MOEQ_DEVICE_DEFAULT:
    case MOEQ_DEVICE_CPU:
        break;
    case MOEQ_DEVICE_CUDA:
    case MOEQ_DEVICE_CUDA_HOST:
    case MOEQ_DEVICE_CUDA_MANAGED:
        return report.fail(MOEQ_ERROR_BACKEND, type_argument, type_name)
               << "got " << device_type << " (CUDA); want MOEQ_DEVICE_CPU: this build of moeq has no CUDA backend";
    default:
        return report.fail(MOEQ_ERROR_ARGUMENT, type_argument, type_name)
               << "got " << device_type << "; want a MOEQ_DEVICE_ constant";
    }
    if (device_id != 0)
        return report.fail(MOEQ_ERROR_DEVICE, id_argument, id_name)
               << "got " << device_id << "; want 0 for host memory";
    return MOEQ_OK;
}

moeq_status read_quantize_options(const moeq_quantize_options* given, int32_t argument, bool for_builder,
                                  moeq_quantize_options* out, Report& report)
{
    MOEQ_TRY(read_struct(given, out, argument, "options", report));
    MOEQ_TRY(check_zero(out->reserved, "reserved", argument, "options", report));
    MOEQ_TRY(check_host_device(out->device_type, out->device_id, argument, argument, "options.device_type",
                               "options.device_id", report));
    if (out->storage_count < 0 || (out->storage == nullptr) != (out->storage_count == 0))
        return report.fail(MOEQ_ERROR_ARGUMENT, argument, "options")
               << "got storage_count " << out->storage_count
               << (out->storage == nullptr ? " without storage" : " with storage") << "; want both or neither";
    if (out->storage != nullptr && out->device_type != MOEQ_DEVICE_DEFAULT)
        return report.fail(MOEQ_ERROR_ARGUMENT, argument, "options")
               << "got storage and a device_type; want one of them: the storage says where it is";
    if (out->staging_limit < 0 || (out->staging_limit != 0 && !for_builder))
        return report.fail(MOEQ_ERROR_ARGUMENT, argument, "options")
               << "got staging_limit " << out->staging_limit
               << (for_builder ? "; want 0 (none) or more" : "; want 0: only builders stage");
    return MOEQ_OK;
}

} // namespace moeq

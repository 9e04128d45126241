// The row of the table of backends, and the two doors of the plug-in.
#include <pthread.h>

#include <atomic>

#include "core/status_word.h"
#include "device/host_backend.h"
#include "formats/given_amax.h"
#include "host/engine.h"
#include "host/references.h"
#include "mirror/memory.h"
#include "mirror/mirror.h"

using namespace moeq;
using moeq_mirror::memory;

namespace {

constexpr int32_t kDevices = 2;

std::atomic<long> operations{0};

cpu::Kernels kernels;
const Executor serial(nullptr, nullptr, nullptr);
const Engine engine{serial, kernels};
pthread_once_t filled = PTHREAD_ONCE_INIT;

// While this lives the device's memory may be touched. `call` is what the host's row works with.
struct Operation {
    explicit Operation(const Call& from)
    {
        call.status_word = from.status_word;
        call.hot = from.hot;
        call.engine = &engine;
        operations.fetch_add(1, std::memory_order_relaxed);
        memory.enter_operation();
    }
    ~Operation() { memory.leave_operation(); }
    Operation(const Operation&) = delete;
    Operation& operator=(const Operation&) = delete;

    Call call;
};

moeq_status open_device(const Device& device, Report& report)
{
    if (device.id >= 0 && device.id < kDevices)
        return MOEQ_OK;
    return report.fail(MOEQ_ERROR_DEVICE) << "got CUDA device " << device.id << "; want 0 to " << kDevices - 1;
}

moeq_status allocate(const Call&, uint64_t bytes, void** out, Report& report)
{
    *out = memory.allocate(bytes);
    return *out != nullptr ? MOEQ_OK
                           : report.fail(MOEQ_ERROR_DEVICE_MEMORY) << "got no memory for " << bytes << " bytes";
}

void release(const Call&, void* piece, uint64_t bytes) { memory.free(piece, bytes); }

moeq_status copy(const Call& from_call, const TensorView& from, const TensorView& to, Report& report)
{
    const Operation operation(from_call);
    return kHostBackend.copy(operation.call, from, to, report);
}

moeq_status prepare(const Call& from, const EncodedWeight& weight, const TensorView* amax, Report& report)
{
    const Operation operation(from);
    if (amax != nullptr)
        MOEQ_TRY(check_given_amax(*amax, 0, report));
    return kHostBackend.prepare(operation.call, weight, amax, report);
}

moeq_status encode(const Call& from, const EncodedWeight& weight, const StackView& source, const TensorView* amax,
                   float* absmax, Findings& findings, Report& report)
{
    const Operation operation(from);
    return kHostBackend.encode(operation.call, weight, source, amax, absmax, findings, report);
}

moeq_status encode_part(const Call& from, const EncodedWeight& weight, const Patch& patch, const TensorView* amax,
                        float* absmax, Findings& findings, Report& report)
{
    const Operation operation(from);
    return kHostBackend.encode_part(operation.call, weight, patch, amax, absmax, findings, report);
}

moeq_status encode_run(const Call& from, const EncodedWeight& weight, int32_t dtype, const void* elements,
                       const RunRange& range, float* absmax, Findings& findings, Report& report)
{
    const Operation operation(from);
    return kHostBackend.encode_run(operation.call, weight, dtype, elements, range, absmax, findings, report);
}

moeq_status close_nested(const Call& from, const EncodedWeight& weight, const float* absmax, Report& report)
{
    const Operation operation(from);
    return kHostBackend.close_nested(operation.call, weight, absmax, report);
}

void write_zeros(const StackView& to, int64_t rows, int64_t columns)
{
    for (int64_t row = 0; row < rows; ++row)
        for (int64_t column = 0; column < columns; ++column)
            std::memset(to.at(0, row, column), 0, static_cast<size_t>(to.itemsize));
}

// One expert after the other: the ids are the device's to read.
moeq_status decode(const Call& from, const EncodedWeight& weight, const ExpertList& experts, int64_t row_begin,
                   int64_t row_end, const StackView& destination, int32_t stores, Report& report)
{
    const Operation operation(from);
    for (int64_t i = 0; i < experts.count; ++i) {
        StackView one = destination;
        one.data = destination.at(i, 0, 0);
        const int64_t expert = experts[i];
        if (expert < 0 || expert >= weight.geometry.experts) {
            see(from.status_word, MOEQ_SEEN_BAD_EXPERT);
            write_zeros(one, row_end - row_begin, weight.geometry.columns);
            continue;
        }
        ExpertList alone;
        alone.ids = &expert;
        alone.count = 1;
        MOEQ_TRY(kHostBackend.decode(operation.call, weight, alone, row_begin, row_end, one, stores, report));
    }
    return MOEQ_OK;
}

moeq_status compare(const Call& from, const EncodedWeight& weight, const StackView& source, const MetricSink& sink,
                    Report& report)
{
    const Operation operation(from);
    return kHostBackend.compare(operation.call, weight, source, sink, report);
}

moeq_status reduce(const Call& from, const amax::Plan& plan, Report& report)
{
    const Operation operation(from);
    return kHostBackend.reduce(operation.call, plan, report);
}

moeq_status scale_from_amax(const Call& from, const TensorView& amax, int32_t format, const TensorView& destination,
                            Report& report)
{
    const Operation operation(from);
    return kHostBackend.scale_from_amax(operation.call, amax, format, destination, report);
}

constinit const Backend kMirror{
    .version = kBackendVersion,
    .backend_bytes = sizeof(Backend),
    .call_bytes = sizeof(Call),
    .weight_bytes = sizeof(EncodedWeight),
    .plan_bytes = sizeof(amax::Plan),
    .device_type = MOEQ_DEVICE_CUDA,
    .name = "mirror",
    .open_device = open_device,
    .allocate = allocate,
    .release = release,
    .copy = copy,
    .prepare = prepare,
    .encode = encode,
    .encode_part = encode_part,
    .encode_run = encode_run,
    .close_nested = close_nested,
    .decode = decode,
    .compare = compare,
    .reduce = reduce,
    .scale_from_amax = scale_from_amax,
};

} // namespace

extern "C" {

const void* moeq_cuda_backend(uint32_t version, uint32_t* own)
{
    *own = kBackendVersion;
    pthread_once(&filled, [] { fill_reference_kernels(&kernels); });
    return version == kBackendVersion ? &kMirror : nullptr;
}

void* moeq_mirror_allocate(size_t bytes) { return memory.allocate(bytes); }
void moeq_mirror_free(void* piece, size_t bytes) { memory.free(piece, bytes); }
void moeq_mirror_enter_call(void) { memory.enter_call(); }
void moeq_mirror_leave_call(void) { memory.leave_call(); }
long moeq_mirror_operations(void) { return operations.load(std::memory_order_relaxed); }
}

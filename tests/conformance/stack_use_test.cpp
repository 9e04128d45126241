// How much of its thread's stack quantizing, dequantizing and reductions take: hosts' threads may have little (musl gives them 128 KiB).
#include <pthread.h>
#include <sys/mman.h>

#include <functional>

#include "support/api.h"

namespace moeq_test {
namespace {

constexpr size_t kStack = size_t{1} << 20;
constexpr size_t kMost = size_t{112} << 10; // what docs/conventions.md says
constexpr uint8_t kUnused = 0xA5;

// Runs the call on a stack of its own; returns how many bytes of it were written to.
size_t stack_of(const std::function<void()>& call)
{
    void* const memory = mmap(nullptr, kStack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    EXPECT_NE(memory, MAP_FAILED);
    std::memset(memory, kUnused, kStack);
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    EXPECT_EQ(pthread_attr_setstack(&attributes, memory, kStack), 0);
    pthread_t thread;
    const auto run = [](void* task) -> void* {
        (*static_cast<const std::function<void()>*>(task))();
        return nullptr;
    };
    EXPECT_EQ(pthread_create(&thread, &attributes, run, const_cast<std::function<void()>*>(&call)), 0);
    pthread_join(thread, nullptr);
    pthread_attr_destroy(&attributes);
    const auto* bytes = static_cast<const uint8_t*>(memory);
    size_t unused = 0;
    while (unused < kStack && bytes[unused] == kUnused)
        ++unused;
    munmap(memory, kStack);
    return kStack - unused;
}

class StackUse : public testing::TestWithParam<const char*> {};

TEST_P(StackUse, little)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || !defined(__OPTIMIZE__)
    GTEST_SKIP() << "frames are larger in this build";
#endif
    const size_t before = stack_of([] {});   // what the thread itself needs
    const Context context = make_context(1); // tasks run on the calling thread
    const Shape shape{2, 300, 700};
    for (const bool transposed : {false, true}) {
        HostTensor source(MOEQ_DTYPE_FP32, shape);
        HostTensor destination(MOEQ_DTYPE_FP32, shape);
        source.fill(31);
        int64_t strides[] = {300 * 700, 1, 300};
        if (transposed) {
            source.plain().strides = strides;
            destination.plain().strides = strides;
        }
        QTensor q;
        const size_t used = stack_of([&] {
            q = quantize(context, source, GetParam());
            MOEQ_EXPECT_OK(moeq_qtensor_requantize(q.get(), source, nullptr, nullptr, &ok));
            MOEQ_EXPECT_OK(moeq_qtensor_dequantize(q.get(), nullptr, nullptr, destination, &ok));
            float amax = 0;
            HostTensor scalar(MOEQ_DTYPE_FP32, {1});
            scalar.plain().ndim = 0;
            scalar.plain().data = &amax;
            MOEQ_EXPECT_OK(moeq_reduce(context.get(), source, nullptr, nullptr, scalar, &ok));
        });
        EXPECT_LE(used - before, kMost) << (transposed ? "transposed" : "row-major");
    }
}

INSTANTIATE_TEST_SUITE_P(Specs, StackUse,
                         testing::Values("int8", "int8:axis=-2", "int8:expert", "fp8_e4m3:block128x128", "nf4",
                                         "nf4:32,nested", "nf4:64,blocking=row", "fp4:profile=bnb_cpu"));

} // namespace
} // namespace moeq_test

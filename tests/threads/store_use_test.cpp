// One reader loaded from many threads, and one target converted by many, with pools of their own and a shared one. Most of it
// is judged by the thread sanitizer.
#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

#include "conformance/convert_cases.h"

namespace moeq_test {
namespace {

template <class Body>
void together(int count, Body body)
{
    std::vector<std::thread> threads;
    for (int i = 0; i < count; ++i)
        threads.emplace_back([&body, i] { body(i); });
    for (std::thread& thread : threads)
        thread.join();
}

class StoreUse : public testing::Test {
protected:
    StoreUse() { layer_.write(source_); }

    const Context context_ = make_context(3);
    TemporaryFolder source_, folder_;
    ExpertLayer layer_{Form::kPerExpert, MOEQ_DTYPE_BF16, 6, 256, 512};
};

TEST_F(StoreUse, CallersLoadFromOneReader)
{
    const char* const specs[] = {"int8", "int8:expert", "nf4:64,nested", "fp8_e4m3:block128x128"};
    const Reader reader = open_reader(context_, source_.path());
    const int64_t stack = stack_index(reader, kGateUp);
    std::vector<Bytes> wanted;
    for (const char* text : specs) {
        const moeq_spec spec = parse(text);
        wanted.push_back(stored_bytes(load(reader, stack, &spec)));
    }
    together(4, [&](int caller) {
        for (size_t i = 0; i < 8; ++i) {
            const size_t at = (i + static_cast<size_t>(caller)) % std::size(specs);
            const moeq_spec spec = parse(specs[at]);
            EXPECT_TRUE(stored_bytes(load(reader, stack, &spec)) == wanted[at]) << specs[at];
        }
    });
}

TEST_F(StoreUse, CallersMapAndVerifyOneFile)
{
    convert(context_, source_.path(), folder_.path("native"), ConvertOptions(MOEQ_DIALECT_NATIVE, "nf4"));
    const Reader reader = open_reader(context_, folder_.path("native"), MOEQ_READER_MMAP);
    const int64_t stack = stack_index(reader, kDown);
    const Bytes wanted = stored_bytes(load(reader, stack));
    together(4, [&](int caller) {
        if (caller == 0) {
            moeq_blob* blob = nullptr;
            MOEQ_EXPECT_OK(moeq_reader_verify(reader.get(), nullptr, nullptr, &blob, &ok));
            const Blob owner(blob);
            EXPECT_TRUE(contains(static_cast<const char*>(moeq_blob_data(blob)), "\"problems\": []"));
        }
        for (int i = 0; i < 8; ++i)
            EXPECT_TRUE(stored_bytes(load(reader, stack)) == wanted);
    });
}

// Each converts the whole of it, with the progress of all of them counted.
TEST_F(StoreUse, CallersConvertIntoOneTarget)
{
    for (const char* spec : {"int8", "nf4:64,nested"}) {
        const std::string target = folder_.path(spec);
        const ConvertOptions alone(MOEQ_DIALECT_BITSANDBYTES, spec);
        convert(make_context(1), source_.path(), target + " alone", alone);
        std::atomic<int> calls{0};
        std::atomic<int> done{0};
        together(4, [&](int) {
            ConvertOptions options(MOEQ_DIALECT_BITSANDBYTES, spec);
            options.value.progress_user = &calls;
            options.value.progress = [](const moeq_progress*, void* user) -> int32_t {
                ++*static_cast<std::atomic<int>*>(user);
                return MOEQ_CONTINUE;
            };
            Error error;
            const moeq_status status =
                moeq_convert(context_.get(), source_.path().c_str(), target.c_str(), &options.value, &error);
            // Who comes when all is over finds a target that is there.
            EXPECT_TRUE(status == MOEQ_OK || status == MOEQ_ERROR_DUPLICATE) << error.message;
            done += status == MOEQ_OK ? 1 : 0;
        });
        EXPECT_GE(done.load(), 1);
        EXPECT_GE(calls.load(), 4);
        expect_same_tree(tree(target), tree(target + " alone"));
        EXPECT_FALSE(fs::exists(target + ".partial"));
    }
}

} // namespace
} // namespace moeq_test

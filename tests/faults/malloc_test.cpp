// Memory that does not come through the context's hooks: there is none. And a process whose malloc fails while a thread makes
// its first call into a library that was just opened gets a status and lives on.
#include <dlfcn.h>
#include <gtest/gtest.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <thread>

#include "malloc_shim.h"
#include "support/calls.h"

namespace moeq_test {
namespace {

class Malloc : public testing::TestWithParam<CallKind> {};

TEST_P(Malloc, WithHooksIsNotUsed)
{
    World world;
    const std::unique_ptr<Call> call = GetParam().in(world, kSmall);
    world.hooks.use_arena(8 << 20);
    const int64_t before = world.hooks.allocations();
    watch_malloc(false);
    const moeq_status status = call->run(nullptr);
    const int64_t allocations = unwatch_malloc();
    EXPECT_EQ(status, MOEQ_OK);
    EXPECT_EQ(allocations, 0) << "besides " << world.hooks.allocations() - before << " of the hooks";
    call->release();
}

TEST(MallocShim, Works)
{
    if (!malloc_is_watched())
        GTEST_SKIP() << "sanitizers bring a malloc of their own";
    watch_malloc(false);
    void* volatile one = std::malloc(1); // volatile: the compiler may otherwise do without it
    std::free(one);
    EXPECT_EQ(unwatch_malloc(), 1);
    watch_malloc(true);
    void* volatile memory = std::malloc(1);
    unwatch_malloc();
    EXPECT_TRUE(memory == nullptr);
}

// None under sanitizers; MallocShim.Works says so.
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(Malloc);
INSTANTIATE_TEST_SUITE_P(Every, Malloc, testing::ValuesIn(malloc_is_watched() ? all_calls() : std::vector<CallKind>()),
                         test_name);

// A second copy of the library that is opened at run time, not linked: its thread-local storage, had it any, would be
// allocated at the first touch.
class OpenedLibrary : public testing::Test {
protected:
    void SetUp() override
    {
        if (!malloc_is_watched())
            GTEST_SKIP() << "sanitizers bring a malloc of their own";
        Dl_info info{};
        ASSERT_NE(dladdr(reinterpret_cast<void*>(&moeq_version), &info), 0);
        std::string folder = testing::TempDir() + "moeq-opened-XXXXXX";
        ASSERT_NE(mkdtemp(folder.data()), nullptr);
        folder_ = folder;
        std::filesystem::copy_file(info.dli_fname, folder_ + "/copy.so");
        library_ = dlopen((folder_ + "/copy.so").c_str(), RTLD_NOW | RTLD_LOCAL);
        ASSERT_NE(library_, nullptr) << dlerror();
        ASSERT_NE(dlsym(library_, "moeq_version"), reinterpret_cast<void*>(&moeq_version)) << "it must be a copy";
    }
    void TearDown() override
    {
        if (library_ != nullptr)
            dlclose(library_);
        if (!folder_.empty())
            std::filesystem::remove_all(folder_);
    }
    template <class Function>
    Function* find(const char* name, Function*)
    {
        return reinterpret_cast<Function*>(dlsym(library_, name));
    }

    std::string folder_;
    void* library_ = nullptr;
};

int wait_for(pid_t child)
{
    for (int i = 0; i < 6000; ++i) {
        int status = 0;
        if (waitpid(child, &status, WNOHANG) == child)
            return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    kill(child, SIGKILL);
    waitpid(child, nullptr, 0);
    return -1;
}

TEST_F(OpenedLibrary, FirstCallOfAThreadWithoutMemory)
{
    struct Functions {
        decltype(&moeq_context_create) create;
        decltype(&moeq_context_destroy) destroy;
        decltype(&moeq_qtensor_quantize) quantize;
        decltype(&moeq_spec_parse) parse;
        HostTensor* source;
        moeq_context* context;
        int verdict;
    };
    HostTensor source(MOEQ_DTYPE_FP32, {2, 3, 64});
    source.fill();
    Functions functions{find("moeq_context_create", moeq_context_create),
                        find("moeq_context_destroy", moeq_context_destroy),
                        find("moeq_qtensor_quantize", moeq_qtensor_quantize),
                        find("moeq_spec_parse", moeq_spec_parse),
                        &source,
                        nullptr,
                        0};
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
        functions.create(nullptr, &functions.context, nullptr);
        const auto body = [](void* user) -> void* {
            auto& f = *static_cast<Functions*>(user);
            watch_malloc(true);
            moeq_error err{};
            moeq_context* context = nullptr;
            moeq_qtensor* qtensor = nullptr;
            moeq_spec spec{};
            spec.struct_size = sizeof spec;
            const moeq_status created = f.create(nullptr, &context, &err);
            const moeq_status parsed = f.parse("nf4:nested", &spec, &err);
            const moeq_status quantized = f.quantize(f.context, *f.source, &spec, nullptr, nullptr, &qtensor, &err);
            unwatch_malloc();
            f.verdict = created != MOEQ_ERROR_MEMORY     ? 1
                        : parsed != MOEQ_OK              ? 2
                        : quantized != MOEQ_ERROR_MEMORY ? 3
                                                         : 42;
            return nullptr;
        };
        pthread_t thread;
        if (functions.context == nullptr || pthread_create(&thread, nullptr, body, &functions) != 0)
            _exit(4);
        pthread_join(thread, nullptr);
        functions.destroy(functions.context);
        _exit(functions.verdict);
    }
    EXPECT_EQ(wait_for(child), 42) << "127: the C library ended the process";
}

TEST_F(OpenedLibrary, OpeningAllocatesNothingOfOurs)
{
    using Version = decltype(moeq_version);
    auto* version = find("moeq_version", static_cast<Version*>(nullptr));
    ASSERT_NE(version, nullptr);
    watch_malloc(true);
    const int32_t number = version();
    EXPECT_EQ(unwatch_malloc(), 0);
    EXPECT_EQ(number, moeq_version());
}

} // namespace
} // namespace moeq_test

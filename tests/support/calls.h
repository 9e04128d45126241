// Every fallible function of moeq.h as a call that can be repeated, judged and undone. The suites of this folder run them
// all under failing allocators, misbehaving executors and odd floating-point modes.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "moeq.h"
#include "support/hooks.h"
#include "support/host_tensor.h"

namespace moeq_test {

// The extents of the weight that a call is about.
struct Size {
    int64_t experts;
    int64_t rows;
    int64_t columns;
    Shape shape() const { return {experts, rows, columns}; }
};
constexpr Size kSmall{3, 4, 128};
constexpr Size kLarge{4, 128, 1024}; // large enough that the work is split among threads

// A context and the callbacks that it was given.
class World {
public:
    enum class Threads { kSerial, kPool, kExecutor };

    explicit World(Threads threads = Threads::kSerial) : threads_(threads)
    {
        const moeq_context_options given = options();
        moeq_error err{};
        EXPECT_EQ(moeq_context_create(&given, &context, &err), MOEQ_OK) << err.message;
    }
    ~World()
    {
        close();
        expect_all_returned(hooks, contexts);
    }
    World(const World&) = delete;
    World& operator=(const World&) = delete;

    void close()
    {
        moeq_context_destroy(context);
        context = nullptr;
    }
    moeq_context_options options()
    {
        moeq_context_options options = hooks.Hooks::options(threads_ == Threads::kPool ? 3 : 1);
        if (threads_ == Threads::kExecutor)
            options = hooks.options();
        return options;
    }

    HostExecutor hooks;
    moeq_context* context = nullptr;
    int contexts = 1; // how many were made with these hooks

private:
    Threads threads_;
};

class Call {
public:
    Call() = default;
    virtual ~Call() = default; // gives back all that the call made or needed
    Call(const Call&) = delete;
    Call& operator=(const Call&) = delete;

    // May be repeated after a failure. Outs hold rubbish when the function begins.
    virtual moeq_status run(moeq_error* err) = 0;
    // After a failure: are the outs NULL?
    virtual bool outs_are_null() const { return true; }
    // What a failure may not change, as bytes.
    virtual Bytes state() { return {}; }
    // After a success: all that it made, as bytes.
    virtual Bytes result() = 0;
    // How often the tensors that the call adopts on success were given back, added up over all of them.
    virtual int deleted() const { return 0; }
    virtual int adopted() const { return 0; } // how many there are
    // Handles, builders and outs go.
    virtual void release() {}
};

struct CallKind {
    std::string name;     // "quantize nf4:nested"
    std::string function; // "moeq_qtensor_quantize"
    bool hot;             // may not allocate
    bool absorbs;         // may succeed all the same when an allocation failed
    std::unique_ptr<Call> (*make)(World& world, const char* spec, const Size& size);
    std::string spec;

    std::unique_ptr<Call> in(World& world, const Size& size) const { return make(world, spec.c_str(), size); }
};

// One or more for every fallible function.
const std::vector<CallKind>& all_calls();

// "quantize_nf4_nested"
std::string test_name(const testing::TestParamInfo<CallKind>& info);

// The fallible functions that moeq.h declares, found by reading it.
std::vector<std::string> fallible_functions();

moeq_spec parse(const char* text);
// Components, spec, shape and all dequantized values of a handle, as bytes.
Bytes everything(const moeq_qtensor* qtensor);

} // namespace moeq_test

// A call with one thing wrong, and what it must be told.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "support/calls.h"

namespace moeq_test {

// Takes what a failing call makes: it must be NULL afterwards.
template <class T>
struct FailedOut {
    T* pointer = reinterpret_cast<T*>(uintptr_t{0x5555555555555550});
    bool used = false;
    T** operator()()
    {
        used = true;
        return &pointer;
    }
    bool right() const { return !used || pointer == nullptr; }
};

template <class T>
T sized()
{
    T value{};
    value.struct_size = sizeof value;
    return value;
}

// All that a call may need, valid. A wrong call changes one thing of it.
struct Bench {
    Bench();
    ~Bench();
    Bench(const Bench&) = delete;
    Bench& operator=(const Bench&) = delete;

    World world;
    const moeq_context* context = world.context;
    Shape shape = {2, 4, 64};
    HostTensor source{MOEQ_DTYPE_FP32, shape};
    HostTensor destination{MOEQ_DTYPE_FP32, shape};
    HostTensor number{MOEQ_DTYPE_FP32, {}};
    moeq_spec spec = parse("int8");
    moeq_quantize_options options = sized<moeq_quantize_options>();
    moeq_region region = sized<moeq_region>();
    moeq_reduce_options reduce = sized<moeq_reduce_options>();
    moeq_context_options context_options = world.options();
    moeq_component_info component_info = sized<moeq_component_info>();
    moeq_qtensor_info info = sized<moeq_qtensor_info>();
    moeq_builder_state state = sized<moeq_builder_state>();
    moeq_memory memory = sized<moeq_memory>();
    moeq_qtensor* int8 = nullptr; // of the source
    moeq_qtensor* nf4 = nullptr;
    moeq_qtensor* nested = nullptr;
    moeq_qtensor* flat = nullptr;
    moeq_builder* builder = nullptr; // int8; has the first expert
    HostTensor piece{MOEQ_DTYPE_FP32, {4, 64}};
    HostTensor codes{MOEQ_DTYPE_INT8, shape};
    HostTensor scale{MOEQ_DTYPE_FP32, {2, 4}};
    moeq_component components[8] = {{MOEQ_COMPONENT_CODES, 0, codes}, {MOEQ_COMPONENT_SCALE, 0, scale}};
    char text[MOEQ_SPEC_TEXT] = {};
    int64_t numbers[8] = {};
    int32_t small_numbers[8] = {};
    void* stream = this; // any that is not NULL

    FailedOut<moeq_context> context_out;
    FailedOut<moeq_blob> blob_out;
    FailedOut<DLManagedTensorVersioned> tensor_out;
    FailedOut<moeq_qtensor> qtensor_out;
    FailedOut<moeq_builder> builder_out;
};

struct WrongCall {
    const char* function;
    int32_t argument; // 1 for the first; 0: none in particular
    const char* name; // of the argument, as the message calls it; "" with 0
    moeq_status status;
    std::vector<std::string> says; // what was got, what is wanted
    std::function<moeq_status(Bench&, moeq_error*)> run;
    int64_t place[3] = {-1, -1, -1};
};

std::vector<WrongCall> wrong_context_calls();
std::vector<WrongCall> wrong_tensors();
std::vector<WrongCall> wrong_spec_calls();
std::vector<WrongCall> wrong_quantize_calls();
std::vector<WrongCall> wrong_qtensor_calls();
std::vector<WrongCall> wrong_builder_calls();
std::vector<WrongCall> wrong_reduce_calls();
std::vector<WrongCall> wrong_reader_calls();
std::vector<WrongCall> wrong_writer_calls();
std::vector<WrongCall> wrong_convert_calls();
std::vector<WrongCall> all_wrong_calls();

} // namespace moeq_test

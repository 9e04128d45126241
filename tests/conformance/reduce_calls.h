// What the tests of reductions share: options that own their lists, and a context that is watched.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <limits>
#include <string>
#include <vector>

#include "support/hooks.h"
#include "support/host_tensor.h"

namespace reduce_calls {

using moeq_test::Bytes;
using moeq_test::Hooks;
using moeq_test::HostExecutor;
using moeq_test::HostTensor;
using moeq_test::Shape;

inline constexpr float kInf = std::numeric_limits<float>::infinity();
inline constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

struct Options : moeq_reduce_options {
    explicit Options(int32_t wanted_operation = MOEQ_REDUCE_AMAX, int32_t wanted_flags = 0) : moeq_reduce_options{}
    {
        struct_size = sizeof(moeq_reduce_options);
        operation = wanted_operation;
        flags = wanted_flags;
    }
    Options(const Options& other) : moeq_reduce_options(other), axis_list(other.axis_list), lengths(other.lengths)
    {
        axes = other.axes == nullptr ? nullptr : axis_list.data();
        blocks = other.blocks == nullptr ? nullptr : lengths.data();
    }
    Options& operator=(const Options&) = delete;
    Options& over(std::initializer_list<int32_t> list)
    {
        std::copy(list.begin(), list.end(), axis_list.begin());
        axes = axis_list.data();
        axis_count = static_cast<int32_t>(list.size());
        return *this;
    }
    Options& in_blocks(std::initializer_list<int64_t> list)
    {
        std::copy(list.begin(), list.end(), lengths.begin());
        blocks = lengths.data();
        return *this;
    }
    std::array<int32_t, 8> axis_list{};
    std::array<int64_t, 8> lengths{};
};

class Reduce : public testing::Test {
protected:
    void SetUp() override
    {
        moeq_context_options options = hooks.options();
        ASSERT_EQ(moeq_context_create(&options, &context, nullptr), MOEQ_OK);
    }
    void TearDown() override
    {
        moeq_context_destroy(context);
        moeq_test::expect_all_returned(hooks);
    }
    moeq_status reduce(HostTensor& source, const Options& options, HostTensor& destination)
    {
        error = {};
        return moeq_reduce(context, source, &options, nullptr, destination, &error);
    }
    void expect_error(moeq_status status, moeq_status wanted, int32_t argument, const std::string& part)
    {
        EXPECT_EQ(status, wanted) << error.message;
        EXPECT_EQ(error.status, wanted);
        EXPECT_EQ(error.argument, argument) << error.message;
        EXPECT_NE(std::string(error.message).find(part), std::string::npos) << error.message;
    }

    Hooks hooks;
    moeq_context* context = nullptr;
    moeq_error error{};
};

template <class T>
void set(HostTensor& tensor, std::initializer_list<T> values)
{
    ASSERT_EQ(values.size() * sizeof(T), tensor.memory().size());
    std::copy(values.begin(), values.end(), tensor.as<T>());
}
template <class T>
std::vector<T> values_of(HostTensor& tensor)
{
    return {tensor.as<T>(), tensor.as<T>() + tensor.memory().size() / sizeof(T)};
}

inline Shape shape_of(const Shape& shape, const Options& options)
{
    int32_t ndim = -1;
    int64_t out[8] = {};
    EXPECT_EQ(moeq_reduce_shape(static_cast<int32_t>(shape.size()), shape.data(), &options, &ndim, out, nullptr),
              MOEQ_OK);
    return Shape(out, out + ndim);
}

} // namespace reduce_calls

// What every refusal has to be: the right status, and a message that names function and argument, what came and what is
// wanted; outs are NULL; nothing else has happened.
#include "wrong_call.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>

namespace moeq_test {

Bench::Bench()
{
    source.fill(1);
    piece.fill(2);
    const auto make = [&](const char* format, moeq_qtensor** out) {
        const moeq_spec of = parse(format);
        EXPECT_EQ(moeq_qtensor_quantize(context, source, &of, nullptr, nullptr, out, nullptr), MOEQ_OK) << format;
    };
    make("int8", &int8);
    make("nf4", &nf4);
    make("nf4:nested", &nested);
    make("nf4:blocking=flat", &flat);
    EXPECT_EQ(moeq_builder_create(context, &spec, 3, shape.data(), nullptr, nullptr, &builder, nullptr), MOEQ_OK);
    EXPECT_EQ(moeq_builder_write(builder, 0, 0, 0, piece, nullptr, nullptr), MOEQ_OK);
    std::fill(scale.as<float>(), scale.as<float>() + 8, 1.0f);
}

Bench::~Bench()
{
    moeq_builder_destroy(builder);
    for (const moeq_qtensor* handle : {int8, nf4, nested, flat})
        moeq_qtensor_release(handle);
}

std::vector<WrongCall> all_wrong_calls()
{
    std::vector<WrongCall> all;
    for (auto part :
         {wrong_context_calls, wrong_tensors, wrong_spec_calls, wrong_quantize_calls, wrong_qtensor_calls,
          wrong_builder_calls, wrong_reduce_calls, wrong_reader_calls, wrong_writer_calls, wrong_convert_calls}) {
        std::vector<WrongCall> more = part();
        std::move(more.begin(), more.end(), std::back_inserter(all));
    }
    return all;
}

namespace {

const std::vector<WrongCall>& calls()
{
    static const std::vector<WrongCall> all = all_wrong_calls();
    return all;
}

class WrongCalls : public testing::TestWithParam<size_t> {
protected:
    const WrongCall& wrong() const { return calls()[GetParam()]; }
};

std::string wrong_name(const testing::TestParamInfo<size_t>& info)
{
    const WrongCall& wrong = calls()[info.param];
    std::string name = std::to_string(info.param) + "_" + wrong.function + "_" + wrong.name;
    std::replace_if(
        name.begin(), name.end(), [](unsigned char c) { return !std::isalnum(c); }, '_');
    return name;
}

// The message as a text; "" with a failure when it does not end inside of its field.
std::string message_of(const moeq_error& err)
{
    const auto* end = static_cast<const char*>(std::memchr(err.message, 0, sizeof err.message));
    EXPECT_NE(end, nullptr) << "the message has no end";
    return end == nullptr ? "" : std::string(err.message, end);
}

TEST_P(WrongCalls, AreTold)
{
    Bench bench;
    const Bytes before = everything(bench.int8);
    const int64_t live = bench.world.hooks.live_bytes();
    moeq_error err;
    std::memset(&err, 0x7E, sizeof err);
    const moeq_status status = wrong().run(bench, &err);
    const std::string message = message_of(err);
    SCOPED_TRACE(message);
    EXPECT_EQ(status, wrong().status) << moeq_status_name(status);
    ASSERT_NE(status, MOEQ_OK);
    EXPECT_EQ(err.status, status);
    EXPECT_EQ(err.argument, wrong().argument);
    EXPECT_EQ(err.reserved, 0);
    EXPECT_EQ(err.os_error, 0);
    const std::string function = std::string(wrong().function) + ": ";
    const bool of_argument = wrong().argument != 0;
    EXPECT_EQ(message.rfind(of_argument ? function + wrong().name + ": " : function, 0), 0u);
    for (const std::string& part : wrong().says)
        EXPECT_NE(message.find(part), std::string::npos) << "does not say: " << part;
    EXPECT_TRUE(!of_argument || message.find("got ") != std::string::npos);
    EXPECT_TRUE(std::all_of(message.begin(), message.end(), [](unsigned char c) { return c >= 0x20 && c < 0x7F; }));
    EXPECT_EQ(err.expert, wrong().place[0]);
    EXPECT_EQ(err.row, wrong().place[1]);
    EXPECT_EQ(err.column, wrong().place[2]);
    EXPECT_TRUE(std::memchr(err.class_id, 0, sizeof err.class_id) != nullptr);
    EXPECT_TRUE(bench.context_out.right() && bench.blob_out.right() && bench.tensor_out.right() &&
                bench.qtensor_out.right() && bench.builder_out.right())
        << "an out-pointer is not NULL";
    EXPECT_EQ(bench.world.hooks.live_bytes(), live);
    EXPECT_EQ(everything(bench.int8), before);
    for (const HostTensor* tensor :
         {&bench.source, &bench.destination, &bench.number, &bench.piece, &bench.codes, &bench.scale})
        EXPECT_EQ(tensor->deleted, 0);
}

TEST_P(WrongCalls, WithoutAnErrorStruct)
{
    Bench bench;
    EXPECT_EQ(wrong().run(bench, nullptr), wrong().status);
}

INSTANTIATE_TEST_SUITE_P(Every, WrongCalls, testing::Range(size_t{0}, calls().size()), wrong_name);

// Different causes have different texts, so a message can be looked up.
TEST(Messages, AreUnique)
{
    std::map<std::string, size_t> seen;
    for (size_t i = 0; i < calls().size(); ++i) {
        Bench bench;
        moeq_error err{};
        (void)calls()[i].run(bench, &err);
        const auto [other, is_new] = seen.emplace(err.message, i);
        EXPECT_TRUE(is_new) << "calls " << other->second << " and " << i << ": " << err.message;
    }
}

TEST(Messages, EveryFallibleFunctionHasOne)
{
    std::set<std::string> functions;
    for (const WrongCall& wrong : calls())
        functions.insert(wrong.function);
    EXPECT_EQ(std::vector<std::string>(functions.begin(), functions.end()), fallible_functions());
}

// What a library without files and devices can answer; memory and callbacks are tried elsewhere.
TEST(Messages, EveryStatusIsMet)
{
    std::set<moeq_status> met;
    for (const WrongCall& wrong : calls())
        met.insert(wrong.status);
    for (const moeq_status status :
         {MOEQ_ERROR_ARGUMENT, MOEQ_ERROR_SHAPE, MOEQ_ERROR_DTYPE, MOEQ_ERROR_LAYOUT, MOEQ_ERROR_DEVICE,
          MOEQ_ERROR_READ_ONLY, MOEQ_ERROR_RANGE, MOEQ_ERROR_VALUE, MOEQ_ERROR_VERSION, MOEQ_ERROR_DUPLICATE,
          MOEQ_ERROR_INCOMPLETE, MOEQ_ERROR_NOT_FOUND, MOEQ_ERROR_UNSUPPORTED, MOEQ_ERROR_BACKEND, MOEQ_ERROR_LIMIT})
        EXPECT_EQ(met.count(status), 1u) << moeq_status_name(status);
}

class RightCalls : public testing::TestWithParam<CallKind> {};

TEST_P(RightCalls, LeaveTheErrorAlone)
{
    World world;
    const std::unique_ptr<Call> call = GetParam().in(world, kSmall);
    moeq_error err;
    std::memset(&err, 0x7E, sizeof err);
    const moeq_error before = err;
    EXPECT_EQ(call->run(&err), MOEQ_OK);
    EXPECT_EQ(std::memcmp(&err, &before, sizeof err), 0);
    call->release();
}

INSTANTIATE_TEST_SUITE_P(Every, RightCalls, testing::ValuesIn(all_calls()), test_name);

TEST(StatusName, OfEveryStatus)
{
    EXPECT_STREQ(moeq_status_name(MOEQ_OK), "MOEQ_OK");
    EXPECT_STREQ(moeq_status_name(MOEQ_ERROR_SHAPE), "MOEQ_ERROR_SHAPE");
    EXPECT_STREQ(moeq_status_name(MOEQ_ERROR_INTERNAL), "MOEQ_ERROR_INTERNAL");
    for (const moeq_status unknown : {1, -1, -999, INT32_MAX, INT32_MIN})
        EXPECT_NE(moeq_status_name(unknown), nullptr);
}

// Text from outside ends up in messages: it is cut and escaped, whatever it is.
TEST(HostileText, InSpecs)
{
    std::string every;
    for (int byte = 1; byte < 256; ++byte)
        every += static_cast<char>(byte);
    const std::vector<std::string> texts = {
        "",
        "\n",
        "nf4:\x1b[31m",
        "nf4\nmoeq: all is well",
        "\"quoted\\\"",
        "nf4:%s%n%n%n",
        "\xff\xfe\xc0\x80",
        "nf4:" + every,
        every,
        std::string(100'000, 'a'),
        std::string(100'000, '\x01'),
        "nf4:" + std::string(100'000, ','),
        "int8:block" + std::string(5'000, '9') + "x1",
    };
    for (const std::string& text : texts) {
        auto spec = sized<moeq_spec>();
        moeq_error err;
        std::memset(&err, 0x7E, sizeof err);
        EXPECT_EQ(moeq_spec_parse(text.c_str(), &spec, &err), MOEQ_ERROR_ARGUMENT);
        const std::string message = message_of(err);
        EXPECT_EQ(message.rfind("moeq_spec_parse: text: got \"", 0), 0u) << message;
        EXPECT_NE(message.find("; want "), std::string::npos) << message;
        EXPECT_TRUE(std::all_of(message.begin(), message.end(), [](unsigned char c) { return c >= 0x20 && c < 0x7F; }))
            << message;
        EXPECT_EQ(moeq_spec_parse(text.c_str(), &spec, nullptr), MOEQ_ERROR_ARGUMENT);
    }
}

// The longest numbers in every place of a message.
TEST(Messages, ExtremeNumbersFit)
{
    Bench bench;
    Shape extreme(8, INT64_MIN);
    moeq_error err{};
    for (const int64_t extent : {INT64_MIN, INT64_MAX, int64_t{-1}}) {
        std::fill(extreme.begin(), extreme.end(), extent);
        for (const int32_t ndim : {2, 8, 9, INT32_MIN, INT32_MAX}) {
            auto spec = sized<moeq_spec>();
            EXPECT_NE(moeq_spec_resolve(&bench.spec, ndim, extreme.data(), &spec, &err), MOEQ_OK);
            EXPECT_FALSE(message_of(err).empty());
        }
        DLManagedTensorVersioned tensor = *bench.source.operator->();
        tensor.dl_tensor.ndim = 8;
        tensor.dl_tensor.shape = extreme.data();
        tensor.dl_tensor.strides = extreme.data();
        EXPECT_NE(
            moeq_qtensor_quantize(bench.context, &tensor, &bench.spec, nullptr, nullptr, bench.qtensor_out(), &err),
            MOEQ_OK);
        EXPECT_FALSE(message_of(err).empty());
        EXPECT_NE(moeq_qtensor_dequantize(bench.int8, nullptr, nullptr, &tensor, &err), MOEQ_OK);
        EXPECT_FALSE(message_of(err).empty());
    }
}

} // namespace
} // namespace moeq_test

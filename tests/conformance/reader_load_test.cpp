// Stacks as handles: whatever the files look like, and whatever part is asked for, the bytes are those of the whole weight
// quantized at once.
#include <atomic>
#include <fstream>
#include <thread>

#include "conformance/reader_cases.h"
#include "support/hooks.h"

namespace moeq_test {
namespace {

#if defined(__aarch64__)
using Half = __fp16; // GCC 12 knows _Float16 in C++ on x86 only
#else
using Half = _Float16;
#endif

struct LoadCase {
    Form form;
    int32_t dtype;
    const char* spec;
};

std::string case_name(const testing::TestParamInfo<LoadCase>& info)
{
    std::string name =
        std::string(form_name(info.param.form)) + "_" + container_name(info.param.dtype) + "_" + info.param.spec;
    for (char& c : name)
        c = std::isalnum(static_cast<unsigned char>(c)) ? c : '_';
    return name;
}

std::vector<LoadCase> all_cases()
{
    std::vector<LoadCase> cases;
    for (const Form form : {Form::kPerExpert, Form::kFused, Form::kTransposed})
        for (const int32_t dtype : {MOEQ_DTYPE_BF16, MOEQ_DTYPE_FP16, MOEQ_DTYPE_FP32})
            for (const char* spec : {"int8", "int8:expert", "int8:axis=-2", "int8:block32x48", "fp8_e4m3",
                                     "fp8_e4m3:block128x128", "fp8_e5m2:expert", "mxfp8", "nf4", "nf4:nested",
                                     "nf4:32,blocking=row", "nf4:blocking=flat", "fp4:128"})
                cases.push_back({form, dtype, spec});
    return cases;
}

class Load : public testing::TestWithParam<LoadCase> {
protected:
    moeq_spec spec_for(const ExpertLayer& layer) const
    {
        moeq_spec spec = parse(GetParam().spec);
        const std::string text = GetParam().spec;
        const bool along_rows = text.find("row") != std::string::npos || text == "mxfp8"; // whatever rows are
        if (text.find("axis") == std::string::npos)
            spec.scale_axis = along_rows ? -1 : layer.axis();
        spec.layout = layer.layout();
        return spec;
    }
    void compare(int64_t experts, int64_t inner, int64_t hidden, int32_t threads)
    {
        ExpertLayer layer(GetParam().form, GetParam().dtype, experts, inner, hidden);
        const TemporaryFolder folder;
        layer.write(folder);
        const Context context = make_context(threads);
        for (const int32_t flags : {0, MOEQ_READER_MMAP}) {
            const Reader reader = open_reader(context, folder.path(), flags);
            moeq_spec spec = spec_for(layer);
            EXPECT_EQ(stored_bytes(load(reader, stack_index(reader, kGateUp), &spec)),
                      stored_bytes(quantize(context, layer.gate_up, spec)));
            spec.layout = MOEQ_LAYOUT_PLAIN;
            EXPECT_EQ(stored_bytes(load(reader, stack_index(reader, kDown), &spec)),
                      stored_bytes(quantize(context, layer.down, spec)));
        }
    }
};

TEST_P(Load, OddShapes) { compare(3, 37, 90, 1); }
TEST_P(Load, ShapesOfManyChunks) { compare(2, 256, 768, 3); }

INSTANTIATE_TEST_SUITE_P(Reader, Load, testing::ValuesIn(all_cases()), case_name);

// ---- parts

class LoadPart : public testing::TestWithParam<const char*> {
protected:
    LoadPart() : layer(Form::kPerExpert, MOEQ_DTYPE_BF16, 5, 128, 256) { layer.write(folder); }

    moeq_load_options part(const moeq_spec* spec)
    {
        auto options = sized<moeq_load_options>();
        options.spec = spec;
        return options;
    }
    Bytes rows_of(HostTensor& weight, int64_t expert, const std::vector<std::pair<int64_t, int64_t>>& ranges)
    {
        Bytes bytes;
        for (const auto& [begin, end] : ranges)
            append(bytes, take_rows(weight, expert, begin, end));
        return bytes;
    }

    ExpertLayer layer;
    TemporaryFolder folder;
    Context context = make_context(2);
};

TEST_P(LoadPart, ExpertsAreThoseOfTheWhole)
{
    const Reader reader = open_reader(context, folder.path());
    moeq_spec spec = parse(GetParam());
    spec.layout = MOEQ_LAYOUT_GATE_UP;
    auto options = part(&spec);
    options.expert_begin = 1;
    options.expert_end = 4;
    HostTensor cut(MOEQ_DTYPE_BF16, {3, 256, 256});
    cut.memory().clear();
    for (int64_t e = 1; e < 4; ++e)
        append(cut.memory(), take_rows(layer.gate_up, e, 0, 256));
    cut.plain().data = cut.memory().data();
    EXPECT_EQ(stored_bytes(load(reader, stack_index(reader, kGateUp), options)),
              stored_bytes(quantize(context, cut, spec)));
}

TEST_P(LoadPart, RanksHaveAPartOfGateAndOfUp)
{
    const Reader reader = open_reader(context, folder.path());
    moeq_spec spec = parse(GetParam());
    spec.layout = MOEQ_LAYOUT_GATE_UP;
    for (int32_t rank = 0; rank < 4; ++rank) {
        auto options = part(&spec);
        options.tp_rank = rank;
        options.tp_size = 4;
        HostTensor cut(MOEQ_DTYPE_BF16, {5, 64, 256});
        cut.memory().clear();
        for (int64_t e = 0; e < 5; ++e)
            append(cut.memory(),
                   rows_of(layer.gate_up, e, {{rank * 32, rank * 32 + 32}, {128 + rank * 32, 128 + rank * 32 + 32}}));
        cut.plain().data = cut.memory().data();
        const QTensor loaded = load(reader, stack_index(reader, kGateUp), options);
        EXPECT_EQ(stored_bytes(loaded), stored_bytes(quantize(context, cut, spec))) << rank;
        auto known = sized<moeq_spec>();
        MOEQ_EXPECT_OK(moeq_qtensor_get_spec(loaded.get(), &known, &ok));
        EXPECT_EQ(known.layout, MOEQ_LAYOUT_GATE_UP);
    }
}

TEST_P(LoadPart, RanksHaveAPartOfTheColumnsOfDown)
{
    const Reader reader = open_reader(context, folder.path());
    moeq_spec spec = parse(GetParam());
    auto options = part(&spec);
    options.tp_rank = 1;
    options.tp_size = 2;
    HostTensor cut(MOEQ_DTYPE_BF16, {5, 256, 64}); // down is [5, 256, 128]
    for (int64_t r = 0; r < 5 * 256; ++r)
        std::memcpy(cut.memory().data() + r * 128, layer.down.memory().data() + r * 256 + 128, 128);
    EXPECT_EQ(stored_bytes(load(reader, stack_index(reader, kDown), options)),
              stored_bytes(quantize(context, cut, spec)));
}

INSTANTIATE_TEST_SUITE_P(Reader, LoadPart,
                         testing::Values("int8", "int8:expert", "fp8_e4m3:block32x32", "nf4", "nf4:nested"),
                         [](const auto& info) {
                             std::string name = info.param;
                             for (char& c : name)
                                 c = std::isalnum(static_cast<unsigned char>(c)) ? c : '_';
                             return name;
                         });

TEST(LoadInterleaved, RanksHavePairs)
{
    ExpertLayer layer(Form::kTransposed, MOEQ_DTYPE_FP32, 2, 8, 16);
    const TemporaryFolder folder;
    layer.write(folder);
    const Context context = make_context();
    const Reader reader = open_reader(context, folder.path());
    auto spec = parse("int8");
    auto options = sized<moeq_load_options>();
    options.spec = &spec;
    options.tp_rank = 1;
    options.tp_size = 2;
    const QTensor loaded = load(reader, stack_index(reader, kGateUp), options);
    EXPECT_EQ(shape_of(loaded), (Shape{2, 16, 8}));
    HostTensor cut(MOEQ_DTYPE_FP32, {2, 16, 8});
    for (int64_t r = 0; r < 32; ++r)
        std::memcpy(cut.as<float>() + r * 8, layer.gate_up.as<float>() + r * 16 + 8, 32);
    spec.scale_axis = -2; // both were left to the checkpoint above
    spec.layout = MOEQ_LAYOUT_GATE_UP_INTERLEAVED;
    EXPECT_EQ(stored_bytes(loaded), stored_bytes(quantize(context, cut, spec)));
}

TEST(LoadMixed, PiecesOfSeveralTypesAreTakenExactly)
{
    const TemporaryFolder folder;
    ContainerFile file;
    HostTensor whole(MOEQ_DTYPE_FP32, {3, 8, 64});
    const int32_t dtypes[3] = {MOEQ_DTYPE_BF16, MOEQ_DTYPE_FP32, MOEQ_DTYPE_FP16};
    for (int64_t e = 0; e < 3; ++e) {
        HostTensor piece(dtypes[e], {8, 64});
        piece.fill(static_cast<uint64_t>(e) + 1);
        file.add("m.experts." + std::to_string(e) + ".down_proj.weight", piece);
        for (int64_t i = 0; i < 512; ++i) {
            float value = 0;
            if (e == 0) {
                const uint32_t bits = static_cast<uint32_t>(piece.as<uint16_t>()[i]) << 16;
                std::memcpy(&value, &bits, 4);
            } else if (e == 1) {
                value = piece.as<float>()[i];
            } else {
                Half half;
                std::memcpy(&half, piece.memory().data() + 2 * i, 2);
                value = static_cast<float>(half);
            }
            whole.as<float>()[e * 512 + i] = value;
        }
    }
    folder.write("one.safetensors", file.text());
    const Context context = make_context();
    const Reader reader = open_reader(context, folder.path("one.safetensors"));
    for (const char* text : {"int8", "nf4:blocking=flat", "fp8_e4m3:expert"}) {
        const auto spec = parse(text);
        EXPECT_EQ(stored_bytes(load(reader, 0, &spec)), stored_bytes(quantize(context, whole, spec))) << text;
    }
}

// ---- what it costs

int64_t bytes_read_by_process()
{
    std::ifstream io("/proc/self/io");
    std::string key;
    int64_t value = 0;
    while (io >> key >> value)
        if (key == "rchar:")
            return value;
    return -1;
}

TEST(LoadCost, BytesOfOtherExpertsAndRanksAreNotRead)
{
    ExpertLayer layer(Form::kPerExpert, MOEQ_DTYPE_BF16, 8, 256, 512);
    const TemporaryFolder folder;
    layer.write(folder);
    const Context context = make_context();
    const Reader reader = open_reader(context, folder.path());
    if (bytes_read_by_process() < 0)
        GTEST_SKIP() << "no /proc/self/io here";
    const int64_t overhead = [] { // of asking itself
        const int64_t first = bytes_read_by_process();
        return bytes_read_by_process() - first;
    }();
    const auto spec = parse("int8");
    const auto cost = [&](const char* stack, int64_t begin, int64_t end, int32_t ranks) {
        auto options = sized<moeq_load_options>();
        options.spec = &spec;
        options.expert_begin = begin;
        options.expert_end = end;
        options.tp_size = ranks;
        const int64_t index = stack_index(reader, stack);
        const int64_t before = bytes_read_by_process();
        const QTensor loaded = load(reader, index, options);
        return bytes_read_by_process() - before - overhead;
    };
    const int64_t expert = 2 * 256 * 512 * 2;
    EXPECT_NEAR(static_cast<double>(cost(kGateUp, 0, 0, 1)), 8.0 * expert, 64);
    EXPECT_NEAR(static_cast<double>(cost(kGateUp, 2, 5, 1)), 3.0 * expert, 64);
    EXPECT_NEAR(static_cast<double>(cost(kGateUp, 2, 5, 4)), 3.0 * expert / 4, 64);
    EXPECT_NEAR(static_cast<double>(cost(kDown, 0, 0, 2)), 8.0 * expert / 4, 64);
}

TEST(LoadCost, MemoryIsTheResultAndTheBuffers)
{
    const TemporaryFolder folder;
    {
        ContainerFile file; // 160 MiB in one fused tensor, and no copy of it here afterwards
        HostTensor weight(MOEQ_DTYPE_BF16, {20, 2048, 2048});
        weight.fill(1);
        file.add(kGateUp, weight);
        folder.write("model.safetensors", file.text());
        folder.write("config.json", "{\"model_type\": \"qwen3_moe\"}");
    }
    for (const char* text : {"nf4", "int8:expert", "int8:axis=-2", "fp8_e4m3:block128x128"}) {
        Hooks hooks;
        {
            const auto given = hooks.options(2);
            moeq_context* made = nullptr;
            MOEQ_EXPECT_OK(moeq_context_create(&given, &made, &ok));
            const Context context(made);
            const Reader reader = open_reader(context, folder.path());
            const auto spec = parse(text);
            auto memory = sized<moeq_memory>();
            MOEQ_EXPECT_OK(moeq_context_get_memory(context.get(), &memory, &ok));
            const int64_t before = memory.host_live;
            const QTensor loaded = load(reader, 0, &spec);
            MOEQ_EXPECT_OK(moeq_context_get_memory(context.get(), &memory, &ok));
            auto info = sized<moeq_qtensor_info>();
            MOEQ_EXPECT_OK(moeq_qtensor_get_info(loaded.get(), &info, &ok));
            EXPECT_LE(memory.host_peak - before, info.bytes + (64 << 20) + (1 << 20)) << text;
            EXPECT_LE(memory.host_live - before, info.bytes + (64 << 10)) << text;
        }
        expect_all_returned(hooks);
    }
}

TEST(LoadCancel, LeavesNothing)
{
    ExpertLayer layer(Form::kFused, MOEQ_DTYPE_BF16, 4, 256, 512);
    const TemporaryFolder folder;
    layer.write(folder);
    Hooks hooks;
    {
        const auto given = hooks.options(2);
        moeq_context* made = nullptr;
        MOEQ_EXPECT_OK(moeq_context_create(&given, &made, &ok));
        const Context context(made);
        const Reader reader = open_reader(context, folder.path());
        const auto spec = parse("nf4:nested");
        auto options = sized<moeq_load_options>();
        options.spec = &spec;
        struct Seen {
            int calls = 0;
            int64_t done = 0, total = 0;
            std::string name;
            int stop_after = 0;
        } seen;
        options.progress_user = &seen;
        options.progress = [](const moeq_progress* progress, void* user) -> int32_t {
            auto& s = *static_cast<Seen*>(user);
            ++s.calls;
            EXPECT_GE(progress->bytes_done, s.done);
            s.done = progress->bytes_done;
            s.total = progress->bytes_total;
            s.name = progress->name;
            return s.calls == s.stop_after ? 0 : MOEQ_CONTINUE;
        };
        {
            const QTensor whole = load(reader, stack_index(reader, kGateUp), options);
            EXPECT_GE(seen.calls, 2);
            EXPECT_EQ(seen.done, seen.total);
            EXPECT_EQ(seen.total, 4 * 512 * 512 * 2);
        }
        const int64_t before = hooks.live_bytes();
        seen = {};
        seen.stop_after = 1;
        moeq_qtensor* out = nullptr;
        Error error;
        EXPECT_EQ(moeq_reader_load(reader.get(), stack_index(reader, kGateUp), &options, nullptr, &out, &error),
                  MOEQ_ERROR_CANCELLED);
        EXPECT_EQ(out, nullptr);
        EXPECT_EQ(hooks.live_bytes(), before);
    }
    expect_all_returned(hooks);
}

TEST(LoadTruncated, AFileThatShrankIsAnError)
{
    ExpertLayer layer(Form::kFused, MOEQ_DTYPE_BF16, 4, 64, 128);
    const TemporaryFolder folder;
    layer.write(folder);
    const Context context = make_context(2);
    const Reader reader = open_reader(context, folder.path());
    const int64_t stack = stack_index(reader, kGateUp);
    const auto file = folder.path("model-00002-of-00002.safetensors");
    std::filesystem::resize_file(file, std::filesystem::file_size(file) - 1000);
    for (const char* text : {"int8", "int8:expert", "nf4:nested"}) {
        const auto spec = parse(text);
        auto options = sized<moeq_load_options>();
        options.spec = &spec;
        moeq_qtensor* out = nullptr;
        Error error;
        EXPECT_EQ(moeq_reader_load(reader.get(), stack, &options, nullptr, &out, &error), MOEQ_ERROR_TRUNCATED) << text;
        EXPECT_STREQ(error.class_id, "F19");
        EXPECT_EQ(out, nullptr);
        options.expert_end = 3; // which is all there still
        EXPECT_EQ(shape_of(load(reader, stack, options)), (Shape{3, 128, 128}));
    }
}

TEST(LoadLimit, AScaleUnitBeyondTheBuffersIsRefused)
{
    const TemporaryFolder folder;
    {
        std::ofstream file(folder.path("a.safetensors"), std::ios::binary); // 128 MiB that are nowhere on the disk
        std::string header = R"({"m.experts.0.down_proj.weight": {"dtype": "F32", "shape": [4096, 8192], )"
                             R"("data_offsets": [0, 134217728]}})";
        header.resize((header.size() + 7) / 8 * 8, ' ');
        const uint64_t size = header.size();
        file.write(reinterpret_cast<const char*>(&size), 8);
        file << header;
        file.close();
        std::filesystem::resize_file(folder.path("a.safetensors"), 8 + size + 134217728);
    }
    const Context context = make_context();
    const Reader reader = open_reader(context, folder.path("a.safetensors"));
    auto spec = parse("int8:block4096x8192");
    auto options = sized<moeq_load_options>();
    options.spec = &spec;
    moeq_qtensor* out = nullptr;
    Error error;
    EXPECT_EQ(moeq_reader_load(reader.get(), 0, &options, nullptr, &out, &error), MOEQ_ERROR_LIMIT);
    EXPECT_NE(error.text().find("67108864"), std::string::npos) << error.text();
    spec = parse("int8:block2048x4096"); // 32 MiB each
    EXPECT_EQ(shape_of(load(reader, 0, options)), (Shape{1, 4096, 8192}));
}

TEST(LoadThreads, OneReaderForManyThreads)
{
    ExpertLayer layer(Form::kPerExpert, MOEQ_DTYPE_BF16, 6, 64, 128);
    const TemporaryFolder folder;
    layer.write(folder);
    const Context context = make_context(3);
    const Reader reader = open_reader(context, folder.path());
    const auto spec = parse("nf4");
    auto expected_spec = spec;
    expected_spec.layout = MOEQ_LAYOUT_GATE_UP;
    const Bytes gate_up = stored_bytes(quantize(context, layer.gate_up, expected_spec));
    const Bytes down = stored_bytes(quantize(context, layer.down, spec));
    std::atomic<int> wrong{0};
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t)
        threads.emplace_back([&, t] {
            for (int i = 0; i < 10; ++i) {
                const bool first = (i + t) % 2 == 0;
                const QTensor q = load(reader, stack_index(reader, first ? kGateUp : kDown), &spec);
                wrong += stored_bytes(q) != (first ? gate_up : down) ? 1 : 0;
            }
        });
    for (std::thread& thread : threads)
        thread.join();
    EXPECT_EQ(wrong, 0);
}

TEST(LoadGivenAmax, ReadsOnceAndScalesByIt)
{
    ExpertLayer layer(Form::kFused, MOEQ_DTYPE_BF16, 3, 32, 64);
    const TemporaryFolder folder;
    layer.write(folder);
    const Context context = make_context();
    const Reader reader = open_reader(context, folder.path());
    HostTensor amax(MOEQ_DTYPE_FP32, {3});
    for (int i = 0; i < 3; ++i)
        amax.as<float>()[i] = 2.0f + static_cast<float>(i);
    auto spec = parse("fp8_e4m3:expert");
    auto options = sized<moeq_load_options>();
    options.spec = &spec;
    options.amax = amax;
    const QTensor loaded = load(reader, stack_index(reader, kDown), options);
    auto quantize_options = sized<moeq_quantize_options>();
    quantize_options.amax = amax;
    EXPECT_EQ(stored_bytes(loaded), stored_bytes(quantize(context, layer.down, spec, &quantize_options)));
}

TEST(LoadNonfinite, ThePlaceIsOneOfTheWholeStack)
{
    ExpertLayer layer(Form::kPerExpert, MOEQ_DTYPE_FP32, 4, 8, 32);
    layer.gate_up.as<float>()[(2 * 16 + 13) * 32 + 5] = std::numeric_limits<float>::quiet_NaN(); // up's row 5
    layer.gate_up.as<float>()[(3 * 16 + 1) * 32 + 5] = std::numeric_limits<float>::infinity();
    const TemporaryFolder folder;
    layer.write(folder);
    const Context context = make_context();
    const Reader reader = open_reader(context, folder.path());
    for (const char* text : {"int8", "int8:expert", "nf4", "int8:axis=-2"}) {
        const auto spec = parse(text);
        auto options = sized<moeq_load_options>();
        options.spec = &spec;
        options.expert_begin = 1;
        options.tp_rank = 1;
        options.tp_size = 2; // rows 4..7 of each half
        moeq_qtensor* out = nullptr;
        Error error;
        EXPECT_EQ(moeq_reader_load(reader.get(), stack_index(reader, kGateUp), &options, nullptr, &out, &error),
                  MOEQ_ERROR_VALUE)
            << text;
        EXPECT_EQ(error.expert, 2) << error.text();
        EXPECT_EQ(error.row, 13) << error.text();
        EXPECT_EQ(error.column, 5) << error.text();
    }
}

} // namespace
} // namespace moeq_test
